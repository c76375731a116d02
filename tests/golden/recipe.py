"""How the reference numbers in this folder were made, so that any machine can make the same inputs.

Weights are a function of a parameter's name and shape, inputs a function of a seed; both come from
numpy's legacy RandomState, whose stream is frozen. Nothing here needs the published code.
"""

import zlib

import numpy as np
import torch


def tensor_for(name: str, shape) -> torch.Tensor:
    """The value of the float parameter `name`: same name and shape, same tensor."""
    rs = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    shape = tuple(shape)
    x = np.asarray(rs.standard_normal(shape), dtype=np.float32)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "bias":
        x = x * np.float32(0.02)
    elif len(shape) >= 2:
        if "relative_position_bias_table" in name or "absolute_pos_embed" in name:
            x = rs.standard_normal(shape).astype(np.float32) * np.float32(0.02)  # a second draw
        else:
            x = (x / np.sqrt(int(np.prod(shape[1:])))).astype(np.float32)
    elif leaf == "weight":  # norm layers
        x = (1 + 0.02 * x).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(x))


def published_state_dict(keys: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A checkpoint's weights as the published code names them. `keys`: a keys_*.json file.

    Integer buffers (relative_position_index) are left out: they are functions of the window size.
    """
    return {
        k: tensor_for(k, s)
        for k, s in keys.items()
        if "relative_position_index" not in k and "attn_mask" not in k
    }


def image(seed: int, shape) -> torch.Tensor:
    """An input tensor (already normalised), standard normal."""
    return torch.from_numpy(
        np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)
    )


def unit_feature(seed: int, batch: int = 1) -> torch.Tensor:
    """[batch, 1024] CLIP-like feature of length one."""
    x = image(seed, (batch, 1024))
    return x / x.norm(dim=-1, keepdim=True)


def metric_case(
    seed: int, height: int, width: int, low: float, high: float, hole: float, noise: float
):
    """(gt, pred) in metres, float32; gt is 0 where there is no measurement."""
    rs = np.random.RandomState(seed)
    gt = rs.uniform(low, high, (height, width)).astype(np.float32)
    missing = rs.rand(height, width) < hole
    pred = (gt * np.exp(rs.normal(0, noise, (height, width)))).astype(np.float32)
    gt[missing] = 0
    return gt, pred
