"""Start a Swin encoder from weights that exist: `model.encoder.weights` names them.

    timm:NAME                               timm's weights, downloaded once; or its file by path
    swin_large_patch4_window12_384_22k.pth  Microsoft's files, with or without the classifier
    a published depth network's file        its backbone, norms and position embedding included
    a file of scripts/convert_checkpoint.py, or a stage 2 or 3 checkpoint of this project

Nothing pickled in a file is run. Tables of another window size and position embeddings of another
image size are resized; what was missing, left over or resized is logged by name.
"""

import difflib
from collections.abc import Callable, Mapping

import timm
import torch.nn.functional as F
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from common.config import resolve_path
from common.errors import UserError
from common.networks.published.names import from_published, published_file, read_safely
from common.networks.swin import SwinEncoder

KEY = "model.encoder.weights"
COMPUTED = ("relative_position_index", "attn_mask")  # from the window size
OPTIONAL = ("norms.", "position")  # no part of a classifier: an encoder may start them anew


def start_from(encoder: SwinEncoder, weights: str | None, log: Callable[[str], None]) -> None:
    """Load `weights` (see the module's docstring) in place and log what did not fit."""
    if weights is None:
        return
    state = _from_timm(weights[5:]) if weights.startswith("timm:") else _from_file(weights)
    own = encoder.state_dict()
    state = {name: weight for name, weight in state.items() if not name.endswith(COMPUTED)}
    state, resized = _resize(state, own)
    used = {name: weight for name, weight in state.items() if name in own}
    missing = sorted(set(own) - set(used))
    _refuse_misfits(weights, used, own, [name for name in missing if not name.startswith(OPTIONAL)])
    encoder.load_state_dict(used, strict=False)
    log(
        f"encoder starts from {weights}: {len(used)} weights; missing, so started anew: "
        f"{_listed(missing)}; unexpected, so unused: {_listed(sorted(set(state) - set(used)))}; "
        f"resized: {_listed(resized)}"
    )


def _refuse_misfits(
    weights: str, used: Mapping[str, Tensor], own: Mapping[str, Tensor], missing: list[str]
) -> None:
    shapes = [name for name in used if used[name].shape != own[name].shape]
    if shapes or missing:
        raise UserError(
            f"{KEY}: {weights} does not fit this encoder: {len(missing)} weights missing, "
            f"{len(shapes)} of another shape, first {(shapes or missing)[0]}; check embed_dim, "
            "depths and num_heads"
        )


def _from_timm(name: str) -> dict[str, Tensor]:
    tagged = timm.list_models("swin_*", pretrained=True)
    if name not in (*tagged, *timm.list_models("swin_*")):
        near = difflib.get_close_matches(name, tagged, n=1, cutoff=0)
        raise UserError(f"{KEY}: timm has no model {name}; nearest: {near[0]}")
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's own errors are of many kinds
        raise UserError(
            f"{KEY}: cannot download timm:{name} ({type(error).__name__}); "
            "check the network, or give a .pth file"
        ) from error
    return {f"body.{key}": value for key, value in model.state_dict().items()}


def _from_file(name: str) -> dict[str, Tensor]:
    path = resolve_path(name, typed_by_hand=True)
    if not path.is_file():
        raise UserError(
            f"{KEY}: no file {path}; download Microsoft's "
            "swin_large_patch4_window12_384_22k.pth there, or set it to null"
        )
    weights = published_file(read_safely(path), path).weights
    for prefix in ("estimator.encoder.", "encoder."):  # this project's stage 3; joint or stage 2
        own = {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)}
        if own:
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
    return resize_rel_pos_bias_table(table, (side, side), tuple(like.shape))


def _listed(names: list[str]) -> str:
    """`none`, or how many and the first three."""
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
