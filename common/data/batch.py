"""What a network is given: one image's item, and a batch of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError


@dataclass(frozen=True)
class Item:
    """One image. `position` counts the samples of the whole run, in evaluation those of the split.

    image: float32 [3, H, W], ImageNet-normalized. gt_depth: float32 [1, H, W], meters, 0 = no
    measurement; in evaluation [1, h, w], as filed; None: there is none. text_feature: float32 [D].
    image_feature: float32 [E]. other_captions: where all captions of an image are evaluated, those
    after the first; other_features: theirs, [K - 1, D].
    """

    image: Tensor
    gt_depth: Tensor | None
    text_feature: Tensor | None
    image_feature: Tensor | None
    caption: str
    key: str
    position: int
    other_captions: tuple[str, ...] = ()
    other_features: Tensor | None = None


@dataclass(frozen=True)
class Failure:
    """An image that could not be read, or not be scored; `error` names the file and the reason."""

    image: str  # its key
    error: UserError
    position: int = 0  # in training: see `Item`


@dataclass(frozen=True)
class Batch:
    """B images: tensors stacked, strings as lists.

    image: [B, 3, H, W]. gt_depth: [B, 1, H, W], meters, 0 = no measurement; in evaluation a list of
    B maps [1, h, w], whose sizes may differ. text_feature: [B, D] and image_feature: [B, E], or
    None. position: int64 [B]. other_captions, other_features: of each image, see `Item`.
    """

    image: Tensor
    gt_depth: Any
    text_feature: Tensor | None
    image_feature: Tensor | None
    caption: list[str]
    key: list[str]
    position: Tensor
    other_captions: list[tuple[str, ...]] = field(default_factory=list)
    other_features: list[Tensor | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.image.shape[-2], self.image.shape[-1]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on `device`; a list of ground truth stays where it is."""
        return self._each_tensor(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in memory that a GPU can copy from on its own; called by the loader."""
        return self._each_tensor(Tensor.pin_memory)

    def share_memory(self) -> None:
        """Move the tensors, in place, to memory that another process reads without a copy."""
        for value in vars(self).values():
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, Tensor):
                    tensor.share_memory_()

    def flipped(self) -> "Batch":
        """The mirrored images, for test-time averaging; the ground truth stays as it is."""
        return replace(self, image=self.image.flip(-1))

    def rewordings(self) -> Iterator[tuple[list[int], "Batch"]]:
        """The images that have a second caption, and the batch of these with it; then a third..."""
        pairs = zip(self.other_captions, self.other_features, strict=True)
        counts = [len(captions if features is None else features) for captions, features in pairs]
        for number in range(max(counts, default=0)):
            rows = [row for row, count in enumerate(counts) if count > number]
            yield rows, self._reworded(rows, number)

    def _reworded(self, rows: list[int], number: int) -> "Batch":
        """The images `rows` with other caption `number`, counted from 0."""
        captions = [self.other_captions[row] for row in rows]
        features = [self.other_features[row] for row in rows]
        return Batch(
            image=self.image[rows],
            gt_depth=[self.gt_depth[row] for row in rows],
            text_feature=_stack([None if f is None else f[number] for f in features]),
            image_feature=None if self.image_feature is None else self.image_feature[rows],
            caption=[c[number] if c else "" for c in captions],
            key=[self.key[row] for row in rows],
            position=self.position[rows],
        )

    def _each_tensor(self, change: Any) -> "Batch":
        tensors = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **tensors)


def collate_train(items: Sequence[Item]) -> Batch:
    """A batch whose ground truth is one tensor."""
    return _collate(items, _stack([item.gt_depth for item in items]))


def collate_eval(items: Sequence[Item]) -> Batch:
    """A batch whose ground truth is a list: its sizes may differ, and it may be missing."""
    return _collate(items, [item.gt_depth for item in items])


def _collate(items: Sequence[Item], gt_depth: Any) -> Batch:
    return Batch(
        image=torch.stack([item.image for item in items]),
        gt_depth=gt_depth,
        text_feature=_stack([item.text_feature for item in items]),
        image_feature=_stack([item.image_feature for item in items]),
        caption=[item.caption for item in items],
        key=[item.key for item in items],
        position=torch.tensor([item.position for item in items]),
        other_captions=[item.other_captions for item in items],
        other_features=[item.other_features for item in items],
    )


def _stack(tensors: list[Tensor | None]) -> Tensor | None:
    """None where no item has one."""
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if present else None
