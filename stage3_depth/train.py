"""Train stage 3: metric depth from the image, guided by the scene the words describe.

Learns the depth estimator, and goes on training stages 1 and 2 through the features they give it.
`language.mode=none` trains the same network without these features: the control, which needs no
stage 2 (one that is there gives it its encoder).
A config with `recipe: joint` or `joint-legacy` trains the other network, see train_joint.py.

    sh stage3_depth/train.sh configs/demo/stage3.yaml             minutes on 2 CPU cores
    sh stage3_depth/train.sh configs/nyu/stage3.yaml init.stage2=runs/nyu/stage2
    sh stage3_depth/train.sh configs/nyu/stage3.yaml language.mode=none \
        experiment=nyu_control init.experiment=nyu

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import UserError, run_program
from common.losses.depth import DepthLossConfig, silog_loss, silog_valid
from common.networks.encoder import EncoderConfig
from common.networks.encoder_weights import start_from
from common.programs.stage import Start
from common.programs.train import train
from common.runtime.randomness import StepRandom
from stage1_vae.model import TextVAEConfig
from stage2_sampler.model import SampledVAE, SamplerConfig
from stage3_depth.config import Stage3Config
from stage3_depth.model import LanguageDepth

# What makes an encoder's weights fit another one.
SHAPE = ("name", "embed_dim", "depths", "num_heads", "window_size", "absolute_position")


def build(config: Stage3Config, stage2: SampledVAE | None) -> LanguageDepth:
    """The estimator with random weights, and a prior of stage 2's sizes.

    Without stage 2 the prior, which the control never reads, has the published sizes.
    """
    if stage2 is None:
        prior = SamplerConfig(), TextVAEConfig()
        return LanguageDepth(config.model, *prior, config.data.size, config.language.mode)
    if stage2.config.evidence == "encoder":
        check_same_encoder(config, stage2)
    return LanguageDepth(
        config.model, stage2.config, stage2.vae.config, config.data.size, config.language.mode
    )


def check_same_encoder(config: Stage3Config, stage2: SampledVAE) -> None:
    """Raise `UserError` unless the encoder, which the sampler reads too, fits stage 2's weights."""
    ours, theirs = config.model.encoder or EncoderConfig(), stage2.config.encoder
    keys = SHAPE if theirs.name == ours.name == "swin" else SHAPE[:1]
    differing = [f"model.encoder.{k}" for k in keys if getattr(ours, k) != getattr(theirs, k)]
    if config.data.size != stage2.image_size:
        differing += ["data.height", "data.width"]
    if differing:
        raise UserError(
            f"{', '.join(differing)}: must be the same as in stage 2 (evidence encoder); leave "
            "them out to take stage 2's"
        )


def start(model: LanguageDepth, config: Stage3Config, start: Start) -> None:
    """Stage 2's weights; a pretrained encoder, unless it starts where stage 2's ended."""
    stage2 = start.earlier
    assert stage2 is None or isinstance(stage2, SampledVAE)
    if stage2 is not None:
        model.take_prior(stage2)
    if start.is_fresh and (stage2 is None or stage2.encoder is None):
        encoder = config.model.encoder or EncoderConfig()
        start_from(model.estimator.encoder, encoder.weights, start.log)


def step_fn(
    model: nn.Module,
    batch: Batch,
    rng: StepRandom,
    totals: Mapping[str, Tensor],
    loss: DepthLossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """SILog of the prediction, a sum over images, with e = ln pred - ln gt on n of HW pixels.

    L = sum over images of  (n / HW) * (mean e^2 - lambda * (mean e)^2)
    """
    pred_depth = model(batch.image, batch.text_feature, batch.image_feature)
    valid = silog_valid(batch.gt_depth, max_depth)
    silog = silog_loss(pred_depth, batch.gt_depth, valid, loss.silog_lambda)
    return {"total": silog, "silog": silog}


def main() -> None:
    """Hand the stage to the training program; the config names the recipe."""
    from stage3_depth.stage import STAGES  # which are made of this file and train_joint.py

    train(__doc__ or "", *STAGES)


if __name__ == "__main__":
    run_program(main)
