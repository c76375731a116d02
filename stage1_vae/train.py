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

import torch
from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import run_program
from common.losses.crps import crps_terms, crps_totals
from common.losses.vae import measured, vae_terms, vae_totals
from common.networks.layers import std_of
from common.programs.assembly import Data
from common.programs.draws import WordsAlone
from common.programs.run import Run
from common.programs.stage import Start
from common.programs.temperature import fit_temperature
from common.programs.train import train
from common.runtime.checkpoints import finished, load_checkpoint, save_checkpoint
from common.runtime.processes import unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.config import Stage1Config, TextLossConfig
from stage1_vae.eval import predict, sample
from stage1_vae.model import TextVAE, load_text_vae


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
    loss: TextLossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """Draw z = mean + std * eps of the caption, eps ~ N(0, I), decode it, compare with depth.

    score `l1`, from the released code; the floor plays the part of a KL term:

    L = mean |pred - gt|  +  w * smoothness where nothing is measured  +  max(0, floor - mean std)

    score `crps`, ours: one draw and no more can only teach a network to ignore its noise, and a
    floor to scale it down later. K draws teach how far apart they have to be, in the depth of
    pixels and in the scale s of the scene, its median (`common/losses/crps.py`). The scene that is
    scored, pred_0 at eps = 0, lies where no draw ever does, so it is trained as well:

    L = CRPS(ln pred_k; ln gt) + CRPS(ln s_k; ln s) + mean |ln pred_0 - ln gt|  +  w * smoothness
    """
    if loss.score == "crps":
        return crps_step(model, batch, rng, totals, loss, max_depth)
    eps = rng.normal(unwrap(model).config.latent_dim, device=batch.image.device)
    output = model(batch.text_feature, eps, batch.size)
    terms = vae_terms(
        output.depth, output.std, batch.gt_depth, batch.image, loss.std_floor, max_depth, totals
    )
    total = terms.l1 + loss.smoothness_weight * terms.smoothness + terms.std_floor
    return {"total": total, **vars(terms)}


def crps_step(
    model: nn.Module,
    batch: Batch,
    rng: StepRandom,
    totals: Mapping[str, Tensor],
    loss: TextLossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """The step of score `crps`: all scenes of the captions in one pass of the network."""
    num_draws, latent_dim = loss.num_draws, unwrap(model).config.latent_dim
    noise = rng.normal(num_draws, latent_dim, device=batch.image.device).transpose(0, 1)
    eps = torch.cat((noise, torch.zeros_like(noise[:1])))  # [K + 1, B, L], the mean scene last
    text = batch.text_feature.repeat(num_draws + 1, 1)
    depth = model(text, eps.flatten(0, 1), batch.size).depth.unflatten(0, eps.shape[:2])
    valid = measured(batch.gt_depth, max_depth)
    terms = crps_terms(depth[:-1], depth[-1], batch.gt_depth, batch.image, valid, totals)
    total = terms.pixels + terms.scale + terms.mean_scene
    return {"total": total + loss.smoothness_weight * terms.smoothness, **vars(terms)}


def totals_fn(
    model: nn.Module, batch: Batch, rng: StepRandom, loss: TextLossConfig, max_depth: float
) -> dict[str, Tensor]:
    """The normalizers of the loss over the whole effective batch."""
    if loss.score == "crps":
        return crps_totals(measured(batch.gt_depth, max_depth))
    _, logvar = unwrap(model).scenes.encode(batch.text_feature)
    return vae_totals(std_of(logvar), batch.gt_depth, max_depth)


def finish(config: Stage1Config, data: Data, run: Run) -> None:
    """Widen the finished checkpoints by the temperature, given or fitted on the validation images.

    Not twice: a checkpoint that was widened says so, and keeps what training goes on with.
    """
    is_wanted = config.fit_temperature or config.temperature != 1
    found: dict[int, float] = {}  # best.pt may be of the same step as last.pt
    for path in (run.checkpoints.last, run.checkpoints.best) if is_wanted else ():
        content = load_checkpoint(path, stage="stage1", recipes=("staged",))
        if "temperature" in content:
            continue
        model = load_text_vae(content).to(run.processes.device)
        step = content["step"]
        if step in found or not config.fit_temperature:
            value = found.get(step, config.temperature)
            model.scenes.widen(value)
        else:
            value = found[step] = fit_temperature(
                model,
                WordsAlone(predict, sample),
                model.scenes.widen,
                data.val,
                config,
                run.processes,
            )
        if run.processes.is_main:
            save_checkpoint(path, {**finished(content, model), "temperature": value})
        fitted = f", fitted on {len(data.val)} validation images" if config.fit_temperature else ""
        run.log(f"{path.name}: std times {value:.3f}{fitted}")


def main() -> None:
    """Hand the stage to the training program."""
    from stage1_vae.stage import STAGE  # which is made of this file

    train(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
