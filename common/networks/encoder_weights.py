"""Start an encoder from weights that exist: `model.encoder.weights` names them.

    pretrained                              timm's own for a network that is named timm:...
    timm:NAME                               timm's weights of that name, downloaded once
    file:PATH, or the path alone            a file, for Swin:
      swin_large_patch4_window12_384_22k.pth  Microsoft's files, with or without the classifier
      a published depth network's file        its backbone, norms and position embedding included
    for a network of timm:
      timm's names                          of the classifier, or of its features alone
      other names                           by order, if every shape and kind fits in its turn
    for any other encoder, a file of its state_dict
    for all, a stage 2 or 3 checkpoint of this project, for Swin and timm's also a file of
    scripts/convert_checkpoint.py

Nothing pickled in a file is run. Swin's tables of another window size and position embeddings of
another image size are resized; what was missing, left over or resized is logged by name.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch.nn.functional as F
from torch import Tensor

from common.config_values import resolve_path
from common.errors import UserError
from common.networks.base_encoder import Encoder
from common.networks.normalization import reading_of, require_known_reading
from common.networks.published.names import from_published, published_file, read_safely
from common.networks.swin import SwinEncoder
from common.networks.timm_door import timm
from common.networks.timm_encoder import PREFIX, TimmEncoder, create_body
from common.runtime.hub import load_from_hub

Log = Callable[[str], None]
KEY = "model.encoder.weights"
COMPUTED = ("relative_position_index", "attn_mask")  # from the window size
COUNT = "num_batches_tracked"  # which batch normalization keeps, and nobody reads
KINDS = {"weight", "bias", "running_mean", "running_var", COUNT}  # by order, the same kind too
MOST_LEFT_OVER = 12  # tensors after the features: a last convolution, its norm, a classifier
_NO_NETWORK = "check the network, or give a .pth file"
OPTIONAL = ("norms.", "position")  # no part of a classifier: an encoder may start them anew


def start_from(encoder: Encoder, weights: str | None, log: Log) -> None:
    """Load `weights` (see the module's docstring) in place and log what did not fit."""
    if weights is None:
        return
    if isinstance(encoder, TimmEncoder):
        _start_timm(encoder, weights, log)
    elif isinstance(encoder, SwinEncoder):
        _start_swin(encoder, weights, log)
    else:
        _start_other(encoder, weights, log)


# Swin


def _start_swin(encoder: SwinEncoder, weights: str, log: Log) -> None:
    if weights == "pretrained":
        raise UserError(
            f"{KEY}: for model.encoder.name=swin say which weights: timm:NAME, or a file"
        )
    timm_name = weights.removeprefix(PREFIX)
    state = _from_file(weights) if timm_name == weights else _from_timm(timm_name)
    own = encoder.state_dict()
    state = {name: weight for name, weight in state.items() if not name.endswith(COMPUTED)}
    state, resized = _resize(state, own)
    used = {name: weight for name, weight in state.items() if name in own}
    missing = sorted(set(own) - set(used))
    needed = [name for name in missing if not name.startswith(OPTIONAL)]
    _refuse_misfits(weights, used, own, needed, "embed_dim, depths and num_heads")
    encoder.load_state_dict(used, strict=False)
    log(
        f"encoder starts from {weights}: {len(used)} weights; missing, so started anew: "
        f"{_listed(missing)}; unexpected, so unused: {_listed(sorted(set(state) - set(used)))}; "
        f"resized: {_listed(resized)}"
    )


def _refuse_misfits(
    weights: str,
    used: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: list[str],
    suspect: str,
) -> None:
    shapes = [name for name in used if used[name].shape != own[name].shape]
    if shapes or missing:
        raise UserError(
            f"{KEY}: {weights} does not fit this encoder: {len(missing)} weights missing, "
            f"{len(shapes)} of another shape, first {(shapes or missing)[0]}; check {suspect}"
        )


def _from_timm(name: str) -> dict[str, Tensor]:
    tagged = timm().list_models("swin_*", pretrained=True)
    if name not in (*tagged, *timm().list_models("swin_*")):
        near = difflib.get_close_matches(name, tagged, n=1, cutoff=0)
        raise UserError(f"{KEY}: timm has no model {name}; nearest: {near[0]}")
    model = load_from_hub(
        f"timm:{name}", _NO_NETWORK, lambda: timm().create_model(name, pretrained=True)
    )
    return {f"body.{key}": value for key, value in model.state_dict().items()}


def _from_file(name: str) -> dict[str, Tensor]:
    weights = _read(name, "download Microsoft's swin_large_patch4_window12_384_22k.pth there")
    if own := _of_this_project(weights):
        return own
    if any(key.startswith("layers.3.downsample.") for key in weights):  # timm's names
        return {f"body.{key}": weight for key, weight in weights.items()}
    if not any(key.startswith("backbone.") for key in weights):  # Microsoft's names
        weights = {f"backbone.{key}": weight for key, weight in weights.items()}
    own, unused = from_published(weights, "backbone")
    return own | {name.removeprefix("backbone."): weights[name] for name in unused}


def _resize(
    state: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit position tables of another window size and a position embedding of another grid."""
    fitted, resized = dict(state), []
    for name, weight in state.items():
        if name not in own or weight.shape == own[name].shape:
            continue
        if name.endswith("relative_position_bias_table"):
            fitted[name] = _resize_table(weight, own[name])
            resized.append(name)
        elif name == "position" and weight.ndim == 4 and weight.shape[1] == own[name].shape[1]:
            size = tuple(own[name].shape[-2:])
            fitted[name] = F.interpolate(weight.float(), size=size, mode="bicubic")
            resized.append(name)
    return fitted, resized


def _resize_table(table: Tensor, like: Tensor) -> Tensor:
    """[(2 w - 1)^2, heads] of another window w; returned as it is if the heads differ."""
    if table.ndim != 2 or table.shape[1] != like.shape[1]:
        return table
    side = (int(like.shape[0] ** 0.5) + 1) // 2
    return timm().layers.resize_rel_pos_bias_table(table, (side, side), tuple(like.shape))


# Any network of timm


def _start_timm(encoder: TimmEncoder, weights: str, log: Log) -> None:
    if weights == "pretrained":
        weights = f"{PREFIX}{encoder.name}"
    own = encoder.body.state_dict()
    if weights.startswith(PREFIX):
        _check_reading(encoder.name, weights)
        found = _pretrained(encoder, weights.removeprefix(PREFIX))
    else:
        found = _read(weights, "name one, or `pretrained`")
        ours = _body_of(_of_this_project(found))
        if not ours:
            require_known_reading(encoder.name, _path(weights), "model.encoder.name", PREFIX)
        found = ours or found
    used = _by_name(own, found)
    how, misfit = "by name", _misfit(own, used)
    if misfit is not None:
        used, problem = _by_order(own, found)
        how = "by order"
        if problem is not None:
            raise UserError(
                f"{KEY}: {weights} does not fit timm:{encoder.name}: by name {misfit}; by order "
                f"{problem}"
            )
    encoder.body.load_state_dict(used, strict=False)
    log(
        f"encoder starts from {weights}: {how}: {len(used)} tensors; left over, so unused: "
        f"{_listed(_left_over(used, found))}; images with {reading_of(encoder.name)}"
    )


def _check_reading(name: str, weights: str) -> None:
    """The encoder reads images as its name says, which must be as its weights do."""
    own, theirs = reading_of(name), reading_of(weights.removeprefix(PREFIX))
    if own != theirs:
        raise UserError(
            f"{KEY}: {weights} reads images with {theirs}, {PREFIX}{name} with {own}; set "
            f"model.encoder.name={weights} {KEY}=pretrained"
        )


def _pretrained(encoder: TimmEncoder, name: str) -> Mapping[str, Tensor]:
    """timm's weights, fitted by timm to the image size."""
    body = load_from_hub(
        f"timm:{name}",
        _NO_NETWORK,
        lambda: create_body(name, encoder.image_size, pretrained=True),
    )
    return body.state_dict()


def _by_name(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the same name and shape; a module of features is `a_b` where timm has `a.b`.

    Some of timm's networks hold all of theirs in a module `model`.
    """
    plain = {_plain_name(name): weight for name, weight in found.items()}
    candidates = {name: plain.get(_plain_name(name)) for name in own}
    return {
        name: weight
        for name, weight in candidates.items()
        if weight is not None and weight.shape == own[name].shape
    }


def _plain_name(name: str) -> str:
    return name.removeprefix("model.").replace("_", ".")


def _misfit(own: Mapping[str, Tensor], used: Mapping[str, Tensor]) -> str | None:
    """What is missing, in words; a count of batches is no weight."""
    weights = [name for name in own if not name.endswith(COUNT)]
    missing = [name for name in weights if name not in used]
    if not missing:
        return None
    return f"{len(missing)} of {len(weights)} are missing or of another shape, first {missing[0]}"


def _by_order(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """The first, second, ... tensor of each; and, in words, where shapes or kinds part."""
    names = list(own)
    if not any(name.endswith(COUNT) for name in found):
        names = [name for name in names if not name.endswith(COUNT)]
    rest = len(found) - len(names)
    if not 0 <= rest <= MOST_LEFT_OVER:
        return {}, f"{len(found)} tensors cannot be {len(names)} and a classifier"
    used: dict[str, Tensor] = {}
    for number, (name, (other, weight)) in enumerate(zip(names, found.items(), strict=False), 1):
        kinds = {name.rpartition(".")[2], other.rpartition(".")[2]}
        if weight.shape != own[name].shape or (len(kinds) == 2 and kinds <= KINDS):
            return {}, (
                f"tensor {number} is {other} {list(weight.shape)}, not {name} "
                f"{list(own[name].shape)}"
            )
        used[name] = weight
    return used, None


def _left_over(used: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    taken = {id(weight) for weight in used.values()}
    return [name for name, weight in found.items() if id(weight) not in taken]


# Any other encoder


def _start_other(encoder: Encoder, weights: str, log: Log) -> None:
    if weights == "pretrained" or weights.startswith(PREFIX):
        raise UserError(
            f"{KEY}: {type(encoder).__name__} starts from files alone, not from {weights}; name a "
            "file, or set it to null"
        )
    found = _read(weights, "name a file of its state_dict")
    found = _of_this_project(found) or found
    own = encoder.state_dict()
    used = {name: weight for name, weight in found.items() if name in own}
    _refuse_misfits(weights, used, own, sorted(set(own) - set(used)), "what it was made for")
    encoder.load_state_dict(used)
    left_over = _listed(sorted(set(found) - set(used)))
    log(f"encoder starts from {weights}: {len(used)} tensors; left over, so unused: {left_over}")


# Files, and what all say


def _read(name: str, advice: str) -> dict[str, Tensor]:
    """The weights in a file of tensors (.pth, .pt, .safetensors); no pickled code runs."""
    path = _path(name)
    if not path.is_file():
        raise UserError(f"{KEY}: no file {path}; {advice}, or set it to null")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_safely(path)
    if isinstance(content.get("state_dict"), dict):  # as timm's and many training programs write
        content = {"model": content["state_dict"]}
    return published_file(content, path).weights


def _path(name: str) -> Path:
    return resolve_path(name.removeprefix("file:"), typed_by_hand=True)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{KEY}: cannot read {path}: {error}") from error


def _of_this_project(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder in a checkpoint of stage 3, of the joint network or of stage 2; else nothing."""
    for prefix in ("estimator.encoder.", "encoder."):
        own = {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)}
        if own:
            return own
    return {}


def _body_of(encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix("body."): w for k, w in encoder.items() if k.startswith("body.")}


def _listed(names: list[str]) -> str:
    """`none`, or how many and the first three."""
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
