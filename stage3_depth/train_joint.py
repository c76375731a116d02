"""Train the joint recipe: one network, a text step and an image step by the throw of a coin.

WorDepth's CVPR'24 release (`recipe: joint`) and the paper's tables (`recipe: joint-legacy`, U-Net
skips kept, text step with probability 0.01). Learns text -> distribution of codes from noise, and
image -> which code of it; both share the decoder. Called by train.py when the config says so:

    sh stage3_depth/train.sh configs/demo/joint.yaml          minutes on 2 CPU cores
    sh stage3_depth/train.sh configs/nyu/joint.yaml           Swin-L, one GPU with 24 GB or more

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

import sys
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from common.engine.loop import adam
from common.losses.depth import channel_kl, channel_sums, gaussian_kl, silog_loss, silog_valid
from common.networks.encoder_weights import start_from
from common.networks.layers import trainable_parameters
from common.programs.assembly import load_data
from common.programs.run import open_run
from common.programs.training import read_command_line, seed_everything, train
from common.runtime.checkpoints import find_earlier_stage, load_checkpoint
from common.runtime.processes import join_processes, unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.model import TextVAE, load_text_vae
from stage3_depth.config import JointLossConfig, JointStageConfig
from stage3_depth.eval import draw_panels_joint, evaluate_joint
from stage3_depth.joint_model import JointDepth


def step_fn(
    model: nn.Module, batch: dict, rng: StepRandom, loss: JointLossConfig, max_depth: float
) -> dict[str, Tensor]:
    """SILog + kl_weight * KL; the coin chooses the words' noise or the image's eps."""
    image, text, gt_depth = batch["image"], batch["text_feature"], batch["gt_depth"]
    if rng.coin(loss.text_step_probability):
        cells = (image.shape[-2] // 16, image.shape[-1] // 16)
        eps = rng.normal(unwrap(model).config.code_channels, *cells, device=image.device)
        output = model(image, text, eps)
        kl = gaussian_kl(output.mean, output.logvar, rng.batch_size)
    else:
        output = model(image, text)
        kl = channel_kl(output.eps, batch.get("totals", {}).get("channel_sums"))
    valid = silog_valid(gt_depth, max_depth)
    silog = silog_loss(output.depth, gt_depth, valid, loss.silog_lambda)
    return {"total": silog + loss.kl_weight * kl, "silog": silog, "kl": kl}


def batch_totals(
    model: nn.Module, batch: dict, rng: StepRandom, loss: JointLossConfig
) -> dict[str, Tensor]:
    """What the image step's KL needs of the whole effective batch: the sums of eps per channel."""
    if rng.coin(loss.text_step_probability):
        return {}
    output = unwrap(model)(batch["image"], batch["text_feature"])
    return {"channel_sums": channel_sums(output.eps)}


def warm_start(model: JointDepth, vae: TextVAE, log: Callable[[str], None]) -> None:
    """Copy the text MLPs' weights that have the same shape (the last layer's size may differ)."""
    own, theirs = model.text.state_dict(), vae.scenes.state_dict()
    fitting = {k: v for k, v in theirs.items() if k in own and v.shape == own[k].shape}
    model.text.load_state_dict(fitting, strict=False)
    log(f"text branch starts from stage 1: {len(fitting)} of {len(own)} tensors fit")


def train_joint(words: list[str]) -> None:
    """Run folder, data, model, optimizer, training; see the module's docstring."""
    config = read_command_line(JointStageConfig, words, "configs/nyu/joint.yaml", __doc__ or "")
    with join_processes() as processes:
        seed_everything(config.seed)
        model = JointDepth(config.model, (config.data.height, config.data.width))
        data = load_data(config, model, processes)
        if config.model.standardize_text:
            model.text.standardize.fit(data.train_text_features())
        run = open_run(config, "stage3", processes, sys.argv)
        if not run.resumes:
            start_from(model.encoder, config.model.encoder.weights, run.log)
        if config.init.stage1 is not None and not run.resumes:
            earlier = find_earlier_stage(config.output_root, "stage1", config.init.stage1, ())
            stage1 = load_text_vae(load_checkpoint(earlier, stage="stage1"))
            warm_start(model, stage1, run.log)
        train(
            run,
            config,
            model=model,
            optimizer=adam(trainable_parameters(model), config.train),
            data=data,
            step_fn=partial(step_fn, loss=config.loss, max_depth=config.data.max_depth),
            batch_totals=partial(batch_totals, loss=config.loss),
            evaluate=evaluate_joint,
            draw_panels=draw_panels_joint,
            recipe=config.recipe,
            has_branches=True,
        )
