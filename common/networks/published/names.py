"""The authors' weights under this project's names, and back; their files read without running code.

A published file is `torch.save({"model": weights, "global_step": ..., numpy scalars, ...})`, its
weights named `module.NAME`. Staged training writes three (stage 3 with its own fine-tuned stages 1
and 2), joint training one. `NAMES` says which prefix becomes which in the network that holds a
file's weights here, and is read in both directions. `UNUSED` says which weights nobody reads; those
are kept aside, so that the way back gives every bit again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.files import whole_file
from common.runtime.torchscript import is_archive, read_archive

# What a file holds. `prior`: the stage 1 file of a stage 3, whose own depth head nobody reads.
Kind = Literal["stage1", "stage2", "stage3", "prior", "joint", "backbone"]
State = dict[str, Tensor]
Pairs = tuple[tuple[str, str], ...]  # published prefix, own prefix; the first match counts


def _scenes(own: str) -> Pairs:
    return (
        ("mean", f"{own}mean"),
        ("deviation", f"{own}logvar"),
        *((f"vlayer.conv_{i}", f"{own}decoder.grid.{i}") for i in range(3)),
        *((f"ref_{k}.dw", f"{own}decoder.refine{k}") for k in (4, 3, 2)),
    )


def _encoder(own: str) -> Pairs:
    """A down-sampling layer is kept with the stage before it, in timm with the one after."""
    return (
        *((f"backbone.layers.{i}.downsample", f"{own}body.layers.{i + 1}.downsample")
          for i in range(3)),
        *((f"backbone.norm{i}", f"{own}norms.{i}") for i in range(4)),
        ("backbone.absolute_pos_embed", f"{own}position"),
        ("backbone", f"{own}body"),
    )  # fmt: skip


DECODER: Pairs = (  # what stage 3 and the joint network share
    *((f"up_{k}.conv.bt", f"up{k}.direct") for k in (4, 3, 2)),
    *((f"up_{k}.conv.conv1.0", f"up{k}.mix.1") for k in (4, 3, 2)),
    *((f"up_{k}.conv.conv2.0", f"up{k}.mix.4") for k in (4, 3, 2)),
    *((f"ref_{k}.fw", f"refine{k}.to_x") for k in (4, 3)),
    *((f"ref_{k}.dw", f"refine{k}.to_code") for k in (4, 3, 2)),
    ("mlayer.1.ln", "metric"),
    ("outc.conv", "depth_conv"),
)
NAMES: dict[Kind, Pairs] = {
    # TextVAE
    "stage1": (*_scenes("scenes."), ("mlayer.ln", "metric"), ("outc.conv", "depth_conv")),
    # SceneDistribution
    "prior": _scenes(""),
    # ConditionalSampler
    "stage2": (("eps_net", "eps"),),
    # DepthEstimator
    "stage3": (
        *_encoder("encoder."),
        *DECODER,
        ("vlayer.pred_depth.0", "first_code.0"),  # before the sigmoid
        ("vlayer.pred_depth.2", "first_code.2"),
        ("vlayer.post.0", "first_code.4"),  # after it
        ("vlayer.post.2", "first_code.6"),
        *((f"fuse_{k}.conv", f"fuse{k}") for k in range(5)),
    ),
    # JointDepth
    "joint": (
        *_encoder("encoder."),
        *DECODER,
        ("text_encoder.mean", "text.mean"),
        ("text_encoder.deviation", "text.logvar"),
        ("eps_layer.eps_net", "sampler.mix"),
        ("eps_layer.post", "sampler.eps"),
    ),
    # SwinEncoder
    "backbone": _encoder(""),
}

# Regular expression of a published name, and why this project does not use it.
NOT_WEIGHTS = (r".*\.(relative_position_index|attn_mask)", "computed from the window size")
NEVER_READ = "the published network never reads it"
LAST_X = (r"ref_2\.fw\..*", "nothing reads the image features after the last refinement")
UNUSED: dict[Kind, Pairs] = {
    "stage1": (),
    "prior": ((r"(mlayer\.ln|outc\.conv)\..*", "stage 1's own depth head; stage 3 has another"),),
    "stage2": (),
    "stage3": (
        NOT_WEIGHTS,
        LAST_X,
        (r".*\.co_lambda", NEVER_READ),
        (r"vlayer\.text_process\..*", NEVER_READ),
        (r"ref_[432]\.text_tran_dim\..*", NEVER_READ),
    ),
    "joint": (NOT_WEIGHTS, LAST_X),
    "backbone": (NOT_WEIGHTS, (r"(?!backbone\.).*", "not part of the encoder")),
}
UNKNOWN = "unknown: not part of the published network"

SIGNATURES: tuple[tuple[str, Kind], ...] = (  # two for each, so that a damaged file is known too
    ("eps_layer.", "joint"),
    ("text_encoder.", "joint"),
    ("fuse_", "stage3"),
    ("vlayer.pred_depth.", "stage3"),
    ("backbone.", "backbone"),
    ("eps_net.", "stage2"),
    ("deviation.", "stage1"),
)
IDENTITY = {"standardize.mean": torch.zeros, "standardize.std": torch.ones}  # not in their networks


@dataclass(frozen=True)
class PublishedFile:
    """weights: without the `module.` prefix; entries: the rest of the file as plain values."""

    weights: State
    entries: dict[str, Any]


def from_published(state: Mapping[str, Tensor], kind: Kind) -> tuple[State, dict[str, str]]:
    """Rename weights; returns them under their own names, and why each other one is not used."""
    own: State = {}
    unused: dict[str, str] = {}
    for name, weight in state.items():
        reason = _why_unused(name, kind)
        new_name = _rename(name, NAMES[kind])
        if reason is None and new_name is not None:
            own[new_name] = weight
        else:
            unused[name] = reason or UNKNOWN
    return own, unused


def to_published(own: Mapping[str, Tensor], kept_aside: Mapping[str, Tensor], kind: Kind) -> State:
    """Undo `from_published`. kept_aside: the unused weights of the same file."""
    state = dict(kept_aside)
    for name, weight in own.items():
        if _identity_of(name) is not None:
            _refuse_statistics(name, weight)
        else:
            state[published_name(name, kind)] = weight
    return state


def published_name(name: str, kind: Kind) -> str:
    """The published name of this project's weight; ValueError if the network has no such weight."""
    new_name = _rename(name, tuple((own, published) for published, own in NAMES[kind]))
    if new_name is None:
        raise ValueError(f"a published {kind} file has no weight for {name}")
    return new_name


def complete(
    own: State, wanted: Mapping[str, Tensor], kind: Kind, where: str
) -> tuple[State, dict[str, str]]:
    """Check `own` against a network's weights and add the identities only this project has.

    wanted: the network's state dict, of which names and shapes are read (meta tensors will do).
    where: the file, for errors. Returns the whole state, and why some of `own` is not in it.
    """
    full: State = {}
    for name, like in wanted.items():
        identity = _identity_of(name)
        if identity is not None:
            full[name] = identity(like.shape)
            continue
        known_as = published_name(name, kind)
        if name not in own:
            raise UserError(f"{where}: the weight {known_as} is missing; the file is incomplete")
        if own[name].shape != like.shape:
            raise UserError(
                f"{where}: {known_as} is {list(own[name].shape)}, the network that the other "
                f"weights describe needs {list(like.shape)}"
            )
        full[name] = own[name]
    return full, {published_name(name, kind): UNKNOWN for name in own if name not in full}


def detect_kind(state: Mapping[str, Tensor]) -> Kind | None:
    """Which published network the names belong to; None: none of them."""
    for prefix, kind in SIGNATURES:
        if any(name.startswith(prefix) for name in state):
            return kind
    return None


def read_safely(path: Path) -> dict[str, Any]:
    """Load a file of tensors, plain values and numpy numbers, or the tensors of an archive.

    No pickled code and no TorchScript runs.
    """
    try:
        if path.is_file() and is_archive(path):
            return dict(read_archive(path))
        with torch.serialization.safe_globals(_numpy_types()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except Exception as error:  # reading damaged bytes fails in many ways
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{path} holds pickled code ({code[1]}); it was not run and the file is refused"
            if code
            else f"cannot read {path}: it is damaged, or holds more than tensors and numbers "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(content).__name__}")
    return content


def published_file(content: dict[str, Any], path: Path) -> PublishedFile:
    """Split a file's content; a bare dict of weights will do. path: for errors."""
    weights = content.get("model", content)
    named = isinstance(weights, dict) and bool(weights)
    if not named or not all(isinstance(w, Tensor) for w in weights.values()):
        raise UserError(f"{path} is not a published checkpoint: it has no weights under 'model'")
    rest = content if weights is not content else {}
    return PublishedFile(
        {name.removeprefix("module."): weight for name, weight in weights.items()},
        {key: _plain(value) for key, value in rest.items() if key != "model"},
    )


def write_published(path: Path, file: PublishedFile) -> None:
    """Write what `read_safely` and `published_file` read, whole or not at all."""
    weights = {f"module.{name}": weight for name, weight in file.weights.items()}
    with whole_file(path, RuntimeError) as temporary:  # torch.save's own writer knows no OSError
        torch.save({"model": weights, **file.entries}, temporary)


def _rename(name: str, pairs: Pairs) -> str | None:
    for old, new in pairs:
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None


def _why_unused(name: str, kind: Kind) -> str | None:
    for pattern, reason in UNUSED[kind]:
        if re.fullmatch(pattern, name):
            return reason
    return None


def _identity_of(name: str) -> Any:
    return next((make for end, make in IDENTITY.items() if name.endswith(end)), None)


def _refuse_statistics(name: str, weight: Tensor) -> None:
    if not torch.equal(weight, _identity_of(name)(weight.shape)):
        raise UserError(
            f"{name} is not the identity: a network that standardizes its features "
            "has no published form"
        )


def _numpy_types() -> list[Any]:
    """What pickled numbers and arrays are made of, under the module names of numpy 1 and 2.

    Arrays of objects stay forbidden, as their type is not named.
    """
    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    named = [(make, f"{module}.{name}") for name, make in makers.items() for module in modules]
    kinds = [type(np.dtype(code)) for code in "?bhilqBHILQefd"]
    return [*named, np.ndarray, np.dtype, *kinds]


def _plain(value: Any) -> Any:
    """Numpy numbers as Python's and arrays as tensors, through lists, tuples and dicts."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, list | tuple):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return value
