"""Packed feature files: one feature per image in one file, equal ones stored once.

    write_features(Path("text.safetensors"), keys, features, {"encoder": "RN50:openai"})
    store = FeatureStore.open("text.safetensors")
    store["kitchen_0028b/rgb_00045.jpg"]      # float32 [1024]
    store.lent({"a.jpg": "b.jpg"})["a.jpg"]   # that of b.jpg

A packed file is one safetensors file: `features` fp16 [M, D] holds the distinct rows, `rows` int32
[N] says which of them an image has, `paths` uint8 holds the N image keys, joined by newlines. Equal
captions share a row: 24,231 NYU images have 5,467 captions. Its metadata says where it came from;
of image features, `pictures` int64 [N, 2] holds size and time of the image files.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common.errors import UserError
from common.files import Answer, retried, whole_file
from common.fingerprints import Fingerprint
from common.packed import PackedStrings
from common.packed_mappings import PackedRows
from common.text_files import to_text, utf8_name

CREATED_BY = "LangDepth packed features, version 1"


@dataclass(frozen=True)
class FeatureTable:
    """One file: the distinct rows, and which row each key has."""

    features: Tensor  # [M, D], of a packed file fp16 and memory-mapped
    rows: PackedRows
    provenance: dict[str, Any] | None  # None: the file does not say


class FeatureStore:
    """key -> float32 [D], over one or several feature files; a later file wins for a shared key."""

    def __init__(
        self,
        paths: Sequence[Path],
        tables: Sequence[FeatureTable],
        lenders: Mapping[str, str] | None = None,
    ) -> None:
        """lenders: key -> the key whose feature it has; None: every key has its own."""
        self._complete_for: PackedStrings | None = None  # keys that have been looked up before
        self.paths = tuple(paths)
        self._tables = tuple(reversed(tables))
        self._lenders = lenders
        dims = {
            str(path): table.features.shape[1] for path, table in zip(paths, tables, strict=True)
        }
        if len(set(dims.values())) != 1:
            raise UserError(f"feature files differ in length: {dims}; use one encoder for all")

    @classmethod
    def open(cls, paths: str | Path | Sequence[str | Path]) -> "FeatureStore":
        """Open packed files, or `.npz` files with `image` [N] and `feature` [N, D]."""
        files = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
        return cls(files, [open_table(path) for path in files])

    def lent(self, lenders: Mapping[str, str]) -> "FeatureStore":
        """The same features, given to other keys: key -> the key whose feature it gets."""
        return FeatureStore(self.paths, self.tables, lenders)

    def __reduce__(self) -> tuple:
        """Another process opens the files itself instead of receiving their contents."""
        return _reopen, (self.paths, self._lenders)

    def __getitem__(self, key: str) -> Tensor:
        own = key if self._lenders is None else self._lenders[key]
        for table in self._tables:
            if own in table.rows:
                return table.features[table.rows[own]].float()
        raise KeyError(key)

    def __contains__(self, key: str) -> bool:
        own = key if self._lenders is None else self._lenders.get(key)
        return any(own in table.rows for table in self._tables)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that have no feature, in their order."""
        wanted = PackedStrings.of(keys)
        if wanted is self._complete_for:
            return []
        lacking = list(wanted.view(np.flatnonzero(self._find(wanted) < 0)))
        self._complete_for = None if lacking else wanted
        return lacking

    def gather(self, keys: Iterable[str]) -> tuple[Tensor, Tensor]:
        """The features of all files [M, D], and the row of each key, int64 [N].

        Images share rows: the features of a million may be a thousand.
        """
        rows = self._find(PackedStrings.of(keys))
        if (rows < 0).any():
            raise KeyError("not every key has a feature")
        parts = [table.features for table in self._tables]
        return parts[0] if len(parts) == 1 else torch.cat(parts), torch.from_numpy(rows)

    def _find(self, keys: PackedStrings) -> np.ndarray:
        """int64 [N], rows of all tables one below the other; -1: there is none."""
        lenders = self._lenders
        own = keys
        if lenders is not None:
            own = PackedStrings.of(lenders.get(key, _NOBODY) for key in keys)
        rows, first = np.full(len(own), -1), 0
        for table in self._tables:
            found = table.rows.names.lookup.find_all(own)
            is_new = (rows < 0) & (found >= 0)
            rows[is_new] = first + table.rows.rows[found[is_new]]
            first += len(table.features)
        return rows

    @property
    def dim(self) -> int:
        return self._tables[0].features.shape[1]

    @property
    def tables(self) -> tuple[FeatureTable, ...]:
        """One per file, in the order of `paths`."""
        return tuple(reversed(self._tables))

    @property
    def provenance(self) -> tuple[dict[str, Any] | None, ...]:
        """Where each file came from, in the order of `paths`."""
        return tuple(table.provenance for table in self.tables)


_NOBODY = "\n"  # no key is this
_NO_ROWS = PackedRows(PackedStrings.of(()), np.empty(0, np.int32))


class ZeroFeatures(FeatureStore):
    """Zeros of one length for every key: no words at all."""

    def __init__(self, dim: int) -> None:
        super().__init__((Path(),), (FeatureTable(torch.zeros(1, dim), _NO_ROWS, None),))

    def __reduce__(self) -> tuple:
        return ZeroFeatures, (self.dim,)

    def __getitem__(self, key: str) -> Tensor:
        return torch.zeros(self.dim)

    def __contains__(self, key: str) -> bool:
        return True

    def _find(self, keys: PackedStrings) -> np.ndarray:
        return np.zeros(len(keys), np.int64)


def _reopen(paths: Sequence[Path], lenders: Mapping[str, str] | None) -> FeatureStore:
    store = FeatureStore.open(paths)
    return store if lenders is None else store.lent(lenders)


def open_table(path: Path) -> FeatureTable:
    """Open one file; a `UserError` if it is missing or not a feature file."""
    return _read(path, _open_npz if path.suffix == ".npz" else _open_packed)


def _read(path: Path, read: Callable[[Path], Answer]) -> Answer:
    try:
        return retried(lambda: read(path))
    except FileNotFoundError as error:
        raise UserError(f"no feature file {path}; check the features keys") from error
    except (OSError, SafetensorError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: neither a packed feature file nor an .npz: {error}") from error


def _open_packed(path: Path) -> FeatureTable:
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:
        features, rows, joined = (file.get_tensor(n) for n in ("features", "rows", "paths"))
        provenance = json.loads((file.metadata() or {}).get("provenance", "null"))
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"`features` is {features.dtype} {list(features.shape)}, not fp16 [M, D]")
    keys = PackedStrings.from_joined(joined.numpy())
    if len(keys) != len(rows) or not 0 <= int(rows.min()) <= int(rows.max()) < len(features):
        raise ValueError(f"{len(keys)} keys, {len(rows)} rows, {len(features)} features do not fit")
    return FeatureTable(features, PackedRows(keys, rows.numpy()), provenance)


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
    rows: np.ndarray | None = None,
) -> None:
    """Pack the features of N image keys, equal ones once; the file appears whole or not.

    features: [N, D]; or [M, D], and rows: int [N] says which of them each key has.
    pictures: the files of these keys that they were made from.
    """
    names = PackedStrings.of(keys)
    rows = np.arange(len(features)) if rows is None else rows
    num_repeated = len(names.lookup.repeated())
    if len(names) != len(rows) or num_repeated or not names:
        raise ValueError(f"{len(names)} keys ({num_repeated} repeated), {len(rows)} features")
    half = features.detach().cpu().half()  # [N, D] or [M, D]
    if not torch.isfinite(half).all() or any("\n" in key for key in names):
        raise ValueError("features must be finite in fp16 and keys must be single lines")
    kept, rows = _distinct(half, rows)
    tensors = {
        "features": half[kept].contiguous(),  # [M, D]
        "rows": torch.from_numpy(rows.astype(np.int32)),
        "paths": torch.from_numpy(names.to_joined()),
    }
    origin = {"created_by": CREATED_BY, "dtype": "float16", **provenance}
    if pictures is not None:
        tensors["pictures"] = torch.from_numpy(pictures.facts)  # int64 [N, 2]
        origin["contents"] = dict(pictures.contents)
    with whole_file(path) as temporary:  # not by save_file: others could not read its files
        temporary.write_bytes(save(tensors, metadata={"provenance": json.dumps(origin)}))


def _distinct(features: Tensor, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """Which of the features [M, D] to keep, in the order of their first use in `rows` [N].

    Also which of those each of the N has.
    """
    row_of: dict[bytes, int] = {}
    same_as = np.array([row_of.setdefault(f.tobytes(), n) for n, f in enumerate(features.numpy())])
    kept, first, new_rows = np.unique(same_as[rows], return_index=True, return_inverse=True)
    order = np.argsort(first)
    return torch.from_numpy(kept[order]), np.argsort(order)[new_rows]
