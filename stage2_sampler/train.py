"""Train stage 2: the image picks one scene of the caption's distribution.

Learns image evidence -> eps, which replaces stage 1's random draw; stage 1 is frozen. The evidence
is a CLIP image feature (published) or pooled features of a Swin encoder trained along.

    sh stage2_sampler/train.sh configs/demo/stage2.yaml            a minute on 2 CPU cores
    sh stage2_sampler/train.sh configs/nyu/stage2.yaml init.stage1=runs/nyu/stage1

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.engine.loop import adam
from common.errors import run_program
from common.losses.vae import VAELossConfig, vae_loss, vae_totals
from common.networks.encoder_weights import start_from
from common.networks.layers import std_of, trainable_parameters
from common.programs.assembly import load_data
from common.programs.run import open_run
from common.programs.training import read_command_line, seed_everything, train
from common.runtime.checkpoints import find_earlier_stage, load_checkpoint
from common.runtime.processes import join_processes, unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.model import load_text_vae
from stage2_sampler.config import Stage2Config
from stage2_sampler.eval import draw_panels, evaluate
from stage2_sampler.model import SampledVAE


def step_fn(
    model: nn.Module, batch: dict, rng: StepRandom, loss: VAELossConfig, max_depth: float
) -> dict[str, Tensor]:
    """Let the image choose eps, decode the scene, compare with the measured depth."""
    output = model(batch["image"], batch["text_feature"], batch.get("image_feature"))
    return vae_loss(output.depth, output.std, batch, loss, max_depth)


def batch_totals(
    model: nn.Module, batch: dict, rng: StepRandom, max_depth: float
) -> dict[str, Tensor]:
    """The normalizers of the loss over the whole effective batch."""
    _, logvar = unwrap(model).vae.scenes.encode(batch["text_feature"])
    return vae_totals(std_of(logvar), batch, max_depth)


def main() -> None:
    """Run folder, data, model, optimizer, training; see the module's docstring."""
    words = sys.argv[1:]
    config = read_command_line(Stage2Config, words, "configs/nyu/stage2.yaml", __doc__ or "")
    with join_processes() as processes:
        experiments = (config.experiment, config.init.experiment)
        earlier = find_earlier_stage(config.output_root, "stage1", config.init.stage1, experiments)
        vae = load_text_vae(load_checkpoint(earlier, stage="stage1"))
        seed_everything(config.seed)
        model = SampledVAE(config.model, vae.config, (config.data.height, config.data.width))
        data = load_data(config, model, processes)
        run = open_run(config, "stage2", processes, sys.argv)
        run.log(f"stage 1: {earlier}")
        model.vae.load_state_dict(vae.state_dict())
        if config.model.standardize_image:
            model.sampler.standardize.fit(data.train_image_features())
        if model.encoder is not None and not run.resumes:
            start_from(model.encoder, config.model.encoder.weights, run.log)
        train(
            run,
            config,
            model=model,
            optimizer=adam(trainable_parameters(model), config.train),
            data=data,
            step_fn=partial(step_fn, loss=config.loss, max_depth=config.data.max_depth),
            batch_totals=partial(batch_totals, max_depth=config.data.max_depth),
            evaluate=evaluate,
            draw_panels=draw_panels,
        )


if __name__ == "__main__":
    run_program(main)
