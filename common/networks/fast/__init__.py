"""Code that exists for speed: in each file the plain form first, then the fast one, equal by test.

    with plain("folded-head"):
        ...  # networks take the plain form here; plain() alone: of everything

The switch is for benchmarks, tests, and exports, whose sizes are not known. It is read when a
network runs, not when it is built.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, TypeVar

import torch

FAST_FORMS = (
    "folded-head",  # depth_head.py
    "matrix-upsampling",  # upsampling.py
    "attention-in-blocks",  # window_attention.py
    "cells-only",  # window_attention.py
    "window-kernel",  # window_kernel.py
    "fast-linear",  # linear.py
    "kept-tables",  # below
    "compiler-proof",  # common/networks/layers.py
)
_plain_forms: frozenset[str] = frozenset()
F = TypeVar("F", bound=Callable)


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


class _Tables:
    """Has an attribute for every result that a compiled graph reads."""


_tables = _Tables()


def kept(count: int) -> Callable[[F], F]:
    """Keep the last `count` results of a function of sizes and device: masks, orders, matrices.

    `torch.compile` would look through a plain `lru_cache`, compute all of them on the CPU in every
    step, and copy them to the device. To a compiled graph each is an input with a name of its own.
    """

    def decorate(function: F) -> F:
        # What is kept in an evaluation must do for training too.
        cached = lru_cache(count)(torch.inference_mode(False)(function))
        names: dict[Any, str] = {}

        def name_of(*arguments: Any) -> str:
            """Called while a graph is made, and only then: put the result where the graph reads."""
            name = names.setdefault(arguments, f"{function.__name__}_{len(names)}")
            setattr(_tables, name, cached(*arguments))
            return name

        # What `torch.compiler.assume_constant_result` sets, which takes a second to import. On
        # `table` itself it would do for one result only: a graph cannot tell two of them apart.
        name_of._dynamo_marked_constant = True  # type: ignore[attr-defined]

        @wraps(function)
        def table(*arguments: Any) -> Any:
            if takes_plain("kept-tables"):
                return function(*arguments)
            if torch.compiler.is_compiling():
                return getattr(_tables, name_of(*arguments))
            return cached(*arguments)

        return table  # type: ignore[return-value]

    return decorate
