"""Text that can always be written, whatever the names in it.

The name of a file is bytes, which need not be UTF-8. Python reads such bytes as halves of
characters (`os.fsdecode`), which no text file may hold. Where names are read again, they keep their
bytes (`to_bytes`, `to_text`). Text for people, and JSON, has `\\udce9` for the byte E9.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.files import whole_file
from common.progress import progress_bar

_BLOCK = 2**20  # bytes
ESCAPED = "backslashreplace"  # the `errors` of a text file for people


def to_bytes(text: str) -> bytes:
    """UTF-8; a file's name in it as the bytes it has on disk. ValueError for half a character."""
    return text.encode("utf-8", "surrogateescape")


def to_text(data: bytes | memoryview) -> str:
    """Undo `to_bytes`; any bytes will do."""
    return str(data, "utf-8", "surrogateescape")


def is_whole_text(text: str) -> bool:
    """Whether all of it is characters: no half of one, and no byte of a name that is not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_blocks(content: bytes, title: str) -> Iterator[str]:
    """A long text in parts of whole lines, see `to_text`; a bar shows how far they are."""
    start = 0
    with progress_bar(title, len(content), unit="B", stays=False) as bar:
        while start < len(content):
            end = content.find(b"\n", start + _BLOCK) + 1 or len(content)
            yield to_text(content[start:end])
            bar.update(end - start)
            start = end


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """A name in UTF-8 for the file: its own, or a link's, for libraries that take no other."""
    if is_whole_text(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, f"link{path.suffix}")
        link.symlink_to(path.absolute())
        yield link


def write_text(path: Path, text: str) -> None:
    """Write a text file for people, or JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ESCAPED, newline="\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON for people and programs, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")
