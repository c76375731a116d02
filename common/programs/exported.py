"""An exported network in the place of the one it was made from: the same batches, the same depth.

What it cannot do is draw scenes, say what the words alone mean, or be trained.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import UserError
from common.language.language import Needs
from common.networks.layers import pad_to_stride
from common.programs.stage import Stage
from common.runtime.exported_files import open_session

INPUTS = ("image", "text_feature", "image_feature")
OUTPUT = "depth"


class ExportedNetwork(nn.Module):
    """Of an ONNX file. needs: what its batches must hold; None in `size`: any multiple of 32."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.session = path, open_session(path)
        shapes = {one.name: one.shape for one in self.session.get_inputs()}
        if "image" not in shapes or not set(shapes) <= set(INPUTS):
            raise UserError(f"{path} reads {', '.join(shapes)}; export it with scripts/export.py")
        dims = {name: int(shape[1]) for name, shape in shapes.items()}
        self.names = tuple(shapes)
        self.needs = Needs(dims.get("text_feature"), dims.get("image_feature"))
        self.size = tuple(n if isinstance(n, int) else None for n in shapes["image"][2:])

    def forward(
        self, image: Tensor, text_feature: Tensor | None, image_feature: Tensor | None
    ) -> Tensor:
        """image: [B, 3, H, W], ImageNet-normalized -> depth [B, 1, H, W] in meters, float32."""
        given = dict(zip(INPUTS, (image, text_feature, image_feature), strict=True))
        return run_padded(self._run, {name: given[name] for name in self.names})

    def _run(self, tensors: dict[str, Tensor]) -> Tensor:
        self._check_size(tensors["image"])
        arrays = {name: tensor.float().cpu().numpy() for name, tensor in tensors.items()}
        return torch.from_numpy(self.session.run([OUTPUT], arrays)[0])

    def _check_size(self, image: Tensor) -> None:
        size = image.shape[-2:]
        if any(own not in (None, given) for own, given in zip(self.size, size, strict=True)):
            own = "x".join(map(str, self.size))
            raise UserError(
                f"{self.path}: height and width are fixed, it reads images of {own}, not of "
                f"{size[0]}x{size[1]}; leave data.height and data.width as they are, or open the "
                "run it was exported from"
            )


def run_padded(
    run: Callable[[dict[str, Tensor]], Tensor], tensors: dict[str, Tensor | None]
) -> Tensor:
    """Depth of images of any size by a network that reads multiples of 32; as networks do it."""
    image = tensors["image"]
    assert image is not None
    height, width = image.shape[-2:]
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    depth = run({**given, "image": pad_to_stride(image)})
    return depth.to(image.device)[..., :height, :width]


def exported_stage(stage: Stage, path: Path) -> Stage:
    """The stage whose network is that of the file."""
    return replace(
        stage,
        load=lambda content: ExportedNetwork(path),
        needs=lambda network: network.needs,
        predict=predict_exported,
        check_words=lambda network, language, size: None,
        words_alone=None,
        sample=None,
    )


def predict_exported(network: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return network(batch.image, batch.text_feature, batch.image_feature)
