"""A visitor's mistake is a line on the page, and so is an error of the program."""

import logging
from collections.abc import Callable
from typing import TypeVar

from common.errors import UserError
from common.shortages import GPU_MEMORY, HOST_MEMORY, shortages_told
from common.text_files import ESCAPED

Found = TypeVar("Found")
UNEXPECTED = "this is a fault of the page and not yours; its log has more"
_REMEDIES = {
    GPU_MEMORY: "use a smaller picture, or start the page with --device cpu",
    HOST_MEMORY: "use a smaller picture, or fewer scenes",
}
_log = logging.getLogger(__name__)


def attempt(work: Callable[[], Found]) -> tuple[Found | None, str]:
    """What the work found and no message, or None and the message of what went wrong."""
    try:
        with shortages_told(_REMEDIES):
            return work(), ""
    except UserError as error:
        return None, writable(str(error))
    except Exception as error:  # whatever it is, the page goes on
        _log.exception("an error that the page did not expect")
        return None, writable(f"{type(error).__name__}: {UNEXPECTED}")


def writable(text: str) -> str:
    """Text that can be sent: halves of characters are escaped."""
    return text.encode(errors=ESCAPED).decode()
