"""Checkpoints as the published code saves them, and a way to run the program that converts them.

The files have the published names, types and layout, and every size cut to an eighth.
"""

import re
from pathlib import Path

import numpy as np
import torch
from conftest import IMAGE_DIM, TEXT_DIM, Outcome, run_script

from tests.golden.networks import published_shapes

STAGED = ("staged_stage3", "staged_stage1", "staged_stage2")
FIRST_LAYERS = {"mean.0": TEXT_DIM, "deviation.0": TEXT_DIM, "eps_net.0": IMAGE_DIM}
GRID = {"joint_kitti": (8, 24)}  # of the position embedding; the others: (8, 16)


def convert(*words: object) -> Outcome:
    """Run the program in this process."""
    return run_script("convert_checkpoint.py", *words)


def tiny_shape(key: str, shape: tuple[int, ...], grid: tuple[int, int]) -> list[int]:
    if "relative_position" in key:
        return list(shape)
    small = [size // 8 if size >= 64 else size for size in shape]
    if key.endswith("absolute_pos_embed"):
        small[2:] = grid
    first = re.search(r"(?:^|\.)(mean\.0|deviation\.0|eps_net\.0)\.weight$", key)
    if first:
        small[1] = FIRST_LAYERS[first[1]]
    return small


def tiny_weights(name: str) -> dict[str, torch.Tensor]:
    """Random weights under the published names; two blocks in each Swin stage."""
    generator = torch.Generator().manual_seed(len(name))
    weights = {}
    for key, like in published_shapes(name).items():
        if re.search(r"blocks\.([2-9]|1\d)\.", key):
            continue
        shape = tiny_shape(key, tuple(like.shape), GRID.get(name, (8, 16)))
        if key.endswith("relative_position_index"):
            weights[key] = torch.randint(0, 529, shape, generator=generator)
        else:
            weights[key] = 0.1 * torch.randn(shape, generator=generator)
    return weights


def save(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """As the published training code saves."""
    torch.save(
        {
            "model": {f"module.{key}": weight for key, weight in weights.items()},
            "global_step": np.int64(1234),
            "best_eval_measures_higher_better": torch.zeros(3),
            "best_eval_measures_lower_better": np.arange(6.0),
            "best_eval_steps": [np.float64(0.0875), np.float32(0.25), 7],
        },
        path,
    )
    return path


def write_published(folder: Path, *names: str) -> list[Path]:
    """The named published files with random weights."""
    return [save(folder / f"{name}.pth", tiny_weights(name)) for name in names]
