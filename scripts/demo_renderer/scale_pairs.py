"""What pixels alone can tell of the demo's rooms, whose pairs share a picture and not a scale."""

from __future__ import annotations

import json
from pathlib import Path

MINIATURE_DIVISOR = 4  # a room's depths are so many times those of its miniature


def pixels_only_bound(scale: float) -> float:
    """The lowest mean AbsRel of one answer p for depths d and d / scale of the same picture.

    (|p - d| / d + |p - d / scale| / (d / scale)) / 2 is least at p = d / scale, in every pixel:
    no error on the smaller scene, 1 - 1 / scale on the larger.
    """
    return (1.0 - 1.0 / scale) / 2.0


PIXELS_ONLY_BOUND = pixels_only_bound(MINIATURE_DIVISOR)  # 0.375


def bound_of_data(root: Path) -> float | None:
    """The bound for the validation and test split of a data root; None: it is not demo rooms."""
    try:
        content = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
        kind = content["settings"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return PIXELS_ONLY_BOUND if kind == "rooms" else None
