"""Which network and config a set of published files makes; used by `convert_checkpoint.py`."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from common.config import REPO_ROOT, build_config, load_config, to_dict
from common.errors import UserError
from common.networks.encoder import EncoderConfig
from common.networks.published import sizes as sizes
from common.networks.published.names import Kind, State
from common.networks.swin import SwinConfig, SwinEncoder
from common.programs.run_config import RunConfig
from stage1_vae.config import Stage1Config
from stage1_vae.model import TextVAE, TextVAEConfig, load_text_vae
from stage2_sampler.config import Stage2Config
from stage2_sampler.model import SampledVAE, load_sampled_vae
from stage3_depth.config import JointStageConfig, Stage3Config
from stage3_depth.joint_model import JointDepth, load_joint
from stage3_depth.model import LanguageDepth, load_language_depth

DATASETS = ("nyu", "kitti")
# The weights of each published file, and where they stand in a checkpoint's network.
PARTS: dict[str, dict[Kind, str]] = {
    "stage1": {"stage1": ""},
    "stage2": {"stage1": "vae.", "stage2": "sampler."},
    "stage3": {"stage3": "estimator.", "prior": "scenes.", "stage2": "sampler."},
    "joint": {"joint": ""},
    "encoder": {"backbone": ""},
}
LOADERS: dict[str, Callable[[dict], nn.Module]] = {
    "stage1": load_text_vae,
    "stage2": load_sampled_vae,
    "stage3": load_language_depth,
    "joint": load_joint,
}
SIZES: dict[Kind, tuple[Callable[[State], dict], ...]] = {
    "stage1": (sizes.vae_sizes,),
    "prior": (sizes.scene_sizes,),
    "stage2": (sizes.sampler_sizes,),
    "stage3": (sizes.encoder_sizes, sizes.decoder_sizes),
    "joint": (sizes.encoder_sizes, sizes.joint_sizes),
    "backbone": (sizes.encoder_sizes,),
}
AnyRunConfig = TypeVar("AnyRunConfig", bound=RunConfig)
States = Mapping[Kind, State]


@dataclass(frozen=True)
class Target:
    """A network of meta tensors (names and shapes only), what rebuilds it, and a run's config."""

    network: nn.Module
    model_config: dict[str, Any]
    config: dict[str, Any]


def build_target(layout: str, recipe: str, states: States, dataset: str | None) -> Target:
    """The network whose sizes the published weights have, with the data set's own settings.

    layout: a key of `PARTS`. recipe: staged, joint or joint-legacy. dataset: a folder of configs/.
    """
    with torch.device("meta"):
        if layout == "encoder":
            return _encoder(states)
        if dataset is None:
            raise UserError(
                "give --dataset nyu or kitti: it sets the prior mean and the depth range"
            )
        if layout == "joint":
            return _joint(states, dataset, recipe)
        return {"stage1": _stage1, "stage2": _stage2, "stage3": _stage3}[layout](states, dataset)


def check_own_weights(
    layout: str, model_config: dict[str, Any], weights: State, path: Path
) -> None:
    """UserError unless `weights` are those of the network that `model_config` describes."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that loading does nothing to meta tensors
            if layout == "encoder":
                config = build_config(SwinConfig, model_config)
                size = weights["position"].shape[-2:] if config.absolute_position else (8, 8)
                encoder = SwinEncoder(config, (4 * size[0], 4 * size[1]))
                encoder.load_state_dict(weights)
            else:
                LOADERS[layout]({"model_config": model_config, "model": weights})
    except (UserError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged: {type(error).__name__}: {reason}") from error


def check_sizes(weights: State, kind: Kind, path: Path) -> None:
    """UserError if published weights have sizes that `build_target` would refuse."""
    try:
        for read in SIZES[kind]:
            read(weights)
    except UserError as error:
        raise UserError(f"{path} has no published form: {error}") from error


def _encoder(states: States) -> Target:
    config = SwinConfig(**sizes.encoder_sizes(states["backbone"]))
    size = sizes.image_size(states["backbone"]) if config.absolute_position else (32, 32)
    return Target(SwinEncoder(config, size), to_dict(config), {})


def _stage1(states: States, dataset: str) -> Target:
    config = _settings(Stage1Config, dataset, "stage1")
    model = replace(config.model, **sizes.vae_sizes(states["stage1"]))
    return Target(TextVAE(model), to_dict(model), to_dict(replace(config, model=model)))


def _stage2(states: States, dataset: str) -> Target:
    config = _settings(Stage2Config, dataset, "stage2")
    model = replace(config.model, evidence="clip", **sizes.sampler_sizes(states["stage2"]))
    vae = replace(_vae_settings(dataset), **sizes.vae_sizes(states["stage1"]))
    network = SampledVAE(model, vae, (config.data.height, config.data.width))
    return Target(network, network.describe(), to_dict(replace(config, model=model)))


def _stage3(states: States, dataset: str) -> Target:
    config = _settings(Stage3Config, dataset, "stage3")
    state = states["stage3"]
    model = replace(
        config.model,
        encoder=_encoder_config(config.model.encoder, state),
        **sizes.decoder_sizes(state),
    )
    stage2 = _settings(Stage2Config, dataset, "stage2").model
    sampler = replace(stage2, evidence="clip", **sizes.sampler_sizes(states["stage2"]))
    vae = replace(_vae_settings(dataset), **sizes.scene_sizes(states["prior"]))
    size = _image_size(state, config)
    network = LanguageDepth(model, sampler, vae, size)
    return Target(
        network, network.describe(), to_dict(replace(_with_size(config, size), model=model))
    )


def _joint(states: States, dataset: str, recipe: str) -> Target:
    config = _settings(JointStageConfig, dataset, recipe.replace("-", "_"))
    state = states["joint"]
    encoder = _encoder_config(config.model.encoder, state)
    model = replace(config.model, encoder=encoder, **sizes.joint_sizes(state))
    size = _image_size(state, config)
    network = JointDepth(model, size)
    return Target(
        network, network.describe(), to_dict(replace(_with_size(config, size), model=model))
    )


def _settings(config_type: type[AnyRunConfig], dataset: str, stage: str) -> AnyRunConfig:
    """The shipped config of a stage, with the data set's mean log-depth where there is a head."""
    config = load_config(config_type, REPO_ROOT / "configs" / dataset / f"{stage}.yaml", [])
    return config if isinstance(config, Stage2Config) else _with_mean_log_depth(config)


def _with_mean_log_depth(config: Any) -> Any:
    """The config whose depth head starts from the data set's mean, unless it names another."""
    if config.model.prior_mean is not None:
        return config
    mean = config.data.data_set.mean_log_depth
    return replace(config, model=replace(config.model, prior_mean=mean))


def _vae_settings(dataset: str) -> TextVAEConfig:
    return _settings(Stage1Config, dataset, "stage1").model


def _encoder_config(settings: EncoderConfig | None, state: State) -> EncoderConfig:
    return replace(settings or EncoderConfig(), weights=None, **sizes.encoder_sizes(state))


def _image_size(state: State, config: RunConfig) -> tuple[int, int]:
    """The size the weights were trained for; UserError if it is another data set's."""
    own = (config.data.height, config.data.width)
    size = sizes.image_size(state)
    for name in DATASETS:
        data = _settings(Stage3Config, name, "stage3").data
        if size != own and size == (data.height, data.width):
            raise UserError(
                f"the position embedding is for {size[0]}x{size[1]} images: give --dataset {name}"
            )
    return size


def _with_size(config: AnyRunConfig, size: tuple[int, int]) -> AnyRunConfig:
    return replace(config, data=replace(config.data, height=size[0], width=size[1]))
