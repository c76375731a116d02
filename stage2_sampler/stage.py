"""What stage 2 is: name, config, earlier stage, network, training step, prediction."""

from common.language.language import Needs
from common.losses.vae import measured
from common.networks.encoder import parameter_groups
from common.networks.layers import trainable_parameters
from common.programs.stage import EarlierStage, Stage
from stage1_vae.model import load_text_vae
from stage2_sampler.config import Stage2Config
from stage2_sampler.eval import predict, sample
from stage2_sampler.model import SampledVAE, load_sampled_vae
from stage2_sampler.train import build, start, step_fn, totals_fn


def needs(model: SampledVAE) -> Needs:
    """Words; and CLIP's feature of the picture where that is the evidence."""
    config = model.config
    image_dim = config.image_dim if config.evidence == "clip" else None
    return Needs(model.vae.config.text_dim, image_dim)


def parameters(model: SampledVAE, config: Stage2Config) -> list:
    """The sampler, and the encoder at its own rate if it is the evidence."""
    if model.encoder is None:
        return trainable_parameters(model)
    return parameter_groups(model, model.encoder, config.model.encoder)


STAGE = Stage(
    name="stage2",
    folder="stage2_sampler",
    recipe="staged",
    config_type=Stage2Config,
    default_yaml="configs/nyu/stage2.yaml",
    build=build,
    load=load_sampled_vae,
    needs=needs,
    step_fn=step_fn,
    totals_fn=totals_fn,
    predict=predict,
    sample=sample,
    valid=measured,
    parameters=parameters,
    start=start,
    earlier=EarlierStage(
        name="stage1",
        folder="stage1_vae",
        recipe="staged",
        load=load_text_vae,
        place=lambda config: config.init.stage1,
        experiments=lambda config: (config.experiment, config.init.experiment),
    ),
)
