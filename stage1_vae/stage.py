"""What stage 1 is: name, config, network, training step, prediction."""

from common.language.language import Needs
from common.losses.vae import measured
from common.networks.layers import trainable_parameters
from common.programs.draws import WordsAlone
from common.programs.stage import Stage, mean_log_depth
from stage1_vae.config import Stage1Config
from stage1_vae.eval import predict, sample
from stage1_vae.model import TextVAE, load_text_vae
from stage1_vae.train import build, finish, start, step_fn, totals_fn


def needs(model: TextVAE) -> Needs:
    """Words, and no picture's feature."""
    return Needs(text_dim=model.config.text_dim)


STAGE = Stage(
    name="stage1",
    folder="stage1_vae",
    recipe="staged",
    config_type=Stage1Config,
    default_yaml="configs/nyu/stage1.yaml",
    build=build,
    load=load_text_vae,
    needs=needs,
    step_fn=step_fn,
    totals_fn=totals_fn,
    predict=predict,
    words_alone=WordsAlone(predict, sample),
    sample=sample,
    parameters=lambda model, config: trainable_parameters(model),
    start=start,
    finish=finish,
    valid=measured,
    facts=mean_log_depth,
)
