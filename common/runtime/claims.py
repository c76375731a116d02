"""Who writes here: the first program to come claims a place, the others are told who it is.

    with claim_folder(output, "name another --output") as claim:   # `Held` while another has it
        ...
        claim.check()                    # `UserError` if it was taken over in the meantime

A claim is a small file: `.claim` in a folder, `.NAME.claim` beside a file. It appears whole, by a
hard link, and only where there is none (as atomic on a network disk as on a local one). It names
host, process and the process's start, and goes when the block ends. What a killed process leaves
behind is taken over. Whether the process lives is judged

- on the same machine and in the same container (Linux) by its number and start time: exactly, at
  once, and a number that another process has by now is no matter;
- elsewhere by the heartbeat: a holder touches its claim every `BEAT_SECONDS`. Who meets a claim
  from elsewhere watches it: a beat means that its process lives, `SILENCE_SECONDS` without one
  that it has ended.

Where nobody can make a file, there is no claim: the program's own message says so when it writes.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import UserError
from common.progress import write_line
from common.runtime.holders import Holder, read_holder, this_process

if TYPE_CHECKING:  # torch takes seconds, which programs that need none would wait for
    from common.runtime.processes import Processes

BEAT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
POLL_SECONDS = 0.5
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Held(UserError):
    """Another program has the place."""

    def __init__(self, target: Path, holder: Holder, alternative: str) -> None:
        super().__init__(
            f"{target} is being written by another program ({holder}); wait until it ends, stop "
            f"it, or {alternative}"
        )
        self.holder = holder


def claim_folder(
    folder: Path, alternative: str, note: dict[str, Any] | None = None
) -> AbstractContextManager["Claim"]:
    """Hold a folder for the length of the block; makes it.

    alternative: what else the user can do, for the message. note: see `Holder`.
    """
    return _hold(Claim(folder, folder / ".claim", note or {}), alternative)


def claim_path(path: Path, alternative: str | None) -> AbstractContextManager["Claim"]:
    """Hold a file (or a folder that may be replaced) that will be written.

    alternative: see `claim_folder`; None: wait for whoever holds it.
    """
    return _hold(Claim(path, path.with_name(f".{path.name}.claim"), {}), alternative)


@contextmanager
def claim_together(
    processes: "Processes", claiming: AbstractContextManager["Claim"]
) -> Iterator[None]:
    """The main process claims for all; nobody goes on before it has."""
    with claiming if processes.is_main else nullcontext():
        processes.barrier()
        yield


def find_holder(folder: Path) -> Holder | None:
    """Who holds a folder; None: nobody, or a process of this machine that has ended."""
    holder = read_holder(folder / ".claim")[0]
    return None if holder is None or holder.lives() is False else holder


@contextmanager
def _hold(claim: "Claim", alternative: str | None) -> Iterator["Claim"]:
    claim.take(alternative)
    try:
        yield claim
    finally:
        claim.release()


class Claim:
    """This process's claim on `target`; `path` is its file."""

    def __init__(self, target: Path, path: Path, note: dict[str, Any]) -> None:
        self.target, self.path = target, path.absolute()
        self.me = this_process(note)
        self._aside = self.path.with_name(f"{self.path.name}.{self.me.token}")
        self._made: list[Path] = []  # folders, the deepest first
        self.lost_to: Holder | None = None  # once it was: this process may write no more
        self._is_held = False
        self._end = threading.Event()

    def take(self, alternative: str | None) -> None:
        """Make the claim, or take over one whose process has ended; `Held` where it lives.

        alternative: see `claim_path`.
        """
        try:
            self._make_folders()
            self._is_held = self._wait_for_it(alternative)
        except OSError as error:
            if error.errno in _UNWRITABLE:
                return
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; check the folder and the free disk "
                "space, or name another place"
            ) from error
        finally:
            if not self._is_held:
                self._remove_folders()
        threading.Thread(target=self._beat, name="claim", daemon=True).start()

    def check(self) -> None:
        """Raise a `UserError`, now and at every later call, if another program has taken over."""
        if self._is_held:
            holder = read_holder(self.path)[0]
            if holder is None:
                with suppress(OSError):  # somebody has cleaned up
                    self._appear()
            elif holder.token != self.me.token:
                self.lost_to, self._is_held = holder, False
        if self.lost_to is not None:
            raise UserError(
                f"{self.target} was taken over by {self.lost_to}, because this process "
                f"({self.me.pid}) was silent for {SILENCE_SECONDS:g} s; it stops here, so that "
                "only one writes"
            )

    def release(self) -> None:
        """Give the place free."""
        self._end.set()
        if not self._is_held:
            return
        if self._is_mine():
            with suppress(OSError):
                self.path.unlink()
        self._is_held = False
        self._remove_folders()

    def _wait_for_it(self, alternative: str | None) -> bool:
        watched: dict[str, tuple[int, float]] = {}  # of each holder: its first beat, and when seen
        while not self._appear():
            holder, beat = read_holder(self.path)
            if holder is None:  # it was given free at this moment
                continue
            is_new = holder.token not in watched
            first_beat, start = watched.setdefault(holder.token, (beat, time.monotonic()))
            lives = holder.lives()
            if lives is None and beat != first_beat:
                lives = True
            if lives is None and time.monotonic() - start > SILENCE_SECONDS:
                lives = False
            if lives is False:
                self._take_over(holder)
                continue
            if lives and alternative is not None:
                raise Held(self.target, holder, alternative)
            if is_new:
                self._tell_wait(holder, lives)
            time.sleep(POLL_SECONDS)
        return True

    def _tell_wait(self, holder: Holder, lives: bool | None) -> None:
        reason = f"watching for up to {SILENCE_SECONDS:g} s whether it still runs"
        write_line(f"{self.target} is held by {holder}: {'waiting for it' if lives else reason}")

    def _appear(self) -> bool:
        """Make the claim's file where there is none; whether that is so now."""
        content = json.dumps(asdict(self.me))
        self._aside.write_text(content, encoding="utf-8")
        try:
            with suppress(FileExistsError):
                os.link(self._aside, self.path)
            return self._aside.stat().st_nlink > 1  # a network disk may lose the answer of `link`
        except OSError:  # a file system without hard links
            return self._appear_without_link(content)
        finally:
            self._aside.unlink()

    def _appear_without_link(self, content: str) -> bool:
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def _take_over(self, dead: Holder) -> None:
        """Remove the claim of `dead`, and of nobody else who came between."""
        try:
            self.path.rename(self._aside)
        except FileNotFoundError:  # another program was faster
            return
        found = read_holder(self._aside)[0]
        if found is not None and found.token != dead.token:
            with suppress(OSError):
                os.link(self._aside, self.path)
        else:
            write_line(f"{self.target} was left by {dead}, which has ended; taken over")
        self._aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_SECONDS):
            if self._is_mine():
                with suppress(OSError):
                    os.utime(self.path)

    def _is_mine(self) -> bool:
        holder = read_holder(self.path)[0]
        return holder is not None and holder.token == self.me.token

    def _make_folders(self) -> None:
        folder = self.path.parent
        self._made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)

    def _remove_folders(self) -> None:
        """Those that this claim has made and nobody has used."""
        with suppress(OSError):
            for folder in self._made:
                folder.rmdir()
