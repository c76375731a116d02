"""Train stage 1: a caption becomes a distribution of scenes.

Learns text -> mean and std of a latent scene, and latent -> depth, from captions and depth alone:
the picture only weights the smoothness term.

    sh stage1_vae/train.sh configs/demo/stage1.yaml            a minute on 2 CPU cores
    sh stage1_vae/train.sh configs/nyu/stage1.yaml             NYU Depth V2, one GPU
    NPROC=4 sh stage1_vae/train.sh configs/kitti/stage1.yaml train.precision=bf16

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
from common.networks.layers import std_of, trainable_parameters
from common.programs.assembly import load_data
from common.programs.run import open_run
from common.programs.training import read_command_line, seed_everything, train
from common.runtime.processes import join_processes, unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.config import Stage1Config
from stage1_vae.eval import draw_panels, evaluate
from stage1_vae.model import TextVAE


def step_fn(
    model: nn.Module, batch: dict, rng: StepRandom, loss: VAELossConfig, max_depth: float
) -> dict[str, Tensor]:
    """Draw z ~ N(mean, std^2) of the caption, decode it, compare with the measured depth."""
    text = batch["text_feature"]
    eps = rng.normal(unwrap(model).config.latent_dim, device=text.device)
    output = model(text, eps, tuple(batch["image"].shape[-2:]))
    return vae_loss(output.depth, output.std, batch, loss, max_depth)


def batch_totals(
    model: nn.Module, batch: dict, rng: StepRandom, max_depth: float
) -> dict[str, Tensor]:
    """The normalizers of the loss over the whole effective batch."""
    _, logvar = unwrap(model).scenes.encode(batch["text_feature"])
    return vae_totals(std_of(logvar), batch, max_depth)


def main() -> None:
    """Run folder, data, model, optimizer, training; see the module's docstring."""
    words = sys.argv[1:]
    config = read_command_line(Stage1Config, words, "configs/nyu/stage1.yaml", __doc__ or "")
    with join_processes() as processes:
        seed_everything(config.seed)
        model = TextVAE(config.model)
        data = load_data(config, model, processes)
        run = open_run(config, "stage1", processes, sys.argv)
        if config.model.standardize_text:
            model.scenes.standardize.fit(data.train_text_features())
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
