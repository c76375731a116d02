"""Exported files: the same depth as the network's, other sizes, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import evaluate, run_script, train
from prediction_runs import CAPTION, make_encoder, make_run, open_run, picture
from tiny_configs import TEXT_DIM

from common.errors import UserError
from common.networks.fast import FAST_FORMS, plain
from common.networks.fast.depth_head import upsample_taps
from common.networks.scene_decoder import position_code
from common.programs.exported import ExportedNetwork
from common.runtime.checkpoints import load_checkpoint
from scripts.exporting.verify import TOLERANCE

NETWORK = "model.encoder={name: 'timm:test_resnet.r160_in1k'}"
onnx = pytest.importorskip("onnx", reason="pip install onnx onnxscript onnxruntime")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


def export(run: Path, output: Path, *words: str):
    return run_script("export.py", "--checkpoint", run, "--output", output, *words)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def joint(workspace, tmp_path_factory) -> Path:
    """With a convolutional encoder, which reads pictures of any size."""
    return make_run(workspace, "joint", tmp_path_factory.mktemp("joint"), NETWORK)


@pytest.fixture(scope="module")
def free(joint, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "joint.onnx"
    outcome = export(joint, file)
    assert outcome.code == 0, outcome.err
    assert "32*rows, 32*columns" in outcome.out
    assert "3 x 91x151: within" in outcome.out  # of the other size, which 32 does not divide
    return file


@pytest.fixture(scope="module")
def fixed(trained, tmp_path_factory) -> Path:
    """Staged, with a Swin."""
    file = tmp_path_factory.mktemp("onnx") / "staged.onnx"
    outcome = export(trained / "tiny/stage3", file)
    assert outcome.code == 0, outcome.err
    assert "fixed at 64x96: Swin's windows" in outcome.out
    return file


@pytest.mark.parametrize("kind", ["free", pytest.param("fixed", marks=pytest.mark.slow)])
def test_an_exported_file_predicts_the_same_depth(kind, request, joint, trained, encoder, tmp_path):
    file = request.getfixturevalue(kind)
    run = {"free": joint, "fixed": trained / "tiny/stage3"}[kind]
    ours = open_run(run, encoder)
    theirs = open_run(file, encoder)
    for caption in (CAPTION, "none"):
        wanted = ours.predict(picture(), caption)
        found = theirs.predict(picture(), caption)
        np.testing.assert_allclose(found.depth, wanted.depth, rtol=TOLERANCE)
        assert (found.notes, found.intrinsics) == (wanted.notes, wanted.intrinsics)
    with pytest.raises(UserError, match="no weights to save"):
        theirs.save_pretrained(tmp_path)


def test_it_reads_the_words(free, encoder):
    model = open_run(free, encoder)
    depths = [model.predict(picture(), caption).depth for caption in (CAPTION, "none")]
    assert np.abs(depths[0] / depths[1] - 1).max() > 1e-4


def test_programs_take_it_as_a_checkpoint(workspace, free, joint, encoder, tmp_path):
    rows = []
    for place in (free, joint):
        words = ("--checkpoint", str(place), "--json", str(tmp_path / "out.json"))
        outcome = evaluate("stage3", *words, f"data.root={workspace.data}")
        assert outcome.code == 0, outcome.err
        rows.append(json.loads((tmp_path / "out.json").read_text())["metrics"])
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)
    words = (workspace.data / "test", "--caption", CAPTION, encoder, "--output", tmp_path / "out")
    outcome = run_script("predict.py", "--checkpoint", free, *words)
    assert outcome.code == 0, outcome.err
    assert "4 of 4 written" in outcome.out
    refusal = run_script("predict.py", "--checkpoint", free, *words, "--samples", "2").refusal
    assert "has no distribution of scenes" in refusal
    refusal = evaluate("stage3", "--checkpoint", str(free), "--samples", "100").refusal
    assert f"{free} is an exported network, which draws no scenes; name the run" in refusal
    assert refusal.endswith("stage3 of experiment tiny")


def test_what_the_file_says_of_itself(free):
    metadata = onnxruntime.InferenceSession(free).get_modelmeta().custom_metadata_map
    assert "0.485" in metadata["preprocessing"]
    assert metadata["camera"].startswith("NYU")
    assert metadata["recipe"] == "stage3 (joint)"
    assert json.loads(metadata["inputs"])["text_feature"] == f"float32 [batch, {TEXT_DIM}]"
    assert "data" not in json.loads(metadata["langdepth"])  # which pictures it was trained on
    assert str(free.parents[1]) not in "".join(metadata.values())  # folders of this machine


@pytest.mark.slow
def test_a_fixed_axis_is_told(fixed):
    network = ExportedNetwork(fixed)
    text = torch.randn(1, TEXT_DIM)
    assert network(torch.randn(1, 3, 60, 90), text, None).shape == (1, 1, 60, 90)  # padded to it
    with pytest.raises(UserError, match="it reads images of 64x96, not of 96x96"):
        network(torch.randn(1, 3, 96, 96), text, None)


@pytest.mark.slow
def test_torch_export_and_a_file_that_differs(workspace, joint, tmp_path, monkeypatch):
    file = tmp_path / "joint.pt2"
    outcome = export(joint, file)
    assert outcome.code == 0, outcome.err
    assert "3 x 91x151: within" in outcome.out
    extra = {"langdepth.json": ""}
    torch.export.load(file, extra_files=extra)
    assert json.loads(extra["langdepth.json"])["recipe"] == "stage3 (joint)"
    before, program = file.read_bytes(), torch.export.load(file)
    other = make_run(workspace, "joint", tmp_path / "runs", NETWORK, "seed=1")
    monkeypatch.setattr("scripts.exporting.network.trace", lambda *_: program)
    refusal = export(other, file).refusal
    assert "not exported: for 1 pictures of 64x96 depth differs" in refusal
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "runs"}
    assert file.read_bytes() == before  # the earlier one


def test_what_cannot_be_exported(workspace, joint, free, tmp_path):
    assert "must end with .onnx or .pt2" in export(joint, tmp_path / "model.pb").refusal
    assert "is exported already" in export(free, tmp_path / "again.onnx").refusal
    llm_mde = make_run(workspace, "llm_mde", tmp_path / "runs")
    assert "a prompt for every picture" in export(llm_mde, tmp_path / "model.onnx").refusal
    assert not list(tmp_path.glob("model*"))


def test_files_that_are_no_checkpoint(workspace, free, tmp_path):
    damaged, foreign = tmp_path / "damaged.onnx", tmp_path / "foreign.onnx"
    damaged.write_bytes(free.read_bytes()[:5000])
    model = onnx.load(free)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    (tmp_path / "model.pt2").touch()
    for name, message in (
        ("damaged.onnx", "it is damaged"),
        ("foreign.onnx", "does not say what it is"),
        ("model.pt2", "may run code"),
    ):
        outcome = evaluate("stage3", "--checkpoint", str(tmp_path / name))
        assert message in outcome.refusal
    with pytest.raises(UserError, match="only predicts; name the run"):
        load_checkpoint(free, stage="stage3", recipes=("joint",))
    words = workspace.arguments("stage3", tmp_path / "runs", f"init.stage2={free}")
    assert "only predicts; name the run" in train("stage3", *words).refusal


def test_a_missing_package_is_one_line(free, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(free.read_bytes())
    outcome = evaluate("stage3", "--checkpoint", str(copy))
    assert "pip install onnxruntime" in outcome.refusal


def test_plain_tables_and_taps_are_the_fast_ones():
    taps = torch.randn(2, 9, 4, 6)
    fast = upsample_taps(taps, (32, 48)), position_code(8, 3, 5)
    with plain(*FAST_FORMS):
        ours = upsample_taps(taps, (32, 48)), position_code(8, 3, 5)
    torch.testing.assert_close(ours[0], fast[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(ours[1], fast[1])


def test_what_pytorch_cannot_write_is_one_line(joint, tmp_path, monkeypatch):
    """As PyTorch 2.6 does with a network of free size."""

    def fail(*arguments, **options):
        raise AssertionError("Unknown symbolic expression\nand more")

    monkeypatch.setattr("torch.export.save", fail)
    outcome = export(joint, tmp_path / "joint.pt2")
    assert "cannot write .pt2 of this network (AssertionError: Unknown symbolic" in outcome.refusal
    assert "add --fixed-size, name an output that ends with .onnx" in outcome.refusal
    assert not list(tmp_path.iterdir())
    assert outcome.err.startswith("tracing the network, which may take a minute or two\n")
