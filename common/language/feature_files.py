"""Packed feature files: one feature per image, or several, in one file, equal ones stored once.

    write_features(Path("text.safetensors"), keys, features, {"encoder": "RN50:openai"})
    table = open_table(Path("text.safetensors"))
    table.features[table.rows["kitchen_0028b/rgb_00045.jpg"]]     # fp16 [1024]

A packed file is one safetensors file: `features` fp16 [M, D] holds the distinct rows, `rows` int32
[T] says which of them an image has, `paths` uint8 holds the N image keys, joined by newlines. Equal
captions share a row: 24,231 NYU images have 5,467 captions. Where images have several captions,
`counts` int32 [N] says how many of the T rows belong to each. Its metadata says where it came from;
of image features, `pictures` int64 [N, 2] holds size and time of the image files.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from common.errors import UserError
from common.files import Answer, retried, whole_file
from common.fingerprints import Fingerprint
from common.packed import PackedStrings
from common.packed_mappings import PackedLists, PackedRows
from common.text_files import to_text, utf8_name

CREATED_BY = "LangDepth packed features, version 1"


@dataclass(frozen=True)
class FeatureTable:
    """One file: the distinct rows, and which row, or rows, each key has."""

    features: Tensor  # [M, D], of a packed file fp16 and memory-mapped
    rows: PackedRows
    provenance: dict[str, Any] | None  # None: the file does not say


def open_table(path: Path) -> FeatureTable:
    """Open one file; a `UserError` if it is missing or not a feature file."""
    return _read(path, _open_npz if path.suffix == ".npz" else _open_packed)


def _read(path: Path, read: Callable[[Path], Answer]) -> Answer:
    try:
        return retried(lambda: read(path))
    except FileNotFoundError as error:
        raise UserError(f"no feature file {path}; check the features keys") from error
    except Exception as error:  # reading damaged bytes fails in many ways
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: neither a packed feature file nor an .npz: {reason}") from error


def _open_packed(path: Path) -> FeatureTable:
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:
        features, rows, joined = (file.get_tensor(n) for n in ("features", "rows", "paths"))
        several = "counts" in file.keys()  # noqa: SIM118 - no mapping
        counts = file.get_tensor("counts").numpy() if several else np.ones(len(rows), np.int32)
        provenance = json.loads((file.metadata() or {}).get("provenance", "null"))
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"`features` is {features.dtype} {list(features.shape)}, not fp16 [M, D]")
    keys = PackedStrings.from_joined(joined.numpy())
    fits = len(keys) == len(counts) and len(rows) == counts.sum() and counts.min() > 0
    if not fits or not 0 <= int(rows.min()) <= int(rows.max()) < len(features):
        raise ValueError(f"{len(keys)} keys, {len(rows)} rows, {len(features)} features do not fit")
    lists = PackedLists.of_counts(rows.numpy(), counts)
    return FeatureTable(features, PackedRows(keys, lists), provenance)


def _open_npz(path: Path) -> FeatureTable:
    with np.load(path) as arrays:
        images, numbers = arrays["image"], arrays["feature"]
    if images.dtype.kind != "U" or numbers.dtype.kind != "f" or numbers.ndim < 2:
        raise ValueError("needs `image` [N] of text and `feature` [N, D] of floats")
    if len(images) != len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("needs one finite feature for every image")
    keys, features = images.tolist(), torch.from_numpy(numbers)
    names = PackedStrings.of(key.lstrip("/") for key in keys)
    return FeatureTable(features.flatten(1), PackedRows(names, np.arange(len(names))), None)


def read_pictures(path: Path) -> Fingerprint | None:
    """Which image files the features of a packed file were made from; None: it does not say.

    A `UserError` if it is missing or not a feature file.
    """
    return None if path.suffix == ".npz" else _read(path, _read_pictures)


def _read_pictures(path: Path) -> Fingerprint | None:
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:
        if "pictures" not in file.keys():  # noqa: SIM118 - no mapping
            return None
        facts = file.get_tensor("pictures").numpy()
        names = tuple(to_text(file.get_tensor("paths").numpy().tobytes()).split("\n"))
        return Fingerprint(names, facts, json.loads(file.metadata()["provenance"])["contents"])


def write_features(
    path: Path,
    keys: Iterable[str],
    features: Tensor,
    provenance: dict[str, Any],
    pictures: Fingerprint | None = None,
    lists: PackedLists | None = None,
) -> None:
    """Pack the features of N image keys, equal ones once; the file appears whole or not.

    features: [N, D]; or [M, D], and lists: which of them each of the N keys has.
    pictures: the files of these keys that they were made from.
    """
    names = PackedStrings.of(keys)
    lists = PackedLists(np.arange(len(features))) if lists is None else lists
    num_repeated = len(names.lookup.repeated())
    if len(names) != len(lists) or num_repeated or not names:
        raise ValueError(f"{len(names)} keys ({num_repeated} repeated), {len(lists)} features")
    half = features.detach().cpu().half()  # [N, D] or [M, D]
    if not torch.isfinite(half).all() or any("\n" in key for key in names):
        raise ValueError("features must be finite in fp16 and keys must be single lines")
    kept, rows = _distinct(half, lists.numbers)
    tensors = {
        "features": half[kept].contiguous(),  # [M, D]
        "rows": torch.from_numpy(rows.astype(np.int32)),  # [T]
        "paths": torch.from_numpy(names.to_joined()),
    }
    origin = {"created_by": CREATED_BY, "dtype": "float16", **provenance}
    if lists.has_several:
        tensors["counts"] = torch.from_numpy(lists.counts.astype(np.int32))  # [N]
    if pictures is not None:
        tensors["pictures"] = torch.from_numpy(pictures.facts)  # int64 [N, 2]
        origin["contents"] = dict(pictures.contents)
    with whole_file(path) as temporary:  # not by save_file: others could not read its files
        temporary.write_bytes(save(tensors, metadata={"provenance": json.dumps(origin)}))


def _distinct(features: Tensor, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Which of the features [M, D] to keep, in the order of their first use in `rows` [T].

    Also which of those each of the T is.
    """
    row_of: dict[bytes, int] = {}
    same_as = np.array([row_of.setdefault(f.tobytes(), n) for n, f in enumerate(features.numpy())])
    kept, first, new_rows = np.unique(same_as[rows], return_index=True, return_inverse=True)
    order = np.argsort(first)
    return torch.from_numpy(kept[order]), np.argsort(order)[new_rows]
