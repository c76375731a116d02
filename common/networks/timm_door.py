"""The one way to timm, whose import takes as long as torch's: it brings torchvision and Dynamo.

Only networks and weights that are named `timm:NAME` need it; the published Swin is written out in
`swin_parts.py`.
"""

from typing import Any


def timm() -> Any:
    """The library."""
    import timm

    return timm
