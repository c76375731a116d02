"""Train stage 3: metric depth from the image, guided by the scene the words describe.

Learns the Swin depth estimator, and goes on training stages 1 and 2 through the features they give
it. `language.mode=none` trains the same network without these features: the control.
A config with `recipe: joint` or `joint-legacy` is trained by train_joint.py instead.

    sh stage3_depth/train.sh configs/demo/stage3.yaml             minutes on 2 CPU cores
    sh stage3_depth/train.sh configs/nyu/stage3.yaml init.stage2=runs/nyu/stage2
    sh stage3_depth/train.sh configs/nyu/stage3.yaml language.mode=none \
        experiment=nyu_control init.experiment=nyu

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.engine.loop import adam
from common.errors import UserError, run_program
from common.losses.depth import silog_loss, silog_valid
from common.networks.encoder_weights import start_from
from common.networks.layers import trainable_parameters
from common.programs.assembly import load_data
from common.programs.run import open_run
from common.programs.training import peek, read_command_line, seed_everything, train
from common.runtime.checkpoints import find_earlier_stage, load_checkpoint
from common.runtime.processes import join_processes
from common.runtime.randomness import StepRandom
from stage2_sampler.model import SampledVAE, load_sampled_vae
from stage3_depth.config import Stage3Config
from stage3_depth.eval import draw_panels, evaluate
from stage3_depth.model import LanguageDepth
from stage3_depth.train_joint import train_joint

DEFAULT_YAML = "configs/nyu/stage3.yaml"


def step_fn(
    model: nn.Module, batch: dict, rng: StepRandom, silog_lambda: float, max_depth: float
) -> dict[str, Tensor]:
    """SILog of the prediction, a sum over images."""
    pred_depth = model(batch["image"], batch.get("text_feature"), batch.get("image_feature"))
    gt_depth = batch["gt_depth"]
    valid = silog_valid(gt_depth, max_depth)
    silog = silog_loss(pred_depth, gt_depth, valid, silog_lambda)
    return {"total": silog, "silog": silog}


def check_same_encoder(config: Stage3Config, stage2: SampledVAE) -> None:
    """With evidence `swin` the sampler reads this stage's encoder, which starts from stage 2's."""
    if stage2.encoder is None:
        return
    ours, theirs = config.model.encoder, stage2.encoder.config
    keys = ("embed_dim", "depths", "num_heads", "window_size", "absolute_position")
    differing = [f"model.encoder.{k}" for k in keys if getattr(ours, k) != getattr(theirs, k)]
    if (config.data.height, config.data.width) != stage2.image_size:
        differing += ["data.height", "data.width"]
    if differing:
        raise UserError(f"{', '.join(differing)}: must be the same as in stage 2 (evidence swin)")


def main() -> None:
    """Train the recipe the config names."""
    words = sys.argv[1:]
    recipe = peek(words, DEFAULT_YAML, "recipe", "staged")
    if recipe == "staged":
        train_staged(words)
    elif recipe in ("joint", "joint-legacy"):
        train_joint(words)
    else:
        raise UserError(f"recipe: must be staged, joint or joint-legacy, not {recipe}")


def train_staged(words: list[str]) -> None:
    """Run folder, data, model, optimizer, training; see the module's docstring."""
    config = read_command_line(Stage3Config, words, DEFAULT_YAML, __doc__ or "")
    with join_processes() as processes:
        experiments = (config.experiment, config.init.experiment)
        earlier = find_earlier_stage(config.output_root, "stage2", config.init.stage2, experiments)
        stage2 = load_sampled_vae(load_checkpoint(earlier, stage="stage2"))
        check_same_encoder(config, stage2)
        seed_everything(config.seed)
        model = LanguageDepth(
            config.model,
            stage2.config,
            stage2.vae.config,
            (config.data.height, config.data.width),
            config.language.mode,
        )
        data = load_data(config, model, processes)
        run = open_run(config, "stage3", processes, sys.argv)
        run.log(f"stage 2: {earlier}")
        model.take_prior(stage2)
        if stage2.encoder is None and not run.resumes:  # else it starts where stage 2's ended
            start_from(model.estimator.encoder, config.model.encoder.weights, run.log)
        train(
            run,
            config,
            model=model,
            optimizer=adam(trainable_parameters(model), config.train),
            data=data,
            step_fn=partial(
                step_fn, silog_lambda=config.loss.silog_lambda, max_depth=config.data.max_depth
            ),
            evaluate=evaluate,
            draw_panels=draw_panels,
        )


if __name__ == "__main__":
    run_program(main)
