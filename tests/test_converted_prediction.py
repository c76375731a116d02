"""A converted published file gives one depth, whichever program or library opens it."""

import json

import cv2
import numpy as np
import pytest
import torch
from conftest import evaluate, run_script
from prediction_runs import CAPTION, picture
from published_files import convert, write_published

import hubconf
from common.evaluation.protocols import resize_to_gt
from scripts.exporting.verify import TOLERANCE

IMAGE = "test/room_0001/rgb_00003.png"

pytest_plugins = ["prediction_runs"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The joint network in the published format, converted."""
    folder = tmp_path_factory.mktemp("converted")
    (file,) = write_published(folder, "joint_nyu")
    outcome = convert("--dataset", "nyu", "--from", file, "--output", folder / "ours.pt")
    assert outcome.code == 0, outcome.err
    return folder / "ours.pt"


def test_eval_predict_and_hub_give_one_depth(converted, encoder, workspace, tmp_path):
    captions = workspace.data / "captions.jsonl"
    data = (f"data.root={workspace.data}", "data.train_dir=''", "data.test_dir=''")
    words = (*data, "data.test_list=test.txt", "text.captions=captions.jsonl", encoder)
    saved = ("--protocol", "none", "--save-predictions", str(tmp_path / "eval"))
    large = "eval.saved_depth_scale=20"  # random weights: up to a thousand meters
    assert evaluate("stage3", "--checkpoint", str(converted), *saved, *words, large).code == 0
    stored = cv2.imread(str(tmp_path / "eval" / IMAGE), cv2.IMREAD_UNCHANGED)
    fits = stored < 65534
    assert stored.min() > 0 and fits.mean() > 0.8
    scored, fits = (
        resize_to_gt(torch.tensor(values), torch.empty(64, 96), "")[0].numpy()
        for values in (stored / 20, fits * 1.0)
    )

    outcome = run_script(
        "predict.py", "--checkpoint", converted, workspace.data / "test", "--captions", captions,
        "--output", tmp_path / "predict", encoder,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (file,) = (tmp_path / "predict").rglob("rgb_00003.npy")
    predicted = np.load(file)
    assert np.std(predicted) > 0
    known = fits == 1
    np.testing.assert_allclose(scored[known], predicted[known], atol=0.026, rtol=1e-5)

    key, value = encoder.split("=", 1)
    model = hubconf.langdepth(str(converted), "cpu", **{key: value})
    lines = map(json.loads, captions.read_text().splitlines())
    caption = {line["image"]: line["caption"] for line in lines}[IMAGE]
    depth = model.predict(workspace.data / IMAGE, caption).depth
    np.testing.assert_allclose(depth, predicted, rtol=1e-3)  # of another batch
    assert not np.allclose(model.predict(workspace.data / IMAGE, "none").depth, depth)


@pytest.mark.slow
def test_exported_it_gives_the_same(converted, encoder, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "model.onnx"
    outcome = run_script("export.py", "--checkpoint", converted, "--output", file)
    assert outcome.code == 0, outcome.err
    key, value = encoder.split("=", 1)
    ours, theirs = (
        hubconf.langdepth(str(place), "cpu", **{key: value}) for place in (converted, file)
    )
    image = picture(32, 64)  # the network's own size, which a Swin's export is fixed to
    wanted = ours.predict(image, CAPTION).depth
    np.testing.assert_allclose(theirs.predict(image, CAPTION).depth, wanted, rtol=TOLERANCE)
