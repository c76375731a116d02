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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from common.errors import UserError
from common.files import retried, whole_file
from common.fingerprints import Fingerprint
from common.text_files import to_bytes, to_text, utf8_name

CREATED_BY = "LangDepth packed features, version 1"


@dataclass(frozen=True)
class FeatureTable:
    """One file: the distinct rows, and which row each key has."""

    features: Tensor  # [M, D], of a packed file fp16 and memory-mapped
    rows: dict[str, int]
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
        return [key for key in keys if key not in self]

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


class ZeroFeatures(FeatureStore):
    """Zeros of one length for every key: no words at all."""

    def __init__(self, dim: int) -> None:
        super().__init__((Path(),), (FeatureTable(torch.zeros(1, dim), {}, None),))

    def __reduce__(self) -> tuple:
        return ZeroFeatures, (self.dim,)

    def __getitem__(self, key: str) -> Tensor:
        return torch.zeros(self.dim)

    def __contains__(self, key: str) -> bool:
        return True


def _reopen(paths: Sequence[Path], lenders: Mapping[str, str] | None) -> FeatureStore:
    store = FeatureStore.open(paths)
    return store if lenders is None else store.lent(lenders)


def open_table(path: Path) -> FeatureTable:
    """Open one file; a `UserError` if it is missing or not a feature file."""
    try:
        return retried(lambda: _open_npz(path) if path.suffix == ".npz" else _open_packed(path))
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
    keys = to_text(joined.numpy().tobytes()).split("\n")
    if len(keys) != len(rows) or not 0 <= int(rows.min()) <= int(rows.max()) < len(features):
        raise ValueError(f"{len(keys)} keys, {len(rows)} rows, {len(features)} features do not fit")
    return FeatureTable(features, dict(zip(keys, rows.tolist(), strict=True)), provenance)


def _open_npz(path: Path) -> FeatureTable:
    with np.load(path) as arrays:
        images, numbers = arrays["image"], arrays["feature"]
    if images.dtype.kind != "U" or numbers.dtype.kind != "f" or numbers.ndim < 2:
        raise ValueError("needs `image` [N] of text and `feature` [N, D] of floats")
    if len(images) != len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("needs one finite feature for every image")
    keys, features = images.tolist(), torch.from_numpy(numbers)
    rows = {key.lstrip("/"): row for row, key in enumerate(keys)}
    return FeatureTable(features.flatten(1), rows, None)


def read_pictures(path: Path) -> Fingerprint | None:
    """Which image files the features of a packed file were made from; None: it does not say."""
    if path.suffix == ".npz":
        return None
    with safe_open(path, framework="pt") as file:
        if "pictures" not in file.keys():  # noqa: SIM118 - no mapping
            return None
        facts = file.get_tensor("pictures").numpy()
        names = tuple(file.get_tensor("paths").numpy().tobytes().decode().split("\n"))
        return Fingerprint(names, facts, json.loads(file.metadata()["provenance"])["contents"])


def write_features(
    path: Path,
    keys: Sequence[str],
    features: Tensor,
    provenance: dict[str, Any],
    pictures: Fingerprint | None = None,
) -> None:
    """Pack `features` [N, D] of N image keys, equal rows once; the file appears whole or not.

    pictures: the files of these keys that they were made from.
    """
    if len(keys) != len(features) or len(set(keys)) != len(keys) or not keys:
        raise ValueError(f"{len(keys)} keys ({len(set(keys))} distinct), {len(features)} features")
    half = features.detach().cpu().half()  # [N, D]
    if not torch.isfinite(half).all() or any("\n" in key for key in keys):
        raise ValueError("features must be finite in fp16 and keys must be single lines")
    row_of: dict[bytes, int] = {}
    rows = [row_of.setdefault(row.tobytes(), len(row_of)) for row in half.numpy()]
    first = torch.from_numpy(np.unique(rows, return_index=True)[1])
    tensors = {
        "features": half[first].contiguous(),  # [M, D]
        "rows": torch.tensor(rows, dtype=torch.int32),
        "paths": torch.from_numpy(np.frombuffer(to_bytes("\n".join(keys)), np.uint8).copy()),
    }
    origin = {"created_by": CREATED_BY, "dtype": "float16", **provenance}
    if pictures is not None:
        tensors["pictures"] = torch.from_numpy(pictures.facts)  # int64 [N, 2]
        origin["contents"] = dict(pictures.contents)
    with whole_file(path) as temporary:  # not by save_file: others could not read its files
        temporary.write_bytes(save(tensors, metadata={"provenance": json.dumps(origin)}))
