"""Start a Swin encoder from published weights: Microsoft's `.pth` files or timm's by name."""

import difflib
from collections.abc import Callable

import timm
import torch
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from common.config import resolve_path
from common.errors import UserError
from common.swin import SwinEncoder

# Functions of the window size, or heads this encoder does not have.
NOT_WEIGHTS = ("relative_position_index", "attn_mask", "head.", "norm.")


def start_from(encoder: SwinEncoder, weights: str | None, log: Callable[[str], None]) -> None:
    """Load `weights` (a `.pth` file, or `timm:NAME`) in place and log what did not fit."""
    if weights is None:
        return
    state = _from_timm(weights[5:]) if weights.startswith("timm:") else _from_file(weights)
    wanted = encoder.body.state_dict()
    state, resized = _fit_windows(state, wanted)
    unexpected = sorted(set(state) - set(wanted))
    missing = sorted(set(wanted) - set(state) - {k for k in wanted if _is_not_a_weight(k)})
    shapes = [k for k in state if k in wanted and state[k].shape != wanted[k].shape]
    if shapes or missing:
        first = (shapes or missing)[0]
        raise UserError(
            f"model.encoder.weights: {weights} does not fit this encoder: {len(missing)} "
            f"weights missing, {len(shapes)} of another shape, first {first}"
        )
    encoder.body.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
    log(
        f"encoder starts from {weights}: {len(state) - len(unexpected)} weights, {len(resized)} "
        f"position tables resized, unused: {', '.join(unexpected) or 'none'}"
    )


def _from_timm(name: str) -> dict[str, Tensor]:
    if name.partition(".")[0] not in timm.list_models("swin_*"):
        near = difflib.get_close_matches(name, timm.list_models("swin_*", pretrained=True), n=1)
        raise UserError(
            f"model.encoder.weights: timm has no model {name}; nearest: {', '.join(near)}"
        )
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub's own errors are of many kinds
        raise UserError(
            f"model.encoder.weights: cannot download timm:{name} ({type(error).__name__}); "
            "check the network, or give a .pth file"
        ) from error
    return {k: v for k, v in model.state_dict().items() if not _is_not_a_weight(k)}


def _from_file(name: str) -> dict[str, Tensor]:
    path = resolve_path(name, typed_by_hand=True)
    if not path.is_file():
        raise UserError(
            f"model.encoder.weights: no file {path}; download Microsoft's "
            "swin_large_patch4_window12_384_22k.pth there, or set it to null"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"model.encoder.weights: cannot read {path}: {type(error).__name__}"
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else {}
    return dict(_rename(k, v) for k, v in state.items() if not _is_not_a_weight(k))


def _rename(key: str, value: Tensor) -> tuple[str, Tensor]:
    """Microsoft keeps a down-sampling layer with the stage before it, timm with the one after."""
    head, middle, rest = key.partition(".downsample.")
    if middle:
        index = int(head.rpartition(".")[2])
        key = f"layers.{index + 1}.downsample.{rest}"
    return key, value


def _is_not_a_weight(key: str) -> bool:
    return any(key.startswith(p) or key.endswith(p) for p in NOT_WEIGHTS)


def _fit_windows(
    state: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Resize relative position tables of another window size."""
    fitted, resized = dict(state), []
    for key, table in state.items():
        if not key.endswith("relative_position_bias_table") or key not in wanted:
            continue
        target = wanted[key].shape
        if table.shape != target:
            side = (int(target[0] ** 0.5) + 1) // 2
            fitted[key] = resize_rel_pos_bias_table(table, (side, side), target)
            resized.append(key)
    return fitted, resized
