"""What LLM-MDE is: name, config, network, training step, prediction."""

from common.engine.optimization import adamw
from common.language.language import Needs
from common.networks.layers import trainable_parameters
from common.programs.stage import Stage
from llm_mde.config import LLMMDEConfig
from llm_mde.eval import predict
from llm_mde.model import LLMDepth, load_llm_depth
from llm_mde.train import build, prepare, start, step_fn


def needs(model: LLMDepth) -> Needs:
    """Captions only, no features of words; CLIP's of the picture for the prompt's depth class."""
    return Needs(image_dim=model.config.image_dim if model.needs_image_feature else None)


STAGE = Stage(
    name="llm_mde",
    folder="llm_mde",
    recipe="llm-mde",
    config_type=LLMMDEConfig,
    default_yaml="configs/nyu/llm_mde.yaml",
    build=build,
    load=load_llm_depth,
    needs=needs,
    step_fn=step_fn,
    predict=predict,
    parameters=lambda model, config: trainable_parameters(model),
    prepare=prepare,
    start=start,
    optimizer=adamw,
)
