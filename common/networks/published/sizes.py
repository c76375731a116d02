"""The sizes of a published network, read off the shapes of its weights (published names).

Every size stands in several places. The majority decides, so that one damaged weight is found and
named when the network is checked, instead of everything else not fitting to it. How many layers an
MLP has, and that Swin's blocks come in pairs, is fixed: else a file without its last layers would
pass for a smaller network.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

from torch import Tensor

from common.errors import UserError

NamedWeights = Mapping[str, Tensor]
Place = tuple[str, int]  # a weight's name and an axis


def vae_sizes(state: NamedWeights) -> dict[str, Any]:
    """Fields of a `TextVAEConfig`, from a stage 1 file."""
    return {**scene_sizes(state), "metric_hidden": _metric_hidden(state, "mlayer.ln")}


def scene_sizes(state: NamedWeights) -> dict[str, Any]:
    """The same without the depth head, from the stage 1 file of a stage 3."""
    text_dim, *hidden, latent = mlp_sizes(state, 3, "mean", "deviation")
    return {
        "text_dim": text_dim,
        "hidden_dims": tuple(hidden),
        "latent_dim": latent,
        "code_channels": _code_channels(state),
    }


def sampler_sizes(state: NamedWeights) -> dict[str, Any]:
    """Fields of a `SamplerConfig`, from a stage 2 file."""
    image_dim, *hidden, _ = mlp_sizes(state, 3, "eps_net")
    return {"image_dim": image_dim, "hidden_dims": tuple(hidden)}


def decoder_sizes(state: NamedWeights) -> dict[str, Any]:
    """Fields that `EstimatorConfig` and `JointConfig` share, from a stage 3 or joint file."""
    channels = tuple(
        _size(
            state,
            *(
                (f"up_{k}.conv.{layer}.{leaf}", 0)
                for layer in ("bt", "conv2.0")
                for leaf in ("weight", "bias")
            ),
        )
        for k in (4, 3, 2)
    )
    return {
        "decoder_channels": channels,
        "metric_hidden": _metric_hidden(state, "mlayer.1.ln"),
    }


def joint_sizes(state: NamedWeights) -> dict[str, Any]:
    """Fields of a `JointConfig` except the encoder, from a joint file."""
    text_dim, *hidden, _ = mlp_sizes(state, 3, "text_encoder.mean", "text_encoder.deviation")
    return {
        **decoder_sizes(state),
        "text_dim": text_dim,
        "hidden_dims": tuple(hidden),
        "code_channels": _code_channels(state),
    }


def encoder_sizes(state: NamedWeights) -> dict[str, Any]:
    """Fields of a `SwinConfig`, from the `backbone.` weights."""
    depths = tuple(_num_blocks(state, stage) for stage in range(4))
    tables = [[_table(i, j) for j in range(depth)] for i, depth in enumerate(depths)]
    area = _size(state, *((name, 0) for stage in tables for name in stage))
    return {
        "embed_dim": _size(
            state,
            ("backbone.patch_embed.proj.weight", 0),
            ("backbone.patch_embed.proj.bias", 0),
            ("backbone.patch_embed.norm.weight", 0),
        ),
        "depths": depths,
        "num_heads": tuple(_size(state, *((name, 1) for name in stage)) for stage in tables),
        "window_size": (int(area**0.5) + 1) // 2,  # area = (2 window - 1)^2
        "absolute_position": "backbone.absolute_pos_embed" in state,
    }


def image_size(state: NamedWeights) -> tuple[int, int]:
    """Height and width the position embedding was trained for."""
    position = state.get("backbone.absolute_pos_embed")
    if position is None:
        raise UserError("the weight backbone.absolute_pos_embed is missing")
    if position.ndim != 4 or any(side % 8 or not side for side in position.shape[2:]):
        raise UserError(
            f"backbone.absolute_pos_embed is {list(position.shape)}, not [1, C, H/4, W/4] of an "
            "image whose sides are multiples of 32"
        )
    return position.shape[2] * 4, position.shape[3] * 4


def mlp_sizes(state: NamedWeights, num_layers: int, *prefixes: str) -> list[int]:
    """Sizes of MLPs that are alike: input, hidden layers, output; UserError if not `num_layers`."""
    pattern = re.compile(rf"({'|'.join(map(re.escape, prefixes))})\.(\d+)\.(weight|bias)")
    found = {int(m[2]) for m in map(pattern.fullmatch, state) if m}
    layers = list(takewhile(found.__contains__, count(0, 2)))  # an activation between two layers
    first = _size(state, *((f"{p}.0.weight", 1) for p in prefixes))
    if len(layers) != num_layers:
        raise UserError(
            f"{' and '.join(prefixes)}: {len(layers)} layers in a row, the published network has "
            f"{num_layers}, of which the last is {prefixes[0]}.{2 * num_layers - 2}.weight"
        )
    return [first, *(_output_size(state, prefixes, i) for i in layers)]


def _metric_hidden(state: NamedWeights, prefix: str) -> int:
    return mlp_sizes(state, 2, prefix)[1]


def _output_size(state: NamedWeights, prefixes: tuple[str, ...], layer: int) -> int:
    return _size(
        state,
        *((f"{p}.{layer}.{leaf}", 0) for p in prefixes for leaf in ("weight", "bias")),
        *((f"{p}.{layer + 2}.weight", 1) for p in prefixes),
    )


def _code_channels(state: NamedWeights) -> int:
    outputs = ((f"ref_{k}.dw.2.{leaf}", 0) for k in (4, 3, 2) for leaf in ("weight", "bias"))
    return _size(state, ("outc.conv.weight", 1), *outputs)


def _num_blocks(state: NamedWeights, stage: int) -> int:
    prefix = f"backbone.layers.{stage}.blocks."
    blocks = [name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)]
    number = 1 + max((int(b) for b in blocks if b.isdecimal()), default=-1)
    if number % 2 or not number:
        raise UserError(
            f"{number} Swin blocks in stage {stage}, not pairs: {prefix}{number}. is missing"
        )
    return number


def _table(stage: int, block: int) -> str:
    return f"backbone.layers.{stage}.blocks.{block}.attn.relative_position_bias_table"


def _size(state: NamedWeights, *places: Place) -> int:
    """The size that most of the places agree on."""
    found = [
        (name, state[name].shape[axis])
        for name, axis in places
        if name in state and state[name].ndim > axis
    ]
    votes = Counter(size for _, size in found).most_common(2)
    if not votes:
        raise UserError(f"the weight {places[0][0]} is missing")
    if len(votes) == 2 and votes[0][1] == votes[1][1]:
        sizes = ", ".join(f"{name} {size}" for name, size in found)
        raise UserError(f"weights that belong together have different sizes: {sizes}")
    return votes[0][0]
