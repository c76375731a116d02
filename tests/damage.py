"""Ways to damage a file."""

from pathlib import Path


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Turn one bit over."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Take off its last hundred bytes."""
    path.write_bytes(path.read_bytes()[:-100])
