"""A pack against its own checksums: is every shard there, whole, and of this pack?"""

import hashlib
from pathlib import Path

from common.errors import UserError
from common.progress import tracked
from common.shards import Shards, read_about

_BLOCK = 2**22


def check_pack(folder: Path) -> list[str]:
    """What is wrong with it, a line for each shard."""
    Shards(str(folder)).find("")  # opens the index
    return [
        f"{folder / shard['file']}: {problem}"
        for shard in tracked(read_about(folder)["shards"], "checking shards", stays=False)
        if (problem := _problem(folder / shard["file"], shard["bytes"], shard["sha256"]))
    ]


def _problem(path: Path, num_bytes: int, sha256: str) -> str | None:
    digest = hashlib.sha256()
    try:
        found = path.stat().st_size
        if found != num_bytes:
            return f"it has {found} bytes, not {num_bytes}"
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None if digest.hexdigest() == sha256 else "its contents are not what was packed"


def refuse_damaged(folder: Path) -> None:
    """Raise a `UserError` about the first shard that is not as it was packed."""
    problems = check_pack(folder)
    if problems:
        raise UserError(
            f"{problems[0]} ({len(problems)} shard(s) in all); copy them again, or pack anew"
        )
