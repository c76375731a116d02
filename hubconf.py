"""LangDepth in one line, from any program.

    import torch
    model = torch.hub.load("/path/to/langdepth", "langdepth", "runs/nyu/stage3", source="local")
    model.predict("kitchen.jpg", "A small kitchen with a stove.").depth     # float32 [H, W], meters

Inside the repository: `from hubconf import langdepth`. docs/predict.md tells more.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from scripts.prediction.model import DepthModel

dependencies = ["torch", "timm", "transformers", "huggingface_hub", "safetensors", "cv2", "yaml"]
_ROOT = Path(__file__).resolve().parent
_PACKAGES = ("common", "scripts")  # whose names another project may have as well


def langdepth(
    checkpoint: str, device: "str | torch.device | None" = None, **overrides: Any
) -> "DepthModel":
    """A trained model, ready for `predict`.

    checkpoint: a run folder, a checkpoint file, a folder of `save_pretrained`, hf://USER/NAME, or a
    file of `scripts/export.py` (ONNX).
    device: None: a GPU if there is one. overrides: of the run's config, `**{"eval.flip": True}`.
    """
    if str(_ROOT) not in sys.path:  # for good: encoders are imported when they are needed
        sys.path.append(str(_ROOT))
    _check_packages()
    from scripts.prediction.load import load

    return load(checkpoint, device, [f"{key}={_plain(value)}" for key, value in overrides.items()])


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_packages() -> None:
    for name in _PACKAGES:
        file = getattr(__import__(name), "__file__", None)
        if file is not None and _ROOT not in Path(file).resolve().parents:
            raise ImportError(
                f"a package `{name}` of another project is in the way ({file}); load LangDepth in "
                f"a process that has not imported it, with {_ROOT} first in sys.path"
            )
