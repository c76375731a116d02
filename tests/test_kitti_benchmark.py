"""KITTI's benchmark: which images it has, and the zip file that its server takes."""

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TEXT_DIM, evaluate, run_process, train

from common.data.kitti_benchmark import FOLDER, NAMES, find_images, to_stored, write_submission
from common.errors import UserError
from common.evaluation.scoring import flip_average
from common.images.reading import read_image
from common.images.transforms import normalize
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore
from stage1_vae.model import load_text_vae
from stage3_depth.joint_model import load_joint

NUM_IMAGES = 3
KEYS = [f"image/{name}" for name in NAMES[:NUM_IMAGES]]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """`depth_selection` with the first three of the 500 images, and their text features."""
    root, rng = tmp_path_factory.mktemp("benchmark") / "depth_selection", np.random.default_rng(3)
    (root / FOLDER / "image").mkdir(parents=True)
    for key in KEYS:
        coarse = rng.integers(0, 256, (4, 12, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (1216, 352), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(root / FOLDER / key), picture)
    features = torch.from_numpy(rng.standard_normal((NUM_IMAGES, TEXT_DIM)))
    write_features(root / "text.safetensors", KEYS, features, {"kind": "text"})
    return root


@pytest.fixture(scope="module")
def runs(workspace, tmp_path_factory) -> Path:
    """One step of stage 1 and of the joint recipe: `tiny/stage1`, `tiny/stage3`."""
    runs = tmp_path_factory.mktemp("benchmark_runs")
    for stage in ("stage1", "joint"):
        outcome = train(stage, *workspace.arguments(stage, runs, "train.max_steps=1"))
        assert outcome.code == 0, outcome.err
    return runs


def words(run: Path, root: Path, out: Path, *others: str) -> list[str]:
    return [
        "--checkpoint",
        str(run),
        "--split",
        "kitti_benchmark",
        "--save-submission",
        str(out),
        "data.name=kitti",
        f"data.root={root}",
        "text.captions=null",
        "text.features=text.safetensors",
        *others,
    ]


def read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {
            name: cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            for name in archive.namelist()
        }


def predict(run: Path, root: Path, index: int, mirrored: bool = False) -> torch.Tensor:
    """The network's own depth [1, 1, H, W] of one image."""
    saved = torch.load(run / "checkpoints/best.pt", weights_only=True)
    image = torch.from_numpy(normalize(read_image(root / FOLDER / KEYS[index])))[None]
    image = image.flip(-1) if mirrored else image
    text = FeatureStore.open(root / "text.safetensors")[KEYS[index]][None]
    with torch.no_grad():
        if run.name == "stage1":
            return load_text_vae(saved).eval()(text, torch.zeros(1, 16), (352, 1216)).depth
        return load_joint(saved).eval()(image, text).depth


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_the_zip_holds_the_depth_the_network_predicts(runs, root, tmp_path, stage):
    out = tmp_path / "deep" / "out.zip"
    run = runs / "tiny" / stage
    outcome = evaluate(stage, *words(run, root, out, "data.allow_missing=true"))
    assert outcome.code == 0, outcome.err
    assert f"{NUM_IMAGES} depth maps" in outcome.out
    assert "The server refuses this file: it needs 500" in outcome.out
    depths = read_zip(out)
    assert list(depths) == list(NAMES[:NUM_IMAGES])
    for index, stored in enumerate(depths.values()):
        assert stored.dtype == np.uint16 and stored.shape == (352, 1216)
        expected = predict(run, root, index)[0, 0].clamp(1e-3, 10).numpy()
        assert np.abs(stored / 256 - expected).max() <= 0.5 / 256 + 1e-4
    assert [path.name for path in out.parent.iterdir()] == ["out.zip"]


def test_flip_and_max_depth_reach_the_zip(runs, root, tmp_path):
    run = runs / "tiny/stage3"
    limit = float(predict(run, root, 0).median())
    options = ["--flip", "data.allow_missing=true", f"data.max_depth={limit}"]
    outcome = evaluate("stage3", *words(run, root, tmp_path / "out.zip", *options))
    assert outcome.code == 0, outcome.err
    averages = [
        flip_average(*(predict(run, root, i, mirrored)[0, 0] for mirrored in (False, True)))
        for i in range(NUM_IMAGES)
    ]
    stored = read_zip(tmp_path / "out.zip")[NAMES[0]]
    assert np.abs(stored / 256 - averages[0].clamp(max=limit).numpy()).max() <= 0.5 / 256 + 1e-4
    num_clamped = sum(int((depth > limit).sum()) for depth in averages)
    told = int(outcome.out.split(" pixels were clamped")[0].split()[-1])
    assert told == pytest.approx(num_clamped, rel=1e-3) and told > 0


@pytest.mark.slow
def test_two_processes_write_the_same_zip_as_one(runs, root, tmp_path):
    options = ["data.allow_missing=true", "eval.batch_size=1"]
    run = runs / "tiny/stage1"
    assert evaluate("stage1", *words(run, root, tmp_path / "1.zip", *options)).code == 0
    outcome = run_process(
        "sh",
        "scripts/launch.sh",
        "stage1_vae/eval.py",
        *words(run, root, tmp_path / "2.zip", *options),
        NPROC="2",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.count(": 3 depth maps") == 1  # one process speaks
    one, two = (read_zip(tmp_path / name) for name in ("1.zip", "2.zip"))
    assert list(one) == list(two)
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_mistakes_leave_nothing_behind(runs, root, tmp_path):
    out, run = tmp_path / "out.zip", runs / "tiny/stage1"

    def refusal(*options: str, base: Path = root, target: Path = out) -> str:
        outcome = evaluate("stage1", *words(run, base, target, *options))
        assert not list(tmp_path.iterdir())
        return outcome.refusal

    assert "497 of 500 images are missing, first 0000000003.png" in refusal()
    some = "data.allow_missing=true"
    assert "data.name is nyu" in refusal(some, "data.name=nyu")
    assert "a submission needs every image" in refusal(some, "eval.max_images=2")
    assert "ends in .zip" in refusal(some, target=tmp_path / "out")
    assert f"no {FOLDER}/image in" in refusal(some, base=runs)
    assert "no feature file" in refusal(some, "text.features=other.safetensors")
    two = write_other_features(root, KEYS[:2])
    assert f"1 of 3 images have no text feature, first {KEYS[2]}" in refusal(
        some, f"text.features={two}"
    )


def write_other_features(root: Path, keys: list[str]) -> str:
    write_features(root / "two.safetensors", keys, torch.ones(len(keys), TEXT_DIM), {"kind": "x"})
    return "two.safetensors"


def test_a_broken_network_gives_no_submission(runs, root, tmp_path):
    saved = torch.load(runs / "tiny/stage1/checkpoints/best.pt", weights_only=True)
    saved["model"]["depth_conv.bias"].fill_(torch.nan)
    torch.save(saved, tmp_path / "broken.pt")
    out = tmp_path / "out.zip"
    outcome = evaluate(
        "stage1", *words(tmp_path / "broken.pt", root, out, "data.allow_missing=true")
    )
    assert outcome.code == 2
    assert f"{KEYS[0]}: {352 * 1216} of {352 * 1216} predicted pixels" in outcome.errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pt"]


def test_the_options_belong_together(runs, tmp_path):
    run = ["--checkpoint", str(runs / "tiny/stage1")]
    zip_option = ["--save-submission", str(tmp_path / "out.zip")]
    split = ["--split", "kitti_benchmark"]
    for options, expected in {
        tuple(split): "add --save-submission OUT.zip",
        tuple(zip_option): "only with --split kitti_benchmark",
        (*split, *zip_option, "--json", "x.json"): "--json: not with --split kitti_benchmark",
        (*split, *zip_option, "--protocol", "none"): "--protocol: not with",
    }.items():
        outcome = evaluate("stage1", *run, *options)
        assert outcome.code == 2 and expected in outcome.errors[0]


@pytest.fixture
def all_images(tmp_path) -> Path:
    """The folder of all 500 images; nothing here reads what is in them."""
    folder = tmp_path / "data" / "depth_selection" / FOLDER / "image"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).touch()
    return folder


def test_all_500_images_are_found_from_every_place(all_images):
    expected = [f"image/{number:010d}.png" for number in range(500)]
    for root in [all_images, *list(all_images.parents)[:3]]:
        found = find_images(root)
        assert list(found) == expected
        assert found[expected[499]] == all_images / "0000000499.png"


def test_missing_and_foreign_images_are_told(all_images):
    for number in (7, 499):
        (all_images / NAMES[number]).unlink()
    with pytest.raises(UserError, match="2 of 500 images are missing, first 0000000007.png"):
        find_images(all_images)
    assert len(find_images(all_images, allow_missing=True)) == 498
    (all_images / "0000000500.png").touch()
    with pytest.raises(UserError, match="0000000500.png is not one of 0000000000.png to"):
        find_images(all_images, allow_missing=True)
    shutil.rmtree(all_images)
    all_images.mkdir()
    with pytest.raises(UserError, match="500 of 500 images are missing"):
        find_images(all_images, allow_missing=True)


def test_an_image_of_another_size_or_a_cut_off_one_is_told(runs, root, tmp_path):
    own = shutil.copytree(root, tmp_path / "own")
    image = own / FOLDER / KEYS[1]
    for content, expected in (
        (cv2.imencode(".png", np.zeros((375, 1242, 3), np.uint8))[1].tobytes(), "is 375x1242; the"),
        (image.read_bytes()[:5000], "the file is cut off"),
    ):
        image.write_bytes(content)
        out = tmp_path / "out.zip"
        run = runs / "tiny/stage1"
        outcome = evaluate("stage1", *words(run, own, out, "data.allow_missing=true"))
        assert outcome.code == 2 and expected in outcome.errors[0]
        assert str(image) in outcome.errors[0]
        assert not out.exists()


def test_depth_is_stored_as_meters_times_256_and_never_as_0():
    depth = torch.tensor([[1e-3, 0.5, 1.0, 79.998, 80.0, 1e4]])
    stored = to_stored(depth)
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[1, 128, 256, 20479, 20480, 65534]]


def test_everything_is_checked_before_the_zip_is_written(tmp_path):
    out, folder = tmp_path / "out.zip", tmp_path / "depth"
    folder.mkdir()
    for number in range(3):
        depth = np.full((352, 1216), 256 * (number + 1), np.uint16)
        cv2.imwrite(str(folder / NAMES[number]), depth)
    write_submission(out, folder, NAMES[:3])
    depths = read_zip(out)
    assert {name: int(depth.max()) for name, depth in depths.items()} == {
        NAMES[0]: 256,
        NAMES[1]: 512,
        NAMES[2]: 768,
    }
    before = out.read_bytes()
    good = (folder / NAMES[1]).read_bytes()
    hole = np.full((352, 1216), 256, np.uint16)
    hole[5, 6:8] = 0
    for wrong, expected in (
        (np.ones((375, 1242), np.uint16), "is 375x1242, not 352x1216"),
        (np.ones((352, 1216), np.uint8), "of uint8"),
        (hole, "2 pixels have no prediction"),
    ):
        cv2.imwrite(str(folder / NAMES[1]), wrong)
        with pytest.raises(UserError, match=expected):
            write_submission(out, folder, NAMES[:3])
    (folder / NAMES[1]).write_bytes(good)
    with pytest.raises(UserError, match="holds 3 depth maps, not the 500"):
        write_submission(out, folder, NAMES)
    assert out.read_bytes() == before
