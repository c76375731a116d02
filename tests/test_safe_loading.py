"""Files of strangers: booby-trapped ones of every kind are refused, and what is in them never runs.

The payload is nested in an innocent file where the kind allows it. It would make a folder.
"""

import io
import os
import pickle
import re
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from conftest import evaluate, run_script, train
from safetensors.torch import save

from common.config import REPO_ROOT, load_config
from common.data.data_config import DataConfig
from common.errors import UserError
from common.images.reading import read_depth
from common.language.feature_files import open_table, write_features
from common.networks.published.names import read_safely
from common.programs.step_dumps import StepDump
from common.runtime.checkpoints import FORMAT_VERSION, read_checkpoint
from common.runtime.saved_models import CONFIG, WEIGHTS
from llm_mde.vision_encoder import VisionConfig, build_vision_body
from scripts.preparation.archives import extract_zip
from scripts.preparation.nyu_labeled import read_official_split
from scripts.preparation.published_text import read_feature

FORMATS = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}


class Trap:
    """Makes a folder where pickled code is run."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def proof(tmp_path):
    """A folder that must not appear."""
    folder = tmp_path / "the_code_ran"
    yield folder
    assert not folder.exists()


def test_the_trap_works(tmp_path):
    """Else the tests below would prove nothing."""
    pickle.loads(pickle.dumps(Trap(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


def deep(value, kind):
    """A plain tree with the value deep in it."""
    held = {"dict": {"value": value}, "list": [1, [value]], "tuple": (0, (value,)),
            "objects": np.array([1, value], dtype=object)}[kind]  # fmt: skip
    return {"format_version": FORMAT_VERSION, "stage": "stage1", "recipe": "staged", "step": 1,
            "config": {"train": {"lr": held}}, "model": {"w": torch.ones(2)}}  # fmt: skip


def refused(read, *arguments):
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["dict", "list", "tuple", "objects"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("read", [read_checkpoint, StepDump, read_safely, read_feature])
def test_files_of_torch(tmp_path, proof, read, form, kind):
    path = tmp_path / "x.pt"
    torch.save(deep(Trap(proof), kind), path, **FORMATS[form])
    assert str(path) in refused(read, path) or read is read_feature


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("read", [read_checkpoint, read_safely, open_table, read_depth])
@pytest.mark.parametrize("suffix", [".pt", ".npz", ".npy", ".safetensors"])
def test_bare_pickles_under_any_name(tmp_path, proof, read, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(deep(Trap(proof), "dict")))
    refused(read, path)


def archive_with(path, inner):
    """A whole archive whose only fault is one member."""
    if path.suffix == ".tar":
        with tarfile.open(path, "w") as bundle:
            info = tarfile.TarInfo("x/data.pkl")
            info.size = len(inner)
            bundle.addfile(info, io.BytesIO(inner))
    else:
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr("x/version", "3\n")
            bundle.writestr("x/data.pkl", inner)
            bundle.writestr("x/data/0", bytes(8))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_archives_under_the_name_of_a_checkpoint(tmp_path, proof, suffix, protocol):
    path = archive_with(tmp_path / f"x{suffix}", pickle.dumps(Trap(proof), protocol))
    renamed = path.rename(tmp_path / "x.pt")
    for read in (read_checkpoint, read_safely, StepDump):
        refused(read, renamed)


def test_arrays_of_objects(tmp_path, proof):
    """In .npy, in .npz beside sound arrays, and where only a list of names is looked at."""
    trap = np.array([Trap(proof), {}], dtype=object)
    np.save(tmp_path / "x.npy", trap, allow_pickle=True)
    refused(read_depth, tmp_path / "x.npy")
    for name, arrays in {
        "depth": {"depth": trap, "other": np.ones((3, 4))},
        "features": {"image": trap, "feature": np.ones((2, 3))},
        "more": {"image": np.array(["a", "b"]), "feature": trap},
    }.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays)
        refused(read_depth if name == "depth" else open_table, path)
    np.savez(tmp_path / "beside.npz", image=np.array(["a"]), feature=np.ones((1, 3)), note=trap)
    assert (
        len(open_table(tmp_path / "beside.npz").features) == 1
    )  # what is not asked for stays shut


def test_matlab_files(tmp_path, proof):
    """Cells, functions and objects of MATLAB, and pickles in strings of an HDF5 file."""
    payload = np.frombuffer(pickle.dumps(Trap(proof)), np.uint8)
    cells = np.array([payload, "x"], dtype=object)
    scipy.io.savemat(tmp_path / "x.mat", {"trainNdxs": cells, "testNdxs": payload})
    refused(read_official_split, tmp_path / "x.mat", 10)
    with h5py.File(tmp_path / "y.mat", "w") as file:
        file.create_dataset("trainNdxs", data=payload)
        file.attrs["pickle"] = payload
    refused(read_official_split, tmp_path / "y.mat", 10)


def test_saved_models_hold_no_code(tmp_path, proof):
    payload = pickle.dumps(Trap(proof))
    (tmp_path / WEIGHTS).write_bytes(payload)
    (tmp_path / CONFIG).write_text("{}")
    refused(read_checkpoint, tmp_path / WEIGHTS)
    (tmp_path / WEIGHTS).write_bytes(save({"w": torch.ones(1)}))
    (tmp_path / CONFIG).write_bytes(payload)
    refused(read_checkpoint, tmp_path / WEIGHTS)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", FORMATS)
def test_programs_refuse_a_trapped_checkpoint(workspace, trained, tmp_path, proof, form):
    """To resume, as the earlier stage, to score, to predict, to export, to convert, to replay."""
    content = torch.load(trained / "tiny/stage1/checkpoints/last.pt", weights_only=True)
    content["config"]["train"]["lr"] = Trap(proof)
    run = tmp_path / "tiny/stage1"
    path = run / "checkpoints/last.pt"
    path.parent.mkdir(parents=True)
    torch.save(content, path, **FORMATS[form])
    config = (trained / "tiny/stage1/config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(trained), str(tmp_path)))
    assert str(path) in train("stage1", *workspace.arguments("stage1", tmp_path)).refusal
    words = workspace.arguments("stage2", tmp_path, f"init.stage1={path}")
    assert str(path) in train("stage2", *words).refusal
    assert str(path) in evaluate("stage1", "--checkpoint", str(path)).refusal
    picture = workspace.data / "test/room_0000/rgb_00000.png"
    for program, *arguments in (
        ("predict.py", "--checkpoint", path, picture),
        ("export.py", "--checkpoint", path, "--output", tmp_path / "x.onnx"),
        ("convert_checkpoint.py", "--from", path, "--output", tmp_path / "out.pt"),
        ("replay.py", path),
    ):
        outcome = run_script(program, *arguments)
        assert outcome.code == 2 and len(outcome.errors) == 1, (program, outcome.err)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", FORMATS)
def test_vision_weights_of_llm_mde(tmp_path, proof, form):
    path = tmp_path / "vit.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "args": [Trap(proof)]}, path, **FORMATS[form])
    config = VisionConfig(name="vit_tiny_patch16_224.augreg_in21k", weights=str(path))
    refused(build_vision_body, config, 0)


YAML_TAGS = [
    "!!python/object/apply:os.mkdir [{proof}]",
    "!!python/object/new:os.mkdir [{proof}]",
    "!!python/name:os.mkdir ''",
    "!!python/module:os ''",
    "!!python/tuple [1, 2]",
]


@pytest.mark.parametrize("tag", YAML_TAGS)
@pytest.mark.parametrize(
    "where", ["data: {{root: {tag}}}", "{tag}", "base: {tag}", "x: &a [{tag}]"]
)
def test_yaml_has_no_python_in_it(tmp_path, proof, tag, where):
    path = tmp_path / "c.yaml"
    path.write_text(where.format(tag=tag.format(proof=proof)))
    assert "not valid YAML" in refused(load_config, DataConfig, path, [])


@pytest.mark.parametrize("tag", YAML_TAGS)
def test_arguments_have_no_python_in_them(proof, tag):
    value = f"[{tag.format(proof=proof)}]"
    refused(load_config, DataConfig, None, ["name=nyu", f"test_list={value}", f"subset={value}"])


@pytest.mark.parametrize(
    "name",
    [
        "../out.txt",
        "a/../../out.txt",
        "/out.txt",
        "C:/out.txt",
        "..\\out.txt",
        "a\\..\\..\\out.txt",
    ],
)
def test_an_archive_cannot_leave_its_folder(tmp_path, name):
    path, folder = tmp_path / "x.zip", tmp_path / "inside/deep"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("good.txt", "x")
        bundle.writestr(name, "x")
    assert "leads out of the folder" in refused(extract_zip, path, folder, lambda name: name)
    assert not list(tmp_path.rglob("*.txt"))


def test_a_link_in_an_archive_is_a_plain_file(tmp_path):
    """A member that says it is a link, and one that would be written through it."""
    path, outside = tmp_path / "x.zip", tmp_path / "outside"
    outside.mkdir()
    link = zipfile.ZipInfo("a")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr(link, str(outside))
        bundle.writestr("a/out.txt", "x")
    refused(extract_zip, path, tmp_path / "inside", lambda name: name)
    assert not list(outside.iterdir()) and not (tmp_path / "inside/a").is_symlink()


FORBIDDEN = {
    r"pickle\.loads?\(": "unpickles",
    r"(?<!weights_)weights_only=False": "unpickles",
    r"allow_pickle=True": "unpickles",
    r"trust_remote_code=True": "runs code of a hub",
    r"yaml\.(unsafe_|full_)?load\((?!.*_PlainLoader)": "may make Python objects",
    r"\.extractall\(|\.extract\(": "may leave its folder",
    r"\beval\(|\bexec\(": "runs text",
    r"shell=True|os\.system\(": "runs text in a shell",
    r"import (joblib|dill|cloudpickle|shelve)\b": "unpickles",
}


def sources():
    folders = ("common", "scripts", "stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde")
    paths = [path for folder in folders for path in (REPO_ROOT / folder).rglob("*.py")]
    return [REPO_ROOT / "hubconf.py", *paths]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_line_of_the_code_does_it(pattern):
    found = [
        f"{path.relative_to(REPO_ROOT)}: {line.strip()}"
        for path in sources()
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(pattern, line) and not re.search(r"\.eval\(|model\.eval", line)
    ]
    assert not found, FORBIDDEN[pattern]


@pytest.mark.parametrize("call", [r"torch\.load\(", r"load_checkpoint\(body"])
def test_every_load_of_torch_says_weights_only(call):
    for path in sources():
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(call, text):
            assert "weights_only=True" in text[match.start() : match.start() + 200], path


def test_a_list_may_name_files_anywhere_and_what_is_written_stays_in_its_folder(
    workspace, trained, tmp_path
):
    """The rule: lists are the user's own and may lead to other disks; outputs never follow them."""
    outside = tmp_path / "data/secret"
    outside.mkdir(parents=True)
    for kind in ("rgb_00000.png", "sync_depth_00000.png"):
        source = workspace.data / "test/room_0000" / kind
        (outside / kind).write_bytes(source.read_bytes())
    data = tmp_path / "data/root"
    data.mkdir()
    (data / "test.txt").write_text("../secret/rgb_00000.png ../secret/sync_depth_00000.png 1\n")
    key = "../secret/rgb_00000.png"
    write_features(data / "text.safetensors", [key], torch.randn(1, 16), {"kind": "text"})
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "maps/deep"
    arguments = ("--checkpoint", str(trained / "tiny/stage3"), "--save-predictions", str(out))
    outcome = evaluate("stage3", *arguments, f"data.root={data}", "text.captions=null")
    assert outcome.code == 0, outcome.err
    written = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
    assert len(written) >= 1
    assert all(out in path.resolve().parents for path in written), written
