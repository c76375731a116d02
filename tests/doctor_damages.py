"""Damages of small data sets whose fix a program can carry out, for the tests that do so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import doctor_trees as trees
import numpy as np
import torch

from common.language.feature_files import write_features

Damage = Callable[[Path], tuple[str, ...]]  # root -> arguments of the doctor


@dataclass(frozen=True)
class Case:
    """A healthy tree, what is done to it, and the code of the finding about that."""

    write: Callable[[Path], Path]
    damage: Damage
    code: str

    def arguments(self, root: Path) -> list[str]:
        """What the doctor is called with; damages the tree."""
        more = [word.format(root=root) for word in self.damage(root)]
        if self.write is trees.write_folder:
            return ["folder", f"data.root={root}", "text.captions=null", *more]
        if self.write is trees.write_kitti:
            lists = f"data.train_list={root / 'train.txt'}", f"data.test_list={root / 'test.txt'}"
            roots = f"data.root={root / 'raw'}", f"data.gt_root={root / 'depth'}"
            return ["kitti", *roots, *lists, f"text.captions={root / 'captions.jsonl'}", *more]
        lists = f"data.train_list={trees.NYU_TRAIN_LIST}", f"data.test_list={trees.NYU_TEST_LIST}"
        settings = "data.val_share=0.3", "eval.protocol=none", "text.encoder=untrained:0"
        return ["nyu", f"data.root={root}", *lists, *settings, *more]


def _maps(change) -> Damage:
    def damage(root):
        files = [*trees.depths(root), *trees.depths(root, "official_splits")]
        trees.rewrite(files or sorted((root / "depth").iterdir()), change)
        return ()

    return damage


def _scaled(factor: float) -> Damage:
    return _maps(lambda d: (d * factor).round().astype(np.uint16))


def _train_lines(change, *arguments: str) -> Damage:
    def damage(root):
        trees.edit_list(root, lambda lines: [change(line) for line in lines])
        return ("text.captions=null", *arguments)

    return damage


def _authors_paths(line: str) -> str:
    """Absolute, on the authors' machine; every published list has such a fork somewhere."""
    image, depth, focal = line.split()
    start = "/mnt/storage/author.x/nyu+depth/sync"
    return f"{start}{image} {start}{depth} {focal}"


def _exchanged(line: str) -> str:
    image, depth, focal = line.split()
    return f"{depth} {image} {focal}"


def _tabs(line: str) -> str:
    return "\t".join(_exchanged(line).split())


def _repeated(root: Path) -> tuple[str, ...]:
    trees.edit_list(root, lambda lines: [*lines, *lines[:3]])
    return ()


def _converted(root: Path) -> tuple[str, ...]:
    """Images to another format; the old ones are gone."""
    for path in trees.images(root):
        cv2.imwrite(str(path.with_suffix(".png")), trees.read_stored(path))
        path.unlink()
    return ("text.captions=null",)


def _one_scene(root: Path) -> tuple[str, ...]:
    kitchen = "kitchen_0001a"
    trees.edit_list(root, lambda lines: [line for line in lines if kitchen in line])
    return ()


def _floats(root: Path) -> tuple[str, ...]:
    for path in sorted((root / "depth").iterdir()):
        np.save(path.with_suffix(".npy"), trees.read_stored(path).astype(np.float32) / 100)
        path.unlink()
    return ()


def _folders_exchanged(root: Path) -> tuple[str, ...]:
    (root / "rgb").rename(root / "other")
    (root / "depth").rename(root / "rgb")
    (root / "other").rename(root / "depth")
    return ()


def _features(change) -> Damage:
    """A feature file for all images, changed."""

    def damage(root):
        lines = (root / "captions.jsonl").read_text().splitlines()
        keys = [json.loads(line)["image"] for line in lines]
        change(root, keys)
        return ("text.features=text.safetensors",)

    return damage


def _cut_off(root, keys):
    (root / "text.safetensors").write_bytes(b"cut off")


def _missing(root, keys):
    (root / "text.safetensors").unlink()


def _zeros(root, keys):
    origin = {"encoder": "untrained:0"}
    write_features(root / "text.safetensors", keys, torch.zeros(len(keys), 8), origin)


def _other_encoder(root, keys):
    origin = {"encoder": "untrained:1"}
    write_features(root / "text.safetensors", keys, torch.ones(len(keys), 8), origin)


def _other_captions(root, keys):
    origin = {"encoder": "untrained:0", "captions_sha256": "0" * 64}
    write_features(root / "text.safetensors", keys, torch.ones(len(keys), 8), origin)


def _two_lengths(root, keys):
    for name, length in (("text", 8), ("more", 4)):
        write_features(
            root / f"{name}.safetensors",
            keys,
            torch.ones(len(keys), length),
            {"encoder": "untrained:0"},
        )


def _moved(old: str, new: str) -> Damage:
    def damage(root):
        (root / old).rename(root / "aside")
        (root / new).parent.mkdir(parents=True)
        (root / "aside").rename(root / new)
        return ()

    return damage


def _set(*arguments: str) -> Damage:
    return lambda root: arguments


def _all_of(*damages: Damage) -> Damage:
    return lambda root: tuple(word for damage in damages for word in damage(root))


NYU, KITTI, FOLDER = trees.write_nyu, trees.write_kitti, trees.write_folder
_AUTHORS = _train_lines(_authors_paths)
_DOUBLED = _train_lines(lambda line: line.replace("/", "/sync/", 1).replace(" /", " /sync/"))

CASES = {
    "meters * 256": Case(NYU, _scaled(0.256), "wrong_unit"),
    "meters * 5000": Case(NYU, _scaled(5), "wrong_unit"),
    "turned bits": Case(FOLDER, _maps(lambda d: (d << 3) | (d >> 13)), "wrong_unit"),
    "decimeters": Case(FOLDER, _floats, "wrong_unit"),
    "depth beyond": Case(NYU, _set("data.max_depth=2"), "beyond_max_depth"),
    "authors' paths": Case(NYU, _AUTHORS, "missing_image"),
    "authors' paths, files elsewhere": Case(
        NYU, _all_of(_moved("sync", "elsewhere/unpacked"), _AUTHORS), "missing_image"
    ),
    "paths of Windows": Case(
        NYU, _train_lines(lambda line: line[1:].replace("/", "\\")), "missing_image"
    ),
    "converted images": Case(NYU, _converted, "missing_image"),
    "columns": Case(NYU, _train_lines(_exchanged), "swapped_columns"),
    "columns between tabs": Case(NYU, _train_lines(_tabs), "swapped_columns"),
    "folders": Case(FOLDER, _folders_exchanged, "swapped_columns"),
    "repeats": Case(NYU, _repeated, "list_repeats"),
    "one scene": Case(NYU, _one_scene, "list_refused"),
    "no validation": Case(NYU, _set("data.val_share=0"), "no_validation"),
    "protocol": Case(NYU, _set("eval.protocol=nyu_eigen"), "wrong_protocol"),
    "train_dir": Case(NYU, _set("data.train_dir=."), "wrong_root"),
    "folder too deep": Case(FOLDER, _set("data.root={root}/rgb"), "no_pairs"),
    "root too high": Case(KITTI, _moved("raw", "raw/inner"), "wrong_root"),
    "doubled folder": Case(NYU, _DOUBLED, "wrong_root"),
    "roots": Case(KITTI, _set("data.root={root}/depth", "data.gt_root={root}/raw"), "wrong_root"),
    "features cut off": Case(NYU, _features(_cut_off), "feature_unreadable"),
    "features missing": Case(NYU, _features(_missing), "feature_missing"),
    "features of zeros": Case(NYU, _features(_zeros), "feature_value"),
    "features of two lengths": Case(
        NYU,
        _all_of(_features(_two_lengths), _set("text.features=[text.safetensors,more.safetensors]")),
        "feature_length",
    ),
    "features of another encoder": Case(NYU, _features(_other_encoder), "feature_encoder"),
    "features of other captions": Case(NYU, _features(_other_captions), "feature_captions"),
}
