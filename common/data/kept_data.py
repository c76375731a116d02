"""What a run keeps of its data in its checkpoints: which image is in which split, which file it is.

Folders grow, lists are edited, pictures are replaced under the same names; the splits of a run and
what is known of its images stay with it. `kept_checks.py` compares them with what is there now.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.config import look_up, to_dict
from common.data.data_config import DataConfig
from common.data.lists import write_list
from common.data.pairs import PairList
from common.data.samples import Sample, Samples, SplitName
from common.errors import UserError
from common.fingerprints import Fingerprint, has_contents, take_fingerprint
from common.packed import PackedStrings
from common.shards import is_stored

# The keys of the data section that decide which image is in which split of a folder without lists.
DIVIDING_KEYS = ("name", "train_list", "val_list", "test_list", "val_share", "test_share")
_MOST_FILES = 50_000  # pairs of a split whose files are looked at
_DEPTH = "depth of "  # starts the name of a depth map in a fingerprint


@dataclass(frozen=True)
class KeptData:
    """Of one run. data: the data section of its config.

    pairs: of every split it knows. images: the keys of those that it reads. files: of these, the
    images by their keys and the depth maps as `depth of KEY`; of a large split some of them. words:
    of the same splits, see `Language.sample`.
    earlier: the earlier stage's checkpoint that it started from, by the name of that stage.
    """

    data: Mapping[str, Any]
    pairs: Mapping[SplitName, PairList]
    images: Mapping[SplitName, PackedStrings]
    files: Mapping[SplitName, Fingerprint]
    words: Mapping[SplitName, Mapping[str, Any]]
    earlier: Fingerprint | None = None

    @classmethod
    def take(
        cls,
        data: DataConfig,
        pairs: Mapping[SplitName, PairList],
        samples: Mapping[SplitName, Samples],
        words: Mapping[SplitName, Mapping[str, Any]],
    ) -> "KeptData":
        """As it is now."""
        images = {name: split.keys for name, split in samples.items()}
        skips = {name: name == "train" and data.on_error == "skip" for name in samples}
        files = {
            name: take_fingerprint(files_of(_some(split)), skips[name])
            for name, split in samples.items()
        }
        return cls(to_dict(data), pairs, images, files, words)

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], path: Path) -> "KeptData | None":
        """What a checkpoint holds of it; None: it was written before there was such a thing.

        A `UserError` if that cannot be read; path: the checkpoint's, for the message.
        """
        kept = checkpoint.get("data")
        if kept is None:
            return None
        try:
            return cls(
                checkpoint["config"]["data"],
                {name: PairList.of_plain(plain) for name, plain in kept["pairs"].items()},
                {name: _to_names(plain) for name, plain in kept["images"].items()},
                {name: _to_fingerprint(plain) for name, plain in kept["files"].items()},
                kept["words"],
                _to_fingerprint(kept["earlier"]) if kept["earlier"] else None,
            )
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise UserError(
                f"{path}: what it says of its data cannot be read; the file is damaged, or of "
                "another version of this project: take another one, or start with experiment=NAME"
            ) from error

    def to_plain(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {
            "pairs": {name: pairs.to_plain() for name, pairs in self.pairs.items()},
            "images": {name: _from_names(keys) for name, keys in self.images.items()},
            "files": {name: _from_fingerprint(files) for name, files in self.files.items()},
            "words": {name: dict(words) for name, words in self.words.items()},
            "earlier": None if self.earlier is None else _from_fingerprint(self.earlier),
        }

    def write_lists(self, folder: Path) -> None:
        """A list file of every split, for other runs: `data.test_list=RUN/splits/test.txt`."""
        for name, pairs in self.pairs.items():
            write_list(folder / f"{name}.txt", pairs)

    def known_files(self, samples: Samples, split: SplitName) -> dict[str, str]:
        """As `files_of`, of the samples whose files are known to this run."""
        known = [name for name in self.files[split].names if not name.startswith(_DEPTH)]
        rows = samples.keys.lookup.find_all(known)
        return files_of(samples.take(np.sort(rows[rows >= 0])))

    def places(self, data: DataConfig) -> dict[str, str]:
        """Key -> where an image is now, of some training images whose contents are known."""
        folder = data.root / data.train_dir
        names = [name for name in self.files["train"].contents if not name.startswith(_DEPTH)]
        return {name: str(folder / name) for name in names if is_stored(folder / name)}

    def is_of(self, data: DataConfig) -> bool:
        """Whether training images of the run are below this data root, whatever else is."""
        contents = self.files["train"].contents
        return any(has_contents(path, contents[name]) for name, path in self.places(data).items())

    def other_settings(self, data: DataConfig) -> list[str]:
        """What the run had for `DIVIDING_KEYS` that are others now, as `data.val_share=0.1`."""
        now = to_dict(data)
        before = {key: look_up(self.data, key) for key in DIVIDING_KEYS}
        return [
            f"data.{key}={'null' if value is None else value}"
            for key, value in before.items()
            if now[key] != value
        ]

    def divides(self, data: DataConfig) -> bool:
        """Whether `data` is the folder of this run and is to be divided as this run did."""
        return not self.other_settings(data) and self.is_of(data)

    def divide(self, pairs: PairList) -> tuple[dict[SplitName, PairList], PairList]:
        """The pairs of a folder in the splits they have been in, and those that are in none.

        A pair that is gone stays in its split, to be missed there.
        """
        is_left, parts = np.ones(len(pairs), bool), dict[SplitName, PairList]()
        for name, before in self.pairs.items():
            rows = pairs.images.lookup.find_all(before.images)
            is_there = rows >= 0
            is_there[is_there] = is_left[rows[is_there]]
            is_left[rows[is_there]] = False
            rows = np.where(is_there, rows, len(pairs) + np.arange(len(before)))
            parts[name] = (pairs + before).take(rows)
        return parts, pairs.take(is_left)


def files_of(samples: Iterable[Sample]) -> dict[str, str]:
    """The names in a fingerprint -> the files of the samples."""
    files = {}
    for sample in samples:
        files[sample.key] = sample.image_file
        files[f"{_DEPTH}{sample.key}"] = sample.depth_file
    return files


def _some(samples: Samples) -> Samples:
    """At most so many, spread over all: a few changed files among a million change no result."""
    return samples[:: -(-len(samples) // _MOST_FILES)] if len(samples) else samples


def _from_fingerprint(files: Fingerprint) -> dict[str, Any]:
    return {
        "names": _from_names(PackedStrings.of(files.names)),
        "facts": torch.from_numpy(files.facts),
        "contents": dict(files.contents),
    }


def _to_fingerprint(plain: Mapping[str, Any]) -> Fingerprint:
    return Fingerprint(tuple(_to_names(plain["names"])), plain["facts"].numpy(), plain["contents"])


def _from_names(names: PackedStrings) -> torch.Tensor:
    return torch.from_numpy(names.compressed())


def _to_names(packed: torch.Tensor) -> PackedStrings:
    return PackedStrings.from_compressed(packed.numpy())
