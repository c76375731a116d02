"""Train stage 2: the image picks one scene of the caption's distribution.

Learns image evidence -> eps, which replaces stage 1's random draw; stage 1 is frozen. The evidence
is a CLIP image feature (published) or pooled features of an image encoder trained along.

    sh stage2_sampler/train.sh configs/demo/stage2.yaml            a minute on 2 CPU cores
    sh stage2_sampler/train.sh configs/nyu/stage2.yaml init.stage1=runs/nyu/stage1

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
from common.networks.encoder_weights import start_from
from common.networks.layers import std_of
from common.programs.stage import Start
from common.programs.train import train
from common.runtime.processes import unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.model import TextVAE
from stage2_sampler.config import Stage2Config
from stage2_sampler.model import SampledVAE


def build(config: Stage2Config, stage1: TextVAE) -> SampledVAE:
    """The sampler with random weights, around a text-VAE of stage 1's sizes."""
    return SampledVAE(config.model, stage1.config, config.data.size)


def start(model: SampledVAE, config: Stage2Config, start: Start) -> None:
    """Stage 1's weights, statistics of the image features, a pretrained encoder."""
    assert start.earlier is not None
    model.vae.load_state_dict(start.earlier.state_dict())
    if config.model.standardize_image:
        model.sampler.standardize.fit(*start.data.train_image_features())
    if model.encoder is not None and start.is_fresh:
        start_from(model.encoder, config.model.encoder.weights, start.log)


def step_fn(
    model: nn.Module,
    batch: Batch,
    rng: StepRandom,
    totals: Mapping[str, Tensor],
    loss: VAELossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """Let the image choose eps, decode z = mean + std * eps, compare with the measured depth.

    L = mean |pred - gt|  +  w * smoothness where nothing is measured  +  max(0, floor - mean std)

    Stage 1's loss; the last term is a constant here, as the text-VAE is frozen.
    """
    output = model(batch.image, batch.text_feature, batch.image_feature)
    terms = vae_terms(
        output.depth, output.std, batch.gt_depth, batch.image, loss.std_floor, max_depth, totals
    )
    total = terms.l1 + loss.smoothness_weight * terms.smoothness + terms.std_floor
    return {"total": total, **vars(terms)}


def totals_fn(
    model: nn.Module, batch: Batch, rng: StepRandom, loss: VAELossConfig, max_depth: float
) -> dict[str, Tensor]:
    """The normalizers of the loss over the whole effective batch."""
    _, logvar = unwrap(model).vae.scenes.encode(batch.text_feature)
    return vae_totals(std_of(logvar), batch.gt_depth, max_depth)


def main() -> None:
    """Hand the stage to the training program."""
    from stage2_sampler.stage import STAGE  # which is made of this file

    train(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
