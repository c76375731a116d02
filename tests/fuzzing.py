"""What the fuzz tests share: arbitrary contents and trees, and what a reader may do with them."""

import io
import os
import time
from datetime import timedelta

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from common.errors import UserError

fuzzed = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=timedelta(seconds=20),  # bounded time: a shared machine may be slow
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
words = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, -1, 1e400, 10**400])
)
leaves = st.one_of(st.none(), st.booleans(), numbers, words)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def changed(draw, whole: bytes):
    """A whole file with a few places changed, cut out, repeated or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 40))
        new = draw(st.binary(max_size=12))
        data[at : at + length] = draw(st.sampled_from([new, b"", new * 3, bytes(length)]))
    return bytes(data)


def contents(*whole: bytes):
    """Arbitrary bytes, or changes of one of the whole files."""
    return st.one_of(st.binary(max_size=200), *map(changed, whole))


def clean(read, *arguments):
    """Call a reader; all it may raise is a `UserError` of one line."""
    start = time.monotonic()
    try:
        return read(*arguments)
    except UserError as error:
        assert str(error).strip() and "\n" not in str(error), str(error)
        return None
    finally:
        assert time.monotonic() - start < 20


def put(path, content: bytes):
    path.write_bytes(content)
    return path


def archive(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()
