"""Code that exists for speed: in each file the plain form first, then the fast one, equal by test.

    with plain("folded-head"):
        ...  # networks take the plain form here; plain() alone: of everything

The switch is for benchmarks and tests. It is read when a network runs, not when it is built.
"""

from collections.abc import Iterator
from contextlib import contextmanager

FAST_FORMS = (
    "folded-head",  # depth_head.py
    "matrix-upsampling",  # upsampling.py
    "attention-in-blocks",  # window_attention.py
    "cells-only",  # window_attention.py
    "fast-linear",  # linear.py
)
_plain_forms: frozenset[str] = frozenset()


def takes_plain(name: str) -> bool:
    """Whether the form of this name is to be the plain one now."""
    return name in _plain_forms


@contextmanager
def plain(*names: str) -> Iterator[None]:
    """Take the plain forms of these names (see `FAST_FORMS`), or of all, inside the block."""
    global _plain_forms
    if unknown := set(names) - set(FAST_FORMS):
        raise ValueError(f"no fast form {', '.join(sorted(unknown))}; there are {FAST_FORMS}")
    before = _plain_forms
    _plain_forms = before | frozenset(names or FAST_FORMS)
    try:
        yield
    finally:
        _plain_forms = before
