"""Checkpoints: plain tensors and plain types, written whole or not at all, read by one loader.

Keys: format_version, stage, recipe, model (earlier stages' weights included), model_config, config,
data (what `common/data/kept_data.py` keeps), step, sampler_position, best_metric. In last.pt also
what resuming needs: optimizer, scaler, random_states, watch (see `common/engine/watching.py`),
window (`common/engine/log_window.py`), cpu (`common/runtime/threads.py`), evaluation_failed (only
where it did, or a signal ended it), as_trained (weights as training left them, where a stage has
changed them at its end). With train.ema_decay `model` holds the averaged weights,
`average` says of how many updates, and last.pt has the others in raw_weights.

The file proves its contents: `torch.save` writes a CRC-32 of every part, which `torch.load` does
not look at and `read_checkpoint` does, also in files that were written before it did.
"""

import errno
import os
import random
import zipfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import retried, whole_file
from common.runtime.exported_files import is_exported, read_exported_facts
from common.runtime.saved_models import WEIGHTS, is_saved_model, read_saved_model

FORMAT_VERSION = 1
LAST, PREVIOUS, BEST = "last.pt", "last.previous.pt", "best.pt"


class DamagedError(UserError):
    """The bytes of a file are not those of a whole checkpoint."""


def save_checkpoint(
    path: Path, content: dict[str, Any], before_it_appears: Callable[[], None] = lambda: None
) -> None:
    """Write a checkpoint; a reader never sees half of it.

    before_it_appears: called when the file is whole and on disk, but not yet under its name.
    """
    with whole_file(path, RuntimeError) as temporary:  # torch.save's own writer knows no OSError
        torch.save({"format_version": FORMAT_VERSION, **content}, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # a name must not outlive its bytes where the power fails
        before_it_appears()


def finished(content: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """A checkpoint with the weights of `model`, which training does not go on with."""
    weights = model.state_dict()
    before = {k: w for k, w in content["model"].items() if not torch.equal(w, weights[k].to(w))}
    return {**content, "model": weights, "as_trained": before}


def as_trained(content: dict[str, Any]) -> dict[str, Tensor]:
    """The weights that training goes on with."""
    return content["model"] | content.get("as_trained", {})


def num_bytes(content: Any) -> int:
    """Of the tensors in plain types, as a checkpoint of them holds them: shared memory once."""
    storages = (tensor.untyped_storage() for tensor in tensors_in(content))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def tensors_in(content: Any) -> Iterable[Tensor]:
    """All tensors in dictionaries, lists and tuples."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, dict):
        for value in content.values():
            yield from tensors_in(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from tensors_in(value)


def load_checkpoint(
    path: Path,
    *,
    stage: str,
    recipes: tuple[str, ...],
    takes_exported: bool = False,
) -> dict[str, Any]:
    """Read a checkpoint of `stage` and one of `recipes`; see `read_checkpoint`.

    takes_exported: the weights are not needed, so an exported file will do.
    """
    content = read_checkpoint(path)
    if is_exported(path) and not takes_exported:
        raise UserError(
            f"{path} is an exported network, which only predicts; name the run it was made from"
        )
    if content.get("stage") != stage or content.get("recipe") not in recipes:
        raise UserError(
            f"{path} is a checkpoint of {content.get('stage')} ({content.get('recipe')} "
            f"recipe); a {stage} ({' or '.join(recipes)}) checkpoint is needed here"
        )
    return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of any stage, or a saved model's weights file; no pickled code runs.

    Raises a `DamagedError` where a byte of the contents has changed. The weights are mapped from
    the file. Of an exported file there is all but the weights.
    """
    if is_exported(path):
        return _checked(read_exported_facts(path), path)
    if path.name == WEIGHTS:
        return _checked(read_saved_model(path.parent), path)
    try:
        retried(lambda: _check_contents(path))
        content = retried(
            lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        )
    except FileNotFoundError:
        raise UserError(f"no checkpoint {path}") from None
    except Exception as error:  # reading damaged bytes fails in many ways
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO, errno.EINVAL):
            raise UserError(f"cannot read checkpoint {path}: {error.strerror}") from error
        raise DamagedError(
            f"cannot read checkpoint {path}: it is damaged or not a checkpoint "
            f"({type(error).__name__}); {_describe_other(path)}copy it again, or start over under "
            "another experiment=NAME"
        ) from error
    return _checked(content, path)


def _check_contents(path: Path) -> None:
    """Raise `zipfile.BadZipFile` unless every part of the file has its checksum."""
    state = path.stat()
    part = _find_damage(path, state.st_ino, state.st_size, state.st_mtime_ns)
    if part is not None:
        raise zipfile.BadZipFile(f"{part} is damaged")


@lru_cache(maxsize=64)
def _find_damage(path: Path, inode: int, size: int, changed: int) -> str | None:
    """The first damaged part of an archive; a program that reads a file again knows it."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or size < sum(
            part.file_size for part in parts
        ):
            raise zipfile.BadZipFile("not written by torch.save")  # could be endless to unpack
        return archive.testzip()


def _describe_other(path: Path) -> str:
    """The file to take instead of a damaged one."""
    previous = path.with_name(PREVIOUS)
    return f"take {previous}, " if path.name == LAST and previous.is_file() else ""


def _checked(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or "format_version" not in content:
        raise UserError(f"{path} is not a checkpoint of this project")
    if content["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path} has format {content['format_version']}, this program reads "
            f"{FORMAT_VERSION}; use the version that wrote it"
        )
    return content


def find_checkpoint(stage: str, folder: str, option: str, *places: Path) -> Path:
    """A checkpoint file: the first of `places` that is one, or a run folder with one (best, last).

    stage, folder, option: whose checkpoint it is, what trains it, and what names another one, for
    the error message.
    """
    path = next((path for path in map(checkpoint_in, places) if path is not None), None)
    if path is None:
        raise UserError(
            f"no {stage} checkpoint in {' or '.join(map(str, places))}; make one with "
            f"sh {folder}/train.sh, or name another with {option}"
        )
    return path


def checkpoint_in(place: Path) -> Path | None:
    """The file itself, or what a run folder holds: its best checkpoint, else the last one (or,
    where a save was cut short on a disk without hard links, the one before it).

    Of a saved model's folder its file of weights.
    """
    if not os.path.lexists(place):  # also of a name that is too long for one
        return None
    if place.is_file():
        return place
    if is_saved_model(place):
        return place / WEIGHTS
    folders = (place / "checkpoints", place)
    paths = [folder / name for name in (BEST, LAST, PREVIOUS) for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def random_states() -> dict[str, Any]:
    """Every global generator's state as plain types and tensors."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (timm and others may use it)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "python": list(random.getstate()),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo `random_states`; GPU states only where the number of GPUs is the same."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
