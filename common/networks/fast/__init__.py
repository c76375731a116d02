"""Code that exists for speed: in each file the plain form first, then the fast one, equal by test.

    with plain("folded-head"):
        ...  # networks take the plain form here; plain() alone: of everything

The switch is for benchmarks and tests. It is read when a network runs, not when it is built.
"""

import sys
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
    "fast-linear",  # linear.py
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


def kept(count: int) -> Callable[[F], F]:
    """Keep the last `count` results of a function of sizes and device: masks, orders, matrices.

    To `torch.compile` they are constants of the graph. It would look through a plain `lru_cache`,
    compute all of them on the CPU in every step, and copy them to the device.
    """

    def decorate(function: F) -> F:
        # What is kept in an evaluation must do for training too.
        cached = lru_cache(count)(torch.inference_mode(False)(function))

        @wraps(function)
        def constant(*arguments: Any) -> Any:
            return _of_fixed_size(cached(*arguments))

        # What `torch.compiler.assume_constant_result` sets, which takes a second to import.
        constant._dynamo_marked_constant = True  # type: ignore[attr-defined]
        return constant  # type: ignore[return-value]

    return decorate


def _of_fixed_size(result: Any) -> Any:
    """Tell a compiler, if there is one, that the tensors' sizes are constants too."""
    if compiler := sys.modules.get("torch._dynamo"):
        tensors = [result] if isinstance(result, torch.Tensor) else vars(result).values()
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                compiler.mark_static(tensor)
    return result
