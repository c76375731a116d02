"""The tensors of a TorchScript archive, read without running the program in it.

OpenAI publishes CLIP as such archives (`RN50.pt`): a zip of a module tree (`data.pkl`), its tensors
(`data/0`, `data/1`, ...) and code. `torch.jit.load` compiles the code and may run parts of it;
`torch.load` refuses such a file. Here only the tree is read, by an unpickler that knows tensors and
plain values: a module becomes an empty object with the module's attributes.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

_TREE, _CODE = "data.pkl", "code/"
_DTYPES = {  # of the storages that tensors share
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive; a file of `torch.save` is not."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(_below_top(name).startswith(_CODE) for name in archive.namelist())


def read_archive(path: Path) -> dict[str, Tensor]:
    """Name -> parameter or buffer, as in the module's state dict, on the CPU.

    ValueError for an archive that is damaged or holds anything but tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            top = next(n for n in archive.namelist() if _below_top(n) == _TREE).rpartition("/")[0]
            with archive.open(f"{top}/{_TREE}") as tree:
                module = _TensorUnpickler(tree, archive, top).load()
            return dict(_tensors(module))
    except Exception as error:  # reading damaged bytes fails in many ways
        reason = str(error) or type(error).__name__
        raise ValueError(f"no whole TorchScript archive of tensors: {reason}") from error


def _below_top(name: str) -> str:
    """`RN50/code/x.py` -> `code/x.py`."""
    return "/".join(PurePosixPath(name).parts[1:])


class _Module:
    """Stands for any module of the archive; its attributes become this object's."""


class _TensorUnpickler(pickle.Unpickler):
    """Makes tensors, modules without code, and plain values; refuses every other class."""

    def __init__(self, tree: Any, archive: zipfile.ZipFile, top: str) -> None:
        super().__init__(tree)
        self._archive, self._top = archive, top
        self._storages: dict[str, torch.UntypedStorage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type(name, (_Module,), {})
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        }
        if module == "torch.jit._pickle":  # lists of numbers, and values with their type's name
            return _first_value
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no tensor")

    def persistent_load(self, identity: tuple) -> Tensor:
        """Identity: "storage", its type, its number, the device it was on, its length."""
        _, dtype, number, _, _ = identity
        if number not in self._storages:
            data = bytearray(self._archive.read(f"{self._top}/data/{number}"))
            storage = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0)
            self._storages[number] = storage.untyped_storage()
        return torch.empty(0, dtype=dtype).set_(self._storages[number])


def _rebuild_tensor(values: Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> Tensor:
    return values.as_strided(size, stride, offset)


def _first_value(value: Any, *_: Any) -> Any:
    return value


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")
