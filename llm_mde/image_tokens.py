"""Image tokens: what turns an image into the [B, T, C] that the language model is to read.

image [B, 3, H, W] -> resized, so that a token covers the same area in every image -> a network ->
one token per cell of its grid, row by row. Two modules do it, and `LLMDepth` takes either:

    VisionEncoder   a vision transformer's patches (LLM-MDE; `vision_encoder.py`)
    EncoderTokens   an encoder's map at stride 16, `model.encoder` (ours)
"""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from common.networks.encoder import EncoderConfig, build_encoder

HeightWidth = tuple[int, int]
MAP, STRIDE = 2, 16  # x4, of an encoder's x2, x3, x4, x5
CELL = 2 * STRIDE  # an encoder reads multiples of 32 pixels, so whole pairs of tokens


class ImageTokens(Protocol):
    """dim: width of a token. max_tokens: the most an image may have; None: any number."""

    dim: int
    max_tokens: int | None

    @property
    def named_parts(self) -> dict[str, nn.Module]:
        """Parts whose frozen weights a checkpoint names, by the section that names them."""
        ...

    def grid_size(self, size: HeightWidth) -> HeightWidth:
        """Rows and columns of tokens for an image of `size` (height, width)."""
        ...

    def forward(self, image: Tensor) -> Tensor:
        """image: [B, 3, H, W], ImageNet-normalized -> [B, T, C], row by row of the grid."""
        ...


class EncoderTokens(nn.Module):
    """The encoder's x4 as tokens; see the module's docstring. Any network that decoders take.

    image_size: what the encoder sees of an image of `data_size`, rounded to multiples of 32. A
    checkpoint holds the encoder's weights, frozen or not.
    """

    def __init__(self, config: EncoderConfig, image_size: HeightWidth, data_size: HeightWidth):
        super().__init__()
        self.image_size, self.data_size = image_size, data_size
        self.max_tokens: int | None = None
        rows, columns = self.grid_size(data_size)
        size = (rows * STRIDE, columns * STRIDE)
        self.encoder = build_encoder(config, size)
        self.dim = self.encoder.channels[MAP]
        self.encoder.train_one_output(MAP, size)

    @property
    def named_parts(self) -> dict[str, nn.Module]:
        return {}

    def grid_size(self, size: HeightWidth) -> HeightWidth:
        """Rows and columns of tokens for an image of `size`: see `fit_grid`, in whole pairs."""
        most = None if self.max_tokens is None else self.max_tokens // 4
        rows, columns = fit_grid(size, self.data_size, self.image_size, (CELL, CELL), most)
        return 2 * rows, 2 * columns

    def forward(self, image: Tensor) -> Tensor:
        """image: [B, 3, H, W], ImageNet-normalized -> [B, T, C], row by row of the token grid."""
        rows, columns = self.grid_size(size_of(image))
        x4 = self.encoder(resize(image, (rows * STRIDE, columns * STRIDE)))[MAP]
        return x4.flatten(2).transpose(1, 2)  # [B, T, C]


def fit_grid(
    size: HeightWidth,
    data_size: HeightWidth,
    image_size: HeightWidth,
    cell: HeightWidth,
    most: int | None,
) -> HeightWidth:
    """Rows and columns of cells for an image of `size`; at least one of each.

    As many per pixel as an image of `data_size` has when it is resized to `image_size`, but no more
    than `most` in all: a larger image gets a coarser grid of the same shape.
    """
    rows, columns = (
        wanted * own / data / side
        for wanted, own, data, side in zip(image_size, size, data_size, cell, strict=True)
    )
    grid = max(1, round(rows)), max(1, round(columns))
    if most is None or grid[0] * grid[1] <= most:
        return grid
    smaller = (most / (rows * columns)) ** 0.5
    fitted_rows = min(max(1, int(rows * smaller)), most)
    return fitted_rows, min(max(1, int(columns * smaller)), most // fitted_rows)


def size_of(image: Tensor) -> HeightWidth:
    """Height and width."""
    return image.shape[-2], image.shape[-1]


def resize(image: Tensor, size: HeightWidth) -> Tensor:
    """[B, 3, H, W] -> [B, 3, *size]; an image of that size as it is."""
    if size == size_of(image):
        return image
    return F.interpolate(image, size=size, mode="bilinear", antialias=True)
