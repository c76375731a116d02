"""Train stage 1: a caption becomes a distribution of scenes.

Learns text -> mean and std of a latent scene, and latent -> depth, from captions and depth alone:
the picture only weights the smoothness term.

    sh stage1_vae/train.sh configs/demo/stage1.yaml            a minute on 2 CPU cores
    sh stage1_vae/train.sh configs/nyu/stage1.yaml             NYU Depth V2, one GPU
    NPROC=4 sh stage1_vae/train.sh configs/kitti/stage1.yaml train.precision=bf16

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import run_program
from common.losses.vae import VAELossConfig, vae_terms, vae_totals
from common.networks.layers import std_of
from common.programs.stage import Start
from common.programs.train import train
from common.runtime.processes import unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.config import Stage1Config
from stage1_vae.model import TextVAE


def build(config: Stage1Config, earlier: None) -> TextVAE:
    """The text-VAE with random weights."""
    return TextVAE(config.model)


def start(model: TextVAE, config: Stage1Config, start: Start) -> None:
    """Untrained encoders' features differ little; the training set's statistics spread them."""
    if config.model.standardize_text:
        model.scenes.standardize.fit(*start.data.train_text_features())


def step_fn(
    model: nn.Module,
    batch: Batch,
    rng: StepRandom,
    totals: Mapping[str, Tensor],
    loss: VAELossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """Draw z = mean + std * eps of the caption, eps ~ N(0, I), decode it, compare with depth.

    L = mean |pred - gt|  +  w * smoothness where nothing is measured  +  max(0, floor - mean std)

    From the released code; the floor plays the part of a KL term.
    """
    eps = rng.normal(unwrap(model).config.latent_dim, device=batch.image.device)
    output = model(batch.text_feature, eps, batch.size)
    terms = vae_terms(
        output.depth, output.std, batch.gt_depth, batch.image, loss.std_floor, max_depth, totals
    )
    total = terms.l1 + loss.smoothness_weight * terms.smoothness + terms.std_floor
    return {"total": total, **vars(terms)}


def totals_fn(
    model: nn.Module, batch: Batch, rng: StepRandom, loss: VAELossConfig, max_depth: float
) -> dict[str, Tensor]:
    """The normalizers of the loss over the whole effective batch."""
    _, logvar = unwrap(model).scenes.encode(batch.text_feature)
    return vae_totals(std_of(logvar), batch.gt_depth, max_depth)


def main() -> None:
    """Hand the stage to the training program."""
    from stage1_vae.stage import STAGE  # which is made of this file

    train(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
