"""Load weights from a model hub without pages of retries: one line when it cannot be reached."""

import logging
import pickle
import socket
import sys
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from common.errors import UserError
from common.progress import download_bar

# Modules of libraries that download with a bar of their own, which no log of a batch job wants.
_WITH_BARS = ("open_clip.pretrained",)


@contextmanager
def one_line_failure(what: str, advice: str) -> Iterator[None]:
    """Turn a failed download or load into `cannot load WHAT: reason; ADVICE`.

    Without network, the libraries are told to look into their local cache only.
    """
    if not hub_is_reachable():
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    for module in filter(None, map(sys.modules.get, _WITH_BARS)):
        module.tqdm = download_bar  # type: ignore[attr-defined]
    logging.disable(logging.ERROR)
    try:
        yield
    except (
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
    ) as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
        raise UserError(f"cannot load {what}: {reason}; {advice}") from error
    finally:
        logging.disable(logging.NOTSET)


def hub_is_reachable() -> bool:
    """False when the hub's name cannot be looked up, that is, without network."""
    if urllib.request.getproxies():
        return True
    host = urllib.parse.urlparse(huggingface_hub.constants.ENDPOINT).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
