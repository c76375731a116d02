"""The process that a claim names (`common/runtime/claims.py`), and whether it still lives."""

import json
import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """The process that a claim names. note: what it wants others to know."""

    token: str
    program: str = "a program"
    host: str = "an unknown host"
    pid: int = 0
    started: str = ""  # clock ticks since boot
    system: str = ""  # boot and container; "": this system does not number them
    since: str = "an unknown time"
    note: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.program}, process {self.pid} on {self.host}, since {self.since}"

    def lives(self) -> bool | None:
        """Whether the process is still there; None: it cannot be seen from here."""
        if not self.system or self.system != _system():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's
        started = _started(self.pid)
        return None if started is None else started == self.started


def read_holder(path: Path) -> tuple[Holder | None, int]:
    """The holder and its last beat; no holder where there is no claim.

    A claim that cannot be read (where there are no hard links, it may be half written) has one of
    whom nothing is known.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:  # opened: never a cached time
            facts = os.fstat(file.fileno())
            text = file.read()
    except OSError as error:
        if os.path.lexists(path):
            return Holder(f"unreadable: {error}"), 0
        return None, 0  # nor can there be one: a file in a folder's place, a name too long
    try:
        return Holder(**json.loads(text)), facts.st_mtime_ns
    except (ValueError, TypeError):
        return Holder(f"unreadable: file {facts.st_ino}"), facts.st_mtime_ns


def this_process(note: dict[str, Any]) -> Holder:
    """This process, as its claim names it."""
    pid = os.getpid()
    return Holder(
        token=uuid.uuid4().hex,
        program=Path(sys.argv[0]).name or "python",
        host=socket.gethostname(),
        pid=pid,
        started=_started(pid) or "",
        system=_system(),
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
        note=note,
    )


def _system() -> str:
    """What a process number belongs to: this boot of this machine, and this container."""
    try:
        return f"{_BOOT.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in ticks since boot; "": it has ended; None: it cannot be seen."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return "" if state in "ZX" else rest[18]
