"""The published evaluation protocols: what is scored, in which frame.

A protocol says how prediction and ground truth come into one frame and which part of it is scored.
Every number depends on it, so every result names its protocol.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from common.evaluation.metrics import MIN_DEPTH
from common.images.crops import KB_SIZE, NYU_SIZE, bottom_window


class ProtocolMismatch(UserError):
    """An image of a size that the protocol does not know; its message names the config key."""

    def naming_option(self) -> UserError:
        """The same for `eval.py`, whose `--protocol` wins over the key."""
        return UserError(str(self).replace("eval.protocol=", "--protocol "))


@dataclass(frozen=True)
class Protocol:
    """How an image is scored.

    align: (pred [H, W], gt [h, w], image name) -> both in one frame, [h', w'] each.
    crop: (h', w') -> the scored rows and columns of that frame.
    """

    name: str
    align: Callable[[Tensor, Tensor, str], tuple[Tensor, Tensor]]
    crop: Callable[[int, int], tuple[slice, slice]]


def resize_to_gt(pred_depth: Tensor, gt_depth: Tensor, image: str) -> tuple[Tensor, Tensor]:
    """Resize the prediction to the ground truth's size (bilinear, not `align_corners`)."""
    if pred_depth.shape != gt_depth.shape:
        size = tuple(gt_depth.shape)
        pred_depth = F.interpolate(
            pred_depth[None, None], size, mode="bilinear", align_corners=False
        )[0, 0]
    return pred_depth, gt_depth


def resize_to_nyu(pred_depth: Tensor, gt_depth: Tensor, image: str) -> tuple[Tensor, Tensor]:
    """Resize the prediction to the ground truth, which must be 480x640."""
    if tuple(gt_depth.shape) != NYU_SIZE:
        raise ProtocolMismatch(
            f"{image}: protocol nyu_eigen needs {_size(NYU_SIZE)} ground truth, this one is "
            f"{_size(gt_depth.shape)}; use eval.protocol=none"
        )
    return resize_to_gt(pred_depth, gt_depth, image)


def paste_in_full_frame(pred_depth: Tensor, gt_depth: Tensor, image: str) -> tuple[Tensor, Tensor]:
    """Paste a KB-crop prediction back into KITTI's full frame; a full-frame one stays as it is.

    Outside the pasted part the frame is 0, as in the offline evaluation of BTS. At KITTI's frame
    sizes both evaluation crops lie inside the pasted part; in another frame where they did not,
    such pixels would be scored as the least depth and counted as clamped.
    """
    if pred_depth.shape == gt_depth.shape:
        return pred_depth, gt_depth
    rows, cols = _kb_crop(pred_depth, gt_depth, image)
    frame = pred_depth.new_zeros(gt_depth.shape)
    frame[rows, cols] = pred_depth
    return frame, gt_depth


def crop_to_kb(pred_depth: Tensor, gt_depth: Tensor, image: str) -> tuple[Tensor, Tensor]:
    """KB-crop the ground truth, and the prediction too where it is full-frame."""
    rows, cols = _kb_crop(pred_depth, gt_depth, image)
    if pred_depth.shape == gt_depth.shape:
        pred_depth = pred_depth[rows, cols]
    return pred_depth, gt_depth[rows, cols]


def _kb_crop(pred_depth: Tensor, gt_depth: Tensor, image: str) -> tuple[slice, slice]:
    """Return the rows and columns of KITTI's 352x1216 crop: bottom, centered horizontally."""
    window = bottom_window(*gt_depth.shape)
    if window is None:
        raise ProtocolMismatch(
            f"{image}: KITTI protocols need ground truth of at least {_size(KB_SIZE)}, this "
            f"one is {_size(gt_depth.shape)}; use eval.protocol=none"
        )
    if tuple(pred_depth.shape) not in (KB_SIZE, tuple(gt_depth.shape)):
        raise ProtocolMismatch(
            f"{image}: KITTI protocols need a {_size(KB_SIZE)} prediction or one of the full "
            f"{_size(gt_depth.shape)} frame, this one is {_size(pred_depth.shape)}; set "
            "data.height and data.width, or use eval.protocol=none"
        )
    return window


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _whole_crop(height: int, width: int) -> tuple[slice, slice]:
    return slice(0, height), slice(0, width)


def _nyu_eigen_crop(height: int, width: int) -> tuple[slice, slice]:
    return slice(45, 471), slice(41, 601)


def _fractional_crop(
    height: int, width: int, rows: tuple[float, float], cols: tuple[float, float]
) -> tuple[slice, slice]:
    top, bottom = (int(fraction * height) for fraction in rows)
    left, right = (int(fraction * width) for fraction in cols)
    return slice(top, bottom), slice(left, right)


_garg_crop = partial(_fractional_crop, rows=(0.40810811, 0.99189189), cols=(0.03594771, 0.96405229))
_kitti_eigen_crop = partial(
    _fractional_crop, rows=(0.3324324, 0.91351351), cols=(0.0359477, 0.96405229)
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("nyu_eigen", resize_to_nyu, _nyu_eigen_crop),
        Protocol("kitti_garg_full", paste_in_full_frame, _garg_crop),  # BTS, offline
        Protocol("kitti_garg_kbcrop", crop_to_kb, _garg_crop),  # NeWCRFs, VA-DepthNet, WorDepth
        Protocol("kitti_eigen_full", paste_in_full_frame, _kitti_eigen_crop),
        Protocol("none", resize_to_gt, _whole_crop),
    )
}


def find_protocol(name: str, is_cropped: bool = False) -> Protocol:
    """Return the protocol of that name.

    is_cropped: the network saw KITTI's crop of each image. Then `none` scores in this crop too: to
    stretch the prediction over the full frame would compare different places.
    """
    if name not in PROTOCOLS:
        raise UserError(describe_unknown(name))
    protocol = PROTOCOLS[name]
    if is_cropped and protocol.align is resize_to_gt:
        return replace(protocol, align=crop_to_kb)
    return protocol


def describe_unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0)[0]
    return f"unknown protocol '{name}', did you mean '{nearest}'? (all: {', '.join(PROTOCOLS)})"


def cropped(depth: Tensor, protocol: Protocol) -> Tensor:
    """The part of a map [h, w], in the protocol's frame, that the protocol looks at."""
    return depth[protocol.crop(*depth.shape)]


def valid_mask(gt_depth: Tensor, protocol: Protocol, max_depth: float) -> Tensor:
    """Return the scored pixels: inside the protocol's crop and 1e-3 < gt < max_depth.

    gt_depth: [h, w], meters, already in the protocol's frame (KB-cropped for `kitti_garg_kbcrop`).
    """
    rows, cols = protocol.crop(*gt_depth.shape)
    valid = torch.zeros_like(gt_depth, dtype=torch.bool)
    valid[rows, cols] = (gt_depth[rows, cols] > MIN_DEPTH) & (gt_depth[rows, cols] < max_depth)
    return valid
