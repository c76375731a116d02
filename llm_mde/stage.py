"""What LLM-MDE is: name, config, network, training step, prediction.

AdamW is the paper's, a learning rate of its own for an encoder ours.
"""

from common.engine.optimization import adamw
from common.language.language import Needs
from common.networks.encoder import parameter_groups
from common.networks.layers import trainable_parameters
from common.programs.stage import Stage
from llm_mde.config import LLMMDEConfig
from llm_mde.eval import predict
from llm_mde.model import LLMDepth, load_llm_depth
from llm_mde.train import build, check_words, prepare, start, step_fn


def needs(model: LLMDepth) -> Needs:
    """Captions only, no features of words; CLIP's of the picture for the prompt's depth class."""
    return Needs(image_dim=model.config.image_dim if model.reads_depth_class else None)


def parameters(model: LLMDepth, config: LLMMDEConfig) -> list:
    """What is trained; an encoder in the vision transformer's place at a rate of its own."""
    if config.model.encoder is None:
        return trainable_parameters(model)
    return parameter_groups(model, model.vision, config.model.encoder)


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
    parameters=parameters,
    prepare=prepare,
    check_words=check_words,
    start=start,
    optimizer=adamw,
)
