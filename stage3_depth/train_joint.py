"""Train the joint recipe: one network, a text step and an image step by the throw of a coin.

WorDepth's CVPR'24 release (`recipe: joint`) and the paper's tables (`recipe: joint-legacy`, U-Net
skips kept, text step with probability 0.01). Learns text -> distribution of codes from noise, and
image -> which code of it; both share the decoder. train.py starts it when the config says so:

    sh stage3_depth/train.sh configs/demo/joint.yaml          minutes on 2 CPU cores
    sh stage3_depth/train.sh configs/nyu/joint.yaml           Swin-L, one GPU with 24 GB or more

Hardware, hours and expected numbers stand in each YAML file and in docs/results.md.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from common.data.batch import Batch
from common.losses.depth import silog_loss, silog_valid
from common.losses.vae import channel_kl, channel_sums, gaussian_kl
from common.networks.encoder_weights import start_from
from common.networks.layers import still_statistics
from common.programs.stage import Start
from common.runtime.processes import unwrap
from common.runtime.randomness import StepRandom
from stage1_vae.model import TextVAE
from stage3_depth.config import JointLossConfig, JointStageConfig
from stage3_depth.joint_model import JointDepth


def build(config: JointStageConfig, stage1: TextVAE | None) -> JointDepth:
    """The joint network with random weights."""
    return JointDepth(config.model, config.data.size)


def start(model: JointDepth, config: JointStageConfig, start: Start) -> None:
    """Statistics of the text features, a pretrained encoder, what fits of stage 1's text branch."""
    if config.model.standardize_text:
        model.text.standardize.fit(*start.data.train_text_features())
    if not start.is_fresh:
        return
    start_from(model.encoder, config.model.encoder.weights, start.log)
    if isinstance(start.earlier, TextVAE):
        warm_start(model, start.earlier, start.log)


def warm_start(model: JointDepth, vae: TextVAE, log: Callable[[str], None]) -> None:
    """Copy the text MLPs' weights that have the same shape (the last layer's size may differ)."""
    own, theirs = model.text.state_dict(), vae.scenes.state_dict()
    fitting = {k: v for k, v in theirs.items() if k in own and v.shape == own[k].shape}
    model.text.load_state_dict(fitting, strict=False)
    log(f"text branch starts from stage 1: {len(fitting)} of {len(own)} tensors fit")


def step_fn(
    model: nn.Module,
    batch: Batch,
    rng: StepRandom,
    totals: Mapping[str, Tensor],
    loss: JointLossConfig,
    max_depth: float,
) -> dict[str, Tensor]:
    """L = SILog + kl_weight * KL; the coin chooses the words' noise or the image's eps.

    Text step: eps ~ N(0, 1) in every cell, KL(N(mean, std^2) || N(0, 1)) of the words' code.
    Image step: the image predicts eps, KL(N(m_c, s_c^2) || N(0, 1)) of its channels.
    """
    image, text = batch.image, batch.text_feature
    if rng.coin(loss.text_step_probability):
        cells = (image.shape[-2] // 16, image.shape[-1] // 16)
        eps = rng.normal(unwrap(model).config.code_channels, *cells, device=image.device)
        output = model(image, text, eps)
        kl = gaussian_kl(output.mean, output.logvar, rng.batch_size)
    else:
        output = model(image, text)
        kl = channel_kl(output.eps, totals.get("channel_sums"))
    valid = silog_valid(batch.gt_depth, max_depth)
    silog = silog_loss(output.depth, batch.gt_depth, valid, loss.silog_lambda)
    return {"total": silog + loss.kl_weight * kl, "silog": silog, "kl": kl}


def totals_fn(
    model: nn.Module, batch: Batch, rng: StepRandom, loss: JointLossConfig, max_depth: float
) -> dict[str, Tensor]:
    """What the image step's KL needs of the whole effective batch: the sums of eps per channel."""
    if rng.coin(loss.text_step_probability):
        return {}
    with still_statistics(model):
        output = unwrap(model)(batch.image, batch.text_feature)
    return {"channel_sums": channel_sums(output.eps)}
