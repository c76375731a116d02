"""What this machine's processor can do; PyTorch tells it in recent versions only."""

from functools import cache
from pathlib import Path


@cache
def processor_features() -> frozenset[str]:
    """Linux's names for the maker (`GenuineIntel`) and abilities (`avx512_bf16`), else none."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()
