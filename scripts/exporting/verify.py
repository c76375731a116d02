"""An exported file against the network that it was made from, on random pictures of two sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.errors import UserError
from common.programs.exported import INPUTS, ExportedNetwork, run_padded
from common.runtime.exported_files import ONNX
from scripts.exporting.network import STRIDE, Interface, Predictor
from scripts.prediction.trained import TrainedNetwork

TOLERANCE = 1e-3  # of depth
RunExported = Callable[..., Tensor]  # image, text_feature, image_feature -> depth


@dataclass(frozen=True)
class Compared:
    """shape: (batch, height, width). error: the largest |exported / PyTorch - 1| of a pixel."""

    shape: tuple[int, int, int]
    error: float

    def describe(self) -> str:
        """For people."""
        batch, height, width = self.shape
        return f"{batch} x {height}x{width}: within {self.error:.1e} of PyTorch's depth"


def shapes_to_try(interface: Interface) -> tuple[tuple[int, int, int], ...]:
    """Batch, height, width: as trained, and others, where they are free of no multiple of 32."""
    height, width = interface.size
    if interface.fixed:
        return (1, height, width), (3, height, width)
    return (1, height, width), (3, height + STRIDE - 5, width + 2 * STRIDE - 9)


@torch.no_grad()
def verify(trained: TrainedNetwork, interface: Interface, path: Path) -> list[Compared]:
    """Compare; a `UserError` where they differ."""
    run, reference = open_exported(path), Predictor(trained).eval()
    found = []
    for seed, (batch, *size) in enumerate(shapes_to_try(interface), start=1):
        shape = (batch, size[0], size[1])
        tensors = interface.make_tensors(batch, shape[1:], seed)
        given = [tensors.get(name) for name in INPUTS]
        wanted = reference(*given)
        error = float((run(*given) / wanted - 1).abs().max())
        found.append(Compared(shape, error))
        if not error <= TOLERANCE:  # nan, too
            raise UserError(
                f"not exported: for {batch} pictures of {size[0]}x{size[1]} depth differs from "
                f"PyTorch's by up to {100 * error:.3g} % (allowed: {100 * TOLERANCE:g} %); try "
                "--fixed-size, or another version of torch and onnxruntime"
            )
    return found


def open_exported(path: Path) -> RunExported:
    """What the file computes; it must be one of ours."""
    if path.suffix == ONNX:
        return ExportedNetwork(path)
    module = torch.export.load(path).module()

    def run(*given: Tensor | None) -> Tensor:
        tensors = dict(zip(INPUTS, given, strict=True))
        return run_padded(lambda own: module(*(own.get(name) for name in INPUTS)), tensors)

    return run
