"""Train LLM-MDE: a language model reads image tokens behind a prompt, a head makes metric depth.

Learns LoRA adapters of ViT and language model, the reprogramming of image tokens into words, and
the head, from images and depth; the prompt may hold the image's caption (`prompt.caption`).

    sh llm_mde/train.sh configs/demo/llm_mde.yaml            minutes on 2 CPU cores
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml             GPT-2, 795 labeled images, one GPU
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml model.language.name=bert-base-uncased
    sh llm_mde/train.sh configs/nyu/llm_mde.yaml prompt.statistics=false experiment=no_statistics

Every ablation is a switch: docs/llm_mde.md lists them. Hardware, hours and expected numbers stand
in each YAML file and in docs/results.md.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.engine.loop import adamw
from common.errors import run_program
from common.language.encoders import text_encoder
from common.losses.depth import silog_loss, silog_valid
from common.networks.layers import trainable_parameters
from common.programs.assembly import Data, load_data
from common.programs.run import open_run
from common.programs.training import read_command_line, seed_everything, train
from common.runtime.processes import join_processes
from common.runtime.randomness import StepRandom
from llm_mde.config import LLMMDEConfig
from llm_mde.eval import draw_panels, evaluate
from llm_mde.model import LLMDepth, Setting, build_llm_depth


def step_fn(
    model: nn.Module, batch: dict, rng: StepRandom, silog_lambda: float, max_depth: float
) -> dict[str, Tensor]:
    """SILog of the prediction, a sum over images."""
    pred_depth = model(batch["image"], batch["caption"], batch.get("image_feature"))
    gt_depth = batch["gt_depth"]
    valid = silog_valid(gt_depth, max_depth)
    silog = silog_loss(pred_depth, gt_depth, valid, silog_lambda)
    return {"total": silog, "silog": silog}


def prepare_prompt(model: LLMDepth, data: Data, clip: str) -> None:
    """Encode the depth classes with the text tower of `clip`; refuse prompts that are too long."""
    captions = [*data.train.captions.values(), *data.val.captions.values()]
    model.check_prompts(captions)
    if model.needs_image_feature:
        sentences = model.prompt.clip_sentences()
        model.prompt.set_class_features(text_encoder(clip).encode(sentences))


def main() -> None:
    """Run folder, data, model, optimizer, training; see the module's docstring."""
    words = sys.argv[1:]
    config = read_command_line(LLMMDEConfig, words, "configs/nyu/llm_mde.yaml", __doc__ or "")
    with join_processes() as processes:
        seed_everything(config.seed)
        size, max_depth = (config.data.height, config.data.width), config.data.max_depth
        model = build_llm_depth(config.model, config.prompt, Setting(size, max_depth, config.seed))
        data = load_data(config, model, processes)
        prepare_prompt(model, data, config.text.encoder)
        run = open_run(config, "llm_mde", processes, sys.argv)
        for line in model.size_lines():
            run.log(line)
        if not model.reads_prompt:
            run.log("no prompt is read: it is empty, or there is no language model")
        train(
            run,
            config,
            model=model,
            optimizer=adamw(trainable_parameters(model), config.train),
            data=data,
            step_fn=partial(step_fn, silog_lambda=config.loss.silog_lambda, max_depth=max_depth),
            evaluate=evaluate,
            draw_panels=draw_panels,
            recipe=config.recipe,
        )


if __name__ == "__main__":
    run_program(main)
