"""Load models that lie on a hub or in its local cache: from the cache at once, else with a limit.

    load_from_hub("CLIP weights RN50:openai", "or name a file", lambda: open_clip.create_model(...))

First nothing but the cache is looked into. Where that is not enough, the hub is asked whether it is
there, and only then do the libraries download. A hub that is silent for `hub_timeout` seconds in
all, retries included, ends that in one line. What arrives keeps a download alive, however long it
takes.
"""

import argparse
import logging
import pickle
import socket
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Thread
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    StrictDataclassError,
)
from safetensors import SafetensorError

from common.config_values import positive
from common.errors import UserError
from common.progress import download_bar

# Modules of libraries that download with a bar of their own, which no log of a batch job wants.
_WITH_BARS = ("open_clip.pretrained",)

HUB_TIMEOUT = 30.0  # seconds
Loaded = TypeVar("Loaded")
_HTTP = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
_FAILURES = (
    *(module.HTTPError for module in _HTTP),  # what the hub's library asks with, by version
    RuntimeError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    ImportError,
    SafetensorError,
    ZeroDivisionError,
    StrictDataclassError,
    pickle.UnpicklingError,
    # Of files that are empty, or hold something else than weights of this network.
    EOFError,
    AttributeError,
    AssertionError,
    IndexError,
)
_limit = HUB_TIMEOUT


class SilentHubError(OSError):
    """The hub has not answered for too long; no library tries again after it."""


def set_hub_timeout(seconds: float) -> None:
    """How long this program waits for a hub that is silent: the config's `hub_timeout`."""
    global _limit
    _limit = seconds


def check_hub_timeout(seconds: float) -> None:
    """ValueError, in the words of a config's, unless it is a time to wait."""
    if not seconds > 0:
        raise ValueError(f"hub_timeout: must be above 0 seconds, not {seconds:g}")


def add_hub_argument(parser: argparse.ArgumentParser) -> None:
    """`--hub-timeout`, for programs without a config."""
    parser.add_argument(
        "--hub-timeout",
        type=positive,
        default=int(HUB_TIMEOUT),
        metavar="SECONDS",
        help="how long to wait for a model hub that is silent (default %(default)s)",
    )


def load_from_hub(
    what: str, advice: str, load: Callable[[], Loaded], is_local: bool = False
) -> Loaded:
    """What `load` gives, called without network, and once more with it if that failed.

    is_local: it reads a file or folder, so the second call is left out. A `UserError` says
    `cannot load WHAT: reason; ADVICE`.
    """
    with one_line_failure(what, advice):
        try:
            with _cache_only():
                return load()
        except _FAILURES as error:
            if is_local:
                raise
            _require_hub(error)
        with _watched():
            return load()


@contextmanager
def one_line_failure(what: str, advice: str) -> Iterator[None]:
    """Turn a failed load into `cannot load WHAT: reason; ADVICE`, without the libraries' lines."""
    for module in filter(None, map(sys.modules.get, _WITH_BARS)):
        module.tqdm = download_bar  # type: ignore[attr-defined]
    logging.disable(logging.ERROR)
    try:
        yield
    except _FAILURES as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
        if reason.startswith("Weights only load failed"):  # advice of torch that helps nobody here
            reason = "it is no file of weights"
        raise UserError(f"cannot load {what}: {reason}; {advice}") from error
    finally:
        logging.disable(logging.NOTSET)


def hub_is_reachable() -> bool:
    """Whether the hub answers at all within the limit, whatever it says."""
    return _answers(constants.ENDPOINT, _limit)


def _require_hub(error: Exception) -> None:
    """Raise what the cache lacks, or `error`, unless the hub can be asked for it."""
    host = urllib.parse.urlparse(constants.ENDPOINT).hostname
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    elif hub_is_reachable():
        return
    else:
        reason = f"{host} does not answer (hub_timeout={_limit:g} seconds)"
    if _asked_for_more(error):
        raise SilentHubError(f"not all of it is in the local cache, and {reason}") from error
    raise error


def _asked_for_more(error: BaseException | None) -> bool:
    """Whether an error goes back to a file that is not in the cache."""
    while error is not None:
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            return True
        error = error.__cause__ or error.__context__
    return False


@lru_cache
def _answers(address: str, seconds: float) -> bool:
    """Whether anything comes back from there in time. Looking up its name may hang, too."""
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(address, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=seconds):
                answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)
        except (OSError, ValueError) as error:  # its certificate is the libraries' business
            answers.append("certificate" in str(error).lower())

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers and answers[0])


@contextmanager
def _cache_only() -> Iterator[None]:
    """The libraries look into their local cache and ask nobody."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    _forget_sessions()
    try:
        with _default_timeout():
            yield
    finally:
        constants.HF_HUB_OFFLINE = before
        _forget_sessions()


@contextmanager
def _watched() -> Iterator[None]:
    """The libraries may ask the hub, as long as it does not fall silent."""
    session: Any = (
        huggingface_hub.get_session() if hasattr(huggingface_hub, "get_session") else None
    )
    hooks = getattr(session, "event_hooks", None)
    if hooks is None:  # of requests, in older versions: their own time-outs and retries
        with _default_timeout():
            yield
        return
    watch = _HubWatch(_limit)
    session.event_hooks = {
        "request": [*hooks["request"], watch.before],
        "response": [*hooks["response"], watch.after],
    }
    try:
        with _default_timeout():
            yield
    finally:
        session.event_hooks = hooks


class _HubWatch:
    """Ends requests, and what tries them again, when nothing has been heard for `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.since: float | None = None  # a request has been waiting

    def before(self, request: Any) -> None:
        """Called before each request."""
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        left = self.limit - (now - self.since)
        if left <= 0:
            raise SilentHubError(
                f"{request.url.host} has fallen silent (hub_timeout={self.limit:g} seconds)"
            )
        for kind, own in request.extensions.get("timeout", {}).items():
            request.extensions["timeout"][kind] = left if own is None else min(own, left)

    def after(self, response: Any) -> None:
        """Called when an answer begins."""
        self.since = None


@contextmanager
def _default_timeout() -> Iterator[None]:
    """For downloads by Python's own library, which would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_limit)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _forget_sessions() -> None:
    """Older versions of the hub's library take notice of being offline with new sessions only."""
    forget = getattr(huggingface_hub.utils, "reset_sessions", None)
    if forget is not None:
        forget()
