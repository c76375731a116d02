"""What stage 3 is: one value for each recipe, staged, joint and joint-legacy."""

from dataclasses import replace

from common.errors import UserError
from common.language.language import Needs
from common.networks.encoder import EncoderConfig, parameter_groups
from common.programs.stage import EarlierStage, Stage, with_mean_log_depth
from stage1_vae.model import load_text_vae
from stage2_sampler.model import SampledVAE, load_sampled_vae
from stage3_depth import train, train_joint
from stage3_depth.config import JointStageConfig, Stage3Config
from stage3_depth.eval import predict, predict_joint
from stage3_depth.joint_model import JointDepth, load_joint
from stage3_depth.model import LanguageDepth, load_language_depth


def needs(model: LanguageDepth) -> Needs:
    """What the prior reads; without words, nothing."""
    if model.language == "none":
        return Needs()
    image_dim = model.image_dim if model.evidence == "clip" else None
    return Needs(model.text_dim, image_dim)


def needs_joint(model: JointDepth) -> Needs:
    """Words; the network has an image encoder of its own."""
    return Needs(text_dim=model.config.text_dim)


def resolve(config: Stage3Config, stage2: SampledVAE) -> Stage3Config:
    """The data set's mean log-depth; the encoder of stage 2 where the sampler reads this one's.

    Raises `UserError` for an encoder that is named and is not stage 2's.
    """
    config = with_mean_log_depth(config, stage2)
    is_shared = stage2.config.evidence == "encoder"
    if config.model.encoder is None:
        encoder = stage2.config.encoder if is_shared else EncoderConfig()
        return replace(config, model=replace(config.model, encoder=encoder))
    if is_shared:
        check_same_encoder(config, stage2)
    return config


def check_same_encoder(config: Stage3Config, stage2: SampledVAE) -> None:
    """Raise `UserError` unless the encoder that is named is of stage 2's kind and sizes."""
    ours, theirs = config.model.encoder, stage2.config.encoder
    sizes = ("embed_dim", "depths", "num_heads", "window_size", "absolute_position")
    keys = ("name", *(sizes if theirs.name == "swin" else ()))
    differing = [f"model.encoder.{k}" for k in keys if getattr(ours, k) != getattr(theirs, k)]
    if config.data.size != stage2.image_size:
        differing += ["data.height", "data.width"]
    if differing:
        raise UserError(
            f"{', '.join(differing)}: must be the same as in stage 2 (evidence encoder); leave "
            "model.encoder out to take stage 2's"
        )


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
    parameters=lambda model, config: parameter_groups(
        model, model.estimator.encoder, config.model.encoder
    ),
    start=train.start,
    earlier=EarlierStage(
        name="stage2",
        folder="stage2_sampler",
        load=load_sampled_vae,
        place=lambda config: config.init.stage2,
        experiments=lambda config: (config.experiment, config.init.experiment),
    ),
    resolve=resolve,
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
    parameters=lambda model, config: parameter_groups(model, model.encoder, config.model.encoder),
    start=train_joint.start,
    earlier=EarlierStage(
        name="stage1",
        folder="stage1_vae",
        load=load_text_vae,
        place=lambda config: config.init.stage1,
        is_optional=True,
    ),
    resolve=with_mean_log_depth,
    has_branches=True,
)
JOINT_LEGACY = replace(JOINT, recipe="joint-legacy", default_yaml="configs/nyu/joint_legacy.yaml")
STAGES = (STAGED, JOINT, JOINT_LEGACY)
