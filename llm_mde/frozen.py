"""Checkpoints without the frozen weights: those are named, and their content's hash is kept.

A checkpoint then holds adapters, projections, head and buffers, and loads only beside exactly the
frozen weights it was trained with. Ours: the language model and the ViT are much larger than the
rest, and their names say where they are. An encoder of `model.encoder` is held whole.
"""

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.config import REPO_ROOT
from common.errors import UserError


def frozen_sha256(module: nn.Module) -> str:
    """Hash of names and values of the frozen parameters."""
    digest = hashlib.sha256()
    for name, parameter in sorted(module.named_parameters()):
        if not parameter.requires_grad:
            digest.update(name.encode())
            values = parameter.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(values.numpy().data)
    return digest.hexdigest()


def portable_path(path: Path) -> str:
    """How a checkpoint names an absolute path: relative to the repository if it lies there."""
    return str(path.relative_to(REPO_ROOT) if path.is_relative_to(REPO_ROOT) else path)


def leave_out_frozen(module: nn.Module, parts: Iterable[nn.Module]) -> None:
    """`module.state_dict()` will lack the parts' frozen parameters, and loading ask for none."""
    inside = {id(p) for part in parts for p in part.parameters() if not p.requires_grad}
    names = frozenset(name for name, p in module.named_parameters() if id(p) in inside)
    module.register_state_dict_post_hook(partial(_drop, names=names))
    module.register_load_state_dict_post_hook(partial(_excuse, names=names))


def _drop(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any, names: frozenset[str]
) -> None:
    for name in names:
        state.pop(prefix + name, None)


def _excuse(module: nn.Module, keys: Any, names: frozenset[str]) -> None:
    keys.missing_keys[:] = [key for key in keys.missing_keys if key not in names]


def check_frozen(saved: dict[str, str], own: dict[str, str], names: dict[str, str]) -> None:
    """Raise `UserError` when a part's frozen weights are not those the checkpoint was made with.

    All three by part; names: what the part was loaded from.
    """
    for part, digest in saved.items():
        if digest != own.get(part):
            raise UserError(
                f"the frozen weights of {part} ({names.get(part)}) are not those this checkpoint "
                f"was trained with: sha256 {str(own.get(part))[:12]} instead of {digest[:12]}; "
                "bring back the weights of that time, or use a checkpoint made with --merge"
            )
