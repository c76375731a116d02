"""What `scripts/export.py` writes: an ONNX file that says what is in it, run by onnxruntime.

Its metadata has the facts of the checkpoint that it was made from (`saved_models.FACTS`) as JSON
under `langdepth`, and lines for people beside them. There are no weights to train on in it.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import retried
from common.text_files import utf8_name

ONNX, TORCH_EXPORT = ".onnx", ".pt2"
FACTS_KEY = "langdepth"
_WANTED = ("CUDAExecutionProvider", "CPUExecutionProvider")  # in this order, where they are there


def is_exported(path: Path) -> bool:
    """By its name."""
    return path.suffix in (ONNX, TORCH_EXPORT)


def read_exported_facts(path: Path) -> dict[str, Any]:
    """What a checkpoint says beside its weights; a `UserError` where the file does not."""
    metadata = open_session(path).get_modelmeta().custom_metadata_map
    try:
        return json.loads(metadata[FACTS_KEY])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} does not say what it is; take a file that scripts/export.py wrote"
        ) from error


def open_session(path: Path) -> Any:
    """The `onnxruntime.InferenceSession` of an exported file."""
    if path.suffix == TORCH_EXPORT:
        raise UserError(
            f"{path} is of torch.export: reading one may run code that is in it, so it is for "
            f"programs of your own; name the run, or export it as {path.with_suffix(ONNX).name}"
        )
    try:
        stamp = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return _session(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(1)  # the same file is asked for its facts first, and for depth then
def _session(path: Path, time: int, size: int) -> Any:
    runtime = import_onnxruntime()
    with utf8_name(path) as name:
        try:
            available = runtime.get_available_providers()
            providers = [provider for provider in _WANTED if provider in available]
            return retried(lambda: runtime.InferenceSession(str(name), providers=providers))
        except Exception as error:  # its exceptions have no common class but this one
            raise UserError(
                f"cannot read {path}: it is damaged, or no network that this onnxruntime can run "
                f"({type(error).__name__}); export it again"
            ) from error


def import_onnxruntime() -> Any:
    """The package, which few users need; a `UserError` where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "ONNX files need a package that is not installed; pip install onnxruntime"
        ) from error
    return onnxruntime
