"""A user's mistake is one line and exit code 2; a programmer's mistake stays an exception.

Several processes share that line: who meets a mistake writes it into the launcher's key-value store
before leaving. So the mistake that came first is told once on each machine, by whoever gets there
first, and a process that only loses contact with the others finds the reason in the store.
"""

import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

from common.printable import one_line
from common.terminal import drop_if_unread, outlive_terminal

if TYPE_CHECKING:
    from torch.distributed import Store

PATIENCE = timedelta(seconds=5)  # to reach the store, and for another process to print its line

LAUNCHER = "LANGDEPTH_LAUNCHER"  # the launcher's process, which tells who is gone
INTERRUPTED = 130  # exit code: told to stop, saved as far as it came; the same command goes on
LOST_CONTACT = 3  # exit code for the launcher alone

# What gloo and NCCL say when another process has gone.
_LOST_CONTACT = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Write error [",
    "connectFullMesh failed",
    "remote process exited",
)


class UserError(Exception):
    """A mistake the user can fix; its message is one line: what is wrong, where, what to do."""


class BadFileError(UserError):
    """The contents of one picture or depth map are at fault, or that file alone is not there.

    Neither a disk that fails nor a machine that has too little of something: see `data.on_error`.
    """

    def __init__(self, message: str, path: object = ""):
        super().__init__(message)
        self.path = str(path)


def run_program(main: Callable[[], None]) -> None:
    """Run `main`; print a `UserError` as one `error:` line on stderr and exit with code 2.

    Several processes print one line together (see above) and all exit with code 2.
    """
    outlive_terminal()
    for stream in (sys.stdout, sys.stderr):  # a file's name may be no text that can be written
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _ended_before() or _run(main)
    if _is_one_of_several():
        leave(code)
    if code:
        sys.exit(code)


def _run(main: Callable[[], None]) -> int:
    """Run `main` and return the exit code."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        if not drop_if_unread(sys.stdout):
            raise
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        if isinstance(stop.code, int) or stop.code is None:
            return stop.code or 0
        raise
    except Exception as error:
        is_lost = is_lost_contact(error)
        line = _describe(error)
        # torch's errors may follow from a mistake that another process has told.
        is_shared = bool(line) or isinstance(error, RuntimeError)
        if is_shared and _told_together(None if is_lost else line):
            return 2
        if is_lost and LAUNCHER in os.environ:
            return LOST_CONTACT
        if line is None:
            raise
        if not (is_lost and _told_together(line, "lost")):
            _print_error(line)
        return 2
    return 0


def _describe(error: Exception) -> str | None:
    """The line of an error that is no fault of the program; None: a programmer's mistake."""
    from common.shortages import as_shortage  # which needs this module

    told = as_shortage(error, {})
    return str(told) if isinstance(told, UserError) else _lost_contact(error)


def _lost_contact(error: Exception) -> str | None:
    """One line where another process has gone; None: it is another error."""
    if not is_lost_contact(error):
        return None
    reason = str(error).partition("\n")[0].rpartition("] ")[2].partition(". ")[0][:160]
    return f"another process of this run has ended or cannot be reached ({reason})"


def is_lost_contact(error: Exception) -> bool:
    """Whether it follows from another process that has gone."""
    return _is_one_of_several() and any(word in str(error) for word in _LOST_CONTACT)


def _is_one_of_several() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leave(code: int) -> NoReturn:
    """End this process without Python's shutdown, in which threads of gloo may abort it.

    PyTorch issue 190489; the abort would replace the exit code.
    """
    for child in multiprocessing.active_children():  # workers that load data
        child.kill()  # they outlive a first SIGTERM
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader may have left, as of `| tee`
            stream.flush()
    os._exit(code)


def _print_error(message: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        print(file=sys.stderr)  # leave the first process's progress bar
    print(f"error: {one_line(message)}", file=sys.stderr, flush=True)


def _told_together(message: str | None, key: str = "first") -> bool:
    """See to it that the first mistake of all processes is printed once on this machine.

    message: this process's own mistake; None: it knows of none. key: other news has another one.
    Returns False where nobody has told one, or it cannot be known: a single process, or a store
    that is gone.
    """
    if not _is_one_of_several():
        return False
    try:
        # The store takes whole characters only.
        return _tell_once(
            _open_store(), message and message.encode(errors="backslashreplace").decode(), key
        )
    except RuntimeError:  # torch's connection errors and timeouts
        return False


def _open_store(restart: int | None = None) -> "Store":
    """A connection of its own: a mistake may come before the processes have joined.

    restart: what torchrun's so many-th restart said; None: this one.
    """
    # Imported here: this module serves programs that need no torch.
    import torch.distributed as dist

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=PATIENCE)
    return dist.PrefixStore(f"mistake/{_restart() if restart is None else restart}", store)


def _restart() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _ended_before() -> int:
    """The exit code where torchrun starts again what ended for a mistake or was told to stop; 0.

    A process that was killed has told nothing: it alone is a reason to start again, though the
    launcher told the others to stop.
    """
    if not (_is_one_of_several() and _restart()):
        return 0
    with suppress(RuntimeError):
        before = _open_store(_restart() - 1)
        if before.check(["first"]):
            _set(["first"], before.get("first").decode())
            return 2
        if before.check(["stop"]):
            told = [f"stop/{rank}" for rank in range(int(before.get("stop")))]
            if before.check(told):
                # For all: the others may be ended before they get here.
                _set([*told, "stop"], before.get("stop").decode())
                return INTERRUPTED
    return 0


def mistake_is_told() -> bool:
    """Whether a process of this run ends for a mistake; False where it cannot be known."""
    return _is_in_store("first")


def tell_stop() -> None:
    """Let the other processes know that this one leaves because it was told to stop."""
    # torchrun's ROLE_WORLD_SIZE still counts processes that were not needed and have left.
    if _is_one_of_several() or int(os.environ.get("ROLE_WORLD_SIZE", "1")) > 1:
        with suppress(RuntimeError):
            # The size: so many tell it, if none is killed.
            _set([f"stop/{os.environ['RANK']}", "stop"], os.environ["WORLD_SIZE"])


def _set(keys: list[str], text: str) -> None:
    store = _open_store()
    for key in keys:
        store.set(key, text)


def stop_is_told() -> bool:
    """Whether a process was told to stop and leaves; False where it cannot be known."""
    return _is_in_store("stop")


def _is_in_store(key: str) -> bool:
    try:
        return _is_one_of_several() and _open_store().check([key])
    except RuntimeError:
        return False


def _tell_once(store: "Store", message: str | None, key: str) -> bool:
    if message is None and not store.check([key]):
        return False
    first = store.compare_set(key, "", message or "").decode()
    machine = os.environ.get("GROUP_RANK", "0")
    if store.add(f"{machine}/{key}/tellers", 1) == 1:
        _print_error(first)
        store.set(f"{machine}/{key}/told", "yes")
    else:  # the launcher ends everyone as soon as one has left
        store.wait([f"{machine}/{key}/told"], PATIENCE)
    return True
