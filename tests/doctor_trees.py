"""Small data sets in the real layouts for the doctor's tests; ways to damage and examine them."""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Outcome, call

from common.config import REPO_ROOT
from common.language.feature_files import write_features

NYU_TRAIN_LIST = "nyudepthv2_train_files_with_gt.txt"
NYU_TEST_LIST = "nyudepthv2_test_files_with_gt.txt"
PROGRAM = REPO_ROOT / "scripts" / "doctor.py"
# Started once as a module: a process for each call would spend seconds on imports.
DOCTOR = runpy.run_path(str(PROGRAM))
DRIVE = "2011_09_26_drive_{}_sync"


@dataclass(frozen=True)
class Health:
    """What the doctor said."""

    outcome: Outcome
    content: dict

    def codes(self, level: str = "problem") -> list[str]:
        return sorted({f["code"] for f in self.content["findings"] if f["level"] == level})

    def finding(self, code: str, word: str = "") -> dict:
        """The one finding of that code (and with that word in its text)."""
        found = [f for f in self.content["findings"] if f["code"] == code and word in f["text"]]
        assert len(found) == 1, self.content["findings"]
        return found[0]


def examine(data: str, folder: Path, *arguments: str) -> Health:
    """Run the doctor with --json; its exit code must agree with what it says."""
    out = folder / "health.json"
    outcome = call(DOCTOR["main"], data, *arguments, "--json", str(out))
    assert outcome.code in (0, 1), outcome.err
    content = json.loads(out.read_text())
    assert content["healthy"] == (outcome.code == 0)
    return Health(outcome, content)


def examine_nyu(root: Path, *arguments: str) -> Health:
    settings = f"data.root={root}", "data.val_share=0.3", f"output_root={root / 'runs'}"
    lists = f"data.train_list={NYU_TRAIN_LIST}", f"data.test_list={NYU_TEST_LIST}"
    return examine("nyu", root, *settings, *lists, "eval.protocol=none", *arguments)


def examine_kitti(root: Path, *arguments: str) -> Health:
    lists = f"data.train_list={root / 'train.txt'}", f"data.test_list={root / 'test.txt'}"
    roots = f"data.root={root / 'raw'}", f"data.gt_root={root / 'depth'}"
    return examine(
        "kitti", root, *roots, *lists, f"text.captions={root / 'captions.jsonl'}", *arguments
    )


def write_nyu(root: Path) -> Path:
    """BTS's layout: 12 training pairs of 4 scenes, 8 test pairs of 2; captions and features."""
    rng = np.random.default_rng(0)
    keys = []
    for folder, list_name, scenes in (
        ("sync", NYU_TRAIN_LIST, ("kitchen_0001a", "kitchen_0002", "bedroom_0003", "office_0004")),
        ("official_splits/test", NYU_TEST_LIST, ("bathroom", "study")),
    ):
        lines = []
        for number in range(12 if folder == "sync" else 8):
            scene = scenes[number % len(scenes)]
            key, depth = f"{scene}/rgb_{number:05d}.jpg", f"{scene}/sync_depth_{number:05d}.png"
            write_image(root / folder / key, rng)
            write_depth(root / folder / depth, room(rng))
            lines.append(
                f"/{key} /{depth} 518.8579" if folder == "sync" else f"{key} {depth} 518.8"
            )
            keys.append(key)
        (root / list_name).write_text("\r\n".join(lines))
    write_captions(root, keys)
    write_features(
        root / "text.safetensors",
        keys,
        torch.from_numpy(rng.standard_normal((len(keys), 8))),
        {"encoder": "RN50:openai"},
    )
    return root


def write_kitti(root: Path) -> Path:
    """Drives in raw/, sparse depth in depth/train and depth/val, lists beside them."""
    rng = np.random.default_rng(1)
    keys = []
    for list_name, drives, count in (("train", ("0001", "0002"), 2), ("test", ("0009",), 2)):
        lines = []
        for drive in drives:
            for frame in range(count):
                name = DRIVE.format(drive)
                key = f"2011_09_26/{name}/image_02/data/{frame:010d}.png"
                depth = f"{name}/proj_depth/groundtruth/image_02/{frame:010d}.png"
                where = "val" if list_name == "test" else "train"
                write_image(root / "raw" / key, rng, (375, 1242))
                write_depth(root / "depth" / where / depth, street(rng), 256)
                lines.append(f"{key} {depth} 721.5377")
                keys.append(key)
        (root / f"{list_name}.txt").write_text("\n".join([*lines, f"{key[:-5]}9.png None 721.5"]))
    write_captions(root, keys)
    return root


def write_folder(root: Path, count: int = 6, scale: float = 1000) -> Path:
    """rgb/ and depth/ with the same names."""
    rng = np.random.default_rng(2)
    for number in range(count):
        write_image(root / "rgb" / f"{number}.png", rng)
        write_depth(root / "depth" / f"{number}.png", room(rng), scale)
    return root


def write_image(path: Path, rng: np.random.Generator, size: tuple[int, int] = (48, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_LINEAR))


def room(rng: np.random.Generator, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Meters: a floor that rises to a wall, with a hole."""
    rows = np.linspace(rng.uniform(3, 5), 1.2, size[0])[:, None]
    meters = rows + rng.uniform(0, 0.2, size)
    meters[10:20, 30:50] = 0
    return meters


def street(rng: np.random.Generator, size: tuple[int, int] = (375, 1242)) -> np.ndarray:
    """Meters: a road below the horizon, measured at 5 % of the pixels."""
    meters = np.clip(1.65 * 721 / np.maximum(np.arange(size[0]) - 150, 1), 5, 70)[:, None]
    meters = meters * rng.uniform(0.97, 1.03, size)
    meters[rng.random(size) > 0.05] = 0
    meters[:120] = 0
    return meters


def write_depth(path: Path, meters: np.ndarray, scale: float = 1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.round(meters * scale).astype(np.uint16))


def read_stored(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def rewrite(files: list[Path], change) -> None:
    """Apply `change` to the stored values of every file."""
    for path in files:
        cv2.imwrite(str(path), change(read_stored(path)))


def write_captions(root: Path, keys: list[str]) -> None:
    lines = [json.dumps({"image": key, "caption": f"A room like {key}."}) for key in keys]
    (root / "captions.jsonl").write_text("\n".join(lines))


def images(root: Path, folder: str = "sync") -> list[Path]:
    return sorted((root / folder).rglob("rgb_*.jpg"))


def depths(root: Path, folder: str = "sync") -> list[Path]:
    return sorted((root / folder).rglob("sync_depth_*.png"))


def edit_list(root: Path, change, name: str = NYU_TRAIN_LIST) -> None:
    """Apply `change` to the lines of a list."""
    lines = (root / name).read_text().splitlines()
    (root / name).write_text("\n".join(change(lines)))


@pytest.fixture(name="nyu")
def nyu_tree(tmp_path):
    """A healthy NYU folder; imported by the files that damage it."""
    return write_nyu(tmp_path / "disk/nyu")


@pytest.fixture(name="kitti")
def kitti_tree(tmp_path):
    """A healthy KITTI folder."""
    return write_kitti(tmp_path / "kitti")
