"""What is exported: the network with its prediction step, its inputs, and their free axes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from common.data.batch import Batch
from common.errors import UserError
from common.networks.fast import FAST_FORMS, plain
from common.networks.layers import padded_size
from common.networks.swin import SwinEncoder
from common.networks.timm_encoder import TimmEncoder
from common.programs.exported import INPUTS
from llm_mde.model import LLMDepth
from scripts.prediction.trained import TrainedNetwork

STRIDE = 32
_MOST = 8192  # images of a batch, and strides of an image
# Tables of sizes, and tricks with them, are for sizes that are known; the folded head needs none.
_PLAIN = tuple(form for form in FAST_FORMS if form != "folded-head")


class Predictor(nn.Module):
    """A stage's prediction as a function of tensors."""

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.network, self.predict = trained.model, trained.stage.predict

    def forward(
        self,
        image: Tensor,
        text_feature: Tensor | None = None,
        image_feature: Tensor | None = None,
    ) -> Tensor:
        """image: [B, 3, H, W] -> depth [B, 1, H, W] in meters, float32."""
        nowhere = torch.zeros(0)
        batch = Batch(image, None, text_feature, image_feature, [], [], nowhere)
        return self.predict(self.network, batch).float()


@dataclass(frozen=True)
class Interface:
    """size: of the images (height, width), multiples of 32. dims: lengths of the features that are
    read, by input. fixed: why height and width are fixed; None: they are not.
    """

    size: tuple[int, int]
    dims: dict[str, int]
    fixed: str | None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(name for name in INPUTS if name == "image" or name in self.dims)

    def make_tensors(self, batch: int, size: tuple[int, int], seed: int) -> dict[str, Tensor]:
        """Random inputs: pictures as bright as photographs, features as long as CLIP's."""
        rng = torch.Generator().manual_seed(seed)
        tensors = {"image": torch.randn(batch, 3, *size, generator=rng)}
        for name, dim in self.dims.items():
            feature = torch.randn(batch, dim, generator=rng)
            tensors[name] = feature / feature.norm(dim=1, keepdim=True)
        return tensors

    def free_axes(self) -> dict[str, dict[int, Any]]:
        """As `torch.export` takes them."""
        batch = Dim("batch", min=1, max=_MOST)
        image = {0: batch}
        if self.fixed is None:
            rows, columns = (Dim(name, min=1, max=_MOST) for name in ("rows", "columns"))
            image |= {2: STRIDE * rows, 3: STRIDE * columns}
        return {"image": image, **{name: {0: batch} for name in self.dims}}

    def describe_axes(self) -> dict[str, str]:
        """Each input and its axes, for people."""
        height, width = self.size
        sides = f"{height}, {width}" if self.fixed else f"{STRIDE}*rows, {STRIDE}*columns"
        lines = {"image": f"float32 [batch, 3, {sides}]"}
        return lines | {name: f"float32 [batch, {dim}]" for name, dim in self.dims.items()}


def find_interface(trained: TrainedNetwork, fixed_size: bool) -> Interface:
    """Of a network; a `UserError` where it reads sentences and not their features."""
    network = trained.model
    if isinstance(network, LLMDepth):
        raise UserError(
            f"{trained.path}: {trained.stage.recipe} writes and reads a prompt for every picture, "
            "which no exported file can; export a model of stage 1, 2, 3 (staged), joint or "
            "joint-legacy"
        )
    needs = trained.stage.needs(network)
    dims = {"text_feature": needs.text_dim, "image_feature": needs.image_dim}
    own = trained.config.data
    size = padded_size(own.data_set.crop_size or own.size)
    reason = "asked for (--fixed-size)" if fixed_size else fixed_by(network)
    return Interface(size, {name: dim for name, dim in dims.items() if dim}, reason)


def fixed_by(network: nn.Module) -> str | None:
    """What of it works for one height and width alone; None: nothing."""
    for part in network.modules():
        if isinstance(part, SwinEncoder):
            return "Swin's windows, their masks and its position code are cut for one grid"
        if isinstance(part, TimmEncoder) and part.only_size is not None:
            return f"timm:{part.name} was made for one size"
    return None


def trace(trained: TrainedNetwork, interface: Interface) -> ExportedProgram:
    """The network as a graph; a `UserError` where PyTorch cannot make one."""
    tensors = interface.make_tensors(2, interface.size, seed=0)
    given = tuple(tensors.get(name) for name in INPUTS)
    axes = interface.free_axes()
    shapes = {name: axes.get(name) for name in INPUTS}
    try:
        with plain(*_PLAIN), torch.no_grad():
            return torch.export.export(
                Predictor(trained).eval(), given, dynamic_shapes=shapes, strict=False
            )
    except Exception as error:  # its errors have no common class but this one
        remedy = "" if interface.fixed else "; add --fixed-size"
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise UserError(
            f"{trained.path}: PyTorch cannot export it ({type(error).__name__}: {reason}){remedy}"
        ) from error
