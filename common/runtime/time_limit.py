"""`train.time_limit`: a training that is told to stop shortly before its time is up.

What happens then is what happens at a SIGTERM (`signals.py`): it saves and leaves, whatever it is
doing. The first process keeps the time, from the start of its program; the others follow it.
"""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from common.runtime.signals import Caught

RESERVE = 60.0  # seconds for what is going on and for the save; a tenth of a shorter limit
_FORMS = (
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?",
    r"(?P<hours>\d+(?:\.\d*)?|\.\d+)",
)
_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def read_time(text: str) -> float:
    """Seconds. Hours as a number, HH:MM:SS, or Slurm's MM:SS, D-HH, D-HH:MM and D-HH:MM:SS.

    Raises `ValueError` where it is none of these, or no time at all.
    """
    for form in _FORMS:
        found = re.fullmatch(form, text.strip(), re.ASCII)
        if found:
            parts = {name: float(number or 0) for name, number in found.groupdict().items()}
            seconds = sum(_SECONDS[name] * number for name, number in parts.items())
            if 0 < seconds < threading.TIMEOUT_MAX:
                return seconds
    raise ValueError(text)


@contextmanager
def time_limited(limit: str | None, caught: Caught) -> Iterator[None]:
    """Send this process SIGTERM before the limit, which counts from now. Of several, the first."""
    if limit is None or os.environ.get("RANK", "0") != "0":
        yield
        return
    seconds = read_time(limit)

    def end() -> None:
        if not caught:
            caught.reason = f"train.time_limit={limit} is nearly over: ended"
            os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(seconds - min(RESERVE, seconds / 10), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
