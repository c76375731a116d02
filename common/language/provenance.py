"""What a packed feature file says of how it was made, in lines for a log."""

from collections.abc import Mapping
from typing import Any


def describe_provenance(origin: Mapping[str, Any] | None) -> list[str]:
    """How a file of weights was read, and captions that the encoder read in part only."""
    origin = origin or {}
    encoder = origin.get("encoder", "the encoder")
    lines = []
    if "weights_read_as" in origin:
        lines.append(f"weights of {encoder} read as {origin['weights_read_as']}")
    if origin.get("num_cut"):
        lines.append(
            f"{origin['num_cut']} distinct captions are longer than what {encoder} "
            "reads; it read their beginning"
        )
    return lines
