"""What a packed feature file says of how it was made, in lines for a log."""

from collections.abc import Mapping
from typing import Any

from common.language.caption_length import describe_cut


def describe_provenance(origin: Mapping[str, Any] | None) -> list[str]:
    """How a file of weights was read, and captions that the encoder read in part only."""
    origin = origin or {}
    encoder = origin.get("encoder", "the encoder")
    lines = []
    if "weights_read_as" in origin:
        lines.append(f"weights of {encoder} read as {origin['weights_read_as']}")
    if line := describe_cut(origin, encoder):
        lines.append(line)
    return lines
