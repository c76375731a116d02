"""Train LLM-MDE: a language model reads image tokens behind a prompt, a head makes metric depth.

Learns LoRA adapters of ViT and language model, the reprogramming of image tokens into words, and
the head, from images and depth; the prompt may hold the image's caption (`prompt.caption`). SILog
and AdamW as in LLM-MDE (Xia and Wu, 2024); the caption is ours.

    sh llm_mde/train.sh configs/demo/llm_mde.yaml            minutes on 2 CPU cores
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml             GPT-2, 795 labeled images, one GPU
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml model.language.name=bert-base-uncased
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml prompt.statistics=false experiment=no_statistics
    sh llm_mde/train.sh configs/demo/llm_mde.yaml model.encoder.name=timm:convnext_tiny

Every ablation is a switch: docs/llm_mde.md lists them. Hardware, hours and expected numbers stand
in each YAML file and in docs/results.md.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import UserError, run_program
from common.language.language import Language
from common.losses.depth import DepthLossConfig, silog_loss, silog_valid
from common.networks.encoder_weights import start_from
from common.programs.assembly import Data
from common.programs.stage import Start
from common.programs.train import train
from common.runtime.randomness import StepRandom
from llm_mde.config import LLMMDEConfig
from llm_mde.image_tokens import HeightWidth
from llm_mde.model import LLMDepth, Setting, build_llm_depth
from llm_mde.vision_encoder import check_vision_weights


def build(config: LLMMDEConfig, earlier: None) -> LLMDepth:
    """Frozen parts loaded or drawn from the seed, the rest with random weights."""
    setting = Setting(config.data.size, config.data.max_depth, config.seed)
    return build_llm_depth(config.model, config.prompt, setting)


def prepare(model: LLMDepth, config: LLMMDEConfig, data: Data) -> None:
    """Refuse prompts that are too long; encode the depth classes with CLIP's text tower."""
    for split in (data.train, data.val):
        check_words(model, split.language, split.largest_size)
    if model.reads_depth_class:
        # Imported here: only this part of the prompt needs CLIP.
        from common.language.encoders import text_encoder

        encoder, sentences = text_encoder(config.text.encoder), model.prompt.clip_sentences()
        if cut := encoder.limit.find_cut(sentences):
            raise UserError(
                f"prompt.templates.clip: {config.text.encoder} reads {cut[0].num_read} of the "
                f"{cut[0].num_tokens} tokens of '{cut[0].caption}'; shorten it"
            )
        model.prompt.set_class_features(encoder.encode(sentences))


def check_words(model: LLMDepth, language: Language, size: HeightWidth) -> None:
    """Refuse captions with which a prompt is too long. size: of the largest image."""
    model.check_prompts(language.captions, size)


def start(model: LLMDepth, config: LLMMDEConfig, start: Start) -> None:
    """Which weights it starts from, and how many there are; whether a prompt is read."""
    if start.is_fresh and config.model.encoder is not None:
        start_from(model.vision.encoder, config.model.encoder.weights, start.log)
    elif start.is_fresh and (line := check_vision_weights(config.model.vision)):
        start.log(line)
    for line in model.size_lines():
        start.log(line)
    if not model.reads_prompt:
        start.log("no prompt is read: it is empty, or there is no language model")


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
    pred_depth = model(batch.image, batch.caption, batch.image_feature)
    valid = silog_valid(batch.gt_depth, max_depth)
    silog = silog_loss(pred_depth, batch.gt_depth, valid, loss.silog_lambda)
    return {"total": silog, "silog": silog}


def main() -> None:
    """Hand the stage to the training program."""
    from llm_mde.stage import STAGE  # which is made of this file

    train(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
