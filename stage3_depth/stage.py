"""What stage 3 is: one value for each recipe, staged, joint and joint-legacy."""

from dataclasses import replace
from typing import Any

from common.config import to_dict
from common.language.language import Needs
from common.networks.encoder import EncoderConfig, parameter_groups
from common.programs.draws import WordsAlone
from common.programs.stage import EarlierStage, Stage, mean_log_depth
from stage1_vae.model import load_text_vae
from stage2_sampler.model import SampledVAE, load_sampled_vae
from stage3_depth import train, train_joint
from stage3_depth.config import JointStageConfig, Stage3Config
from stage3_depth.eval import predict, predict_joint, predict_words, sample, sample_words
from stage3_depth.joint_model import JointDepth, load_joint
from stage3_depth.model import LanguageDepth, load_language_depth
from stage3_depth.train import SHAPE


def needs(model: LanguageDepth) -> Needs:
    """What the prior reads; without words, nothing."""
    if model.language == "none":
        return Needs()
    image_dim = model.image_dim if model.evidence == "clip" else None
    return Needs(model.text_dim, image_dim)


def needs_joint(model: JointDepth) -> Needs:
    """Words; the network has an image encoder of its own."""
    return Needs(text_dim=model.config.text_dim)


def facts(config: Stage3Config, stage2: SampledVAE | None) -> dict[str, Any]:
    """The data set's mean log-depth; stage 2's encoder, but not how that was trained."""
    known = mean_log_depth(config, stage2)
    if stage2 is not None:
        encoder = to_dict(stage2.config.encoder)
        known["model"]["encoder"] = {key: encoder[key] for key in (*SHAPE, "drop_path")}
    return known


STAGED = Stage(
    name="stage3",
    folder="stage3_depth",
    recipe="staged",
    config_type=Stage3Config,
    default_yaml="configs/nyu/stage3.yaml",
    build=train.build,
    load=load_language_depth,
    needs=needs,
    step_fn=train.step_fn,
    predict=predict,
    sample=sample,
    parameters=lambda model, config: parameter_groups(
        model, model.estimator.encoder, config.model.encoder or EncoderConfig()
    ),
    start=train.start,
    earlier=EarlierStage(
        name="stage2",
        folder="stage2_sampler",
        recipe="staged",
        load=load_sampled_vae,
        place=lambda config: config.init.stage2,
        experiments=lambda config: (config.experiment, config.init.experiment),
        is_needed=lambda config: config.language.mode != "none",
    ),
    facts=facts,
    left_open=(("model", "encoder"),),
)
JOINT = Stage(
    name="stage3",
    folder="stage3_depth",
    recipe="joint",
    config_type=JointStageConfig,
    default_yaml="configs/nyu/joint.yaml",
    build=train_joint.build,
    load=load_joint,
    needs=needs_joint,
    step_fn=train_joint.step_fn,
    totals_fn=train_joint.totals_fn,
    predict=predict_joint,
    words_alone=WordsAlone(predict_words, sample_words),
    sample=sample_words,
    parameters=lambda model, config: parameter_groups(model, model.encoder, config.model.encoder),
    start=train_joint.start,
    earlier=EarlierStage(
        name="stage1",
        folder="stage1_vae",
        recipe="staged",
        load=load_text_vae,
        place=lambda config: config.init.stage1,
        is_needed=lambda config: False,
    ),
    facts=mean_log_depth,
    has_branches=True,
)
JOINT_LEGACY = replace(
    JOINT,
    recipe="joint-legacy",
    default_yaml="configs/nyu/joint_legacy.yaml",
    words_alone=None,  # its text step sees the picture, too, where the skips are kept in it
)
STAGES = (STAGED, JOINT, JOINT_LEGACY)
