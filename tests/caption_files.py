"""Caption files that tests write."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_file(path: Path, captions: Mapping[str, str | Sequence[str]]) -> Path:
    """A line for each image, with its caption or its captions."""
    lines = (
        {"image": key, ("caption" if isinstance(own, str) else "captions"): own}
        for key, own in captions.items()
    )
    path.write_text("\n".join(map(json.dumps, lines)))
    return path
