"""The launchers of several machines watch each other, as processes that wait cannot.

Each counts up a number in the launchers' key-value store. A machine whose number stands still is
gone (killed, cut off, without power), and so is the first machine when its store is; one that ends
with an error says so. The others then end their processes, which may wait for it for hours.
"""

import os
import signal
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import torch.distributed as dist

from common.errors import INTERRUPTED

if TYPE_CHECKING:
    from torch.distributed import Store

EVERY = 2.0  # seconds
SILENCE = 20.0  # seconds after which a machine is gone
GRACE = 10.0  # seconds for the processes here to find the reason themselves


class MachineWatch:
    """One of `count` launchers. lost: what has happened to another one, once it is known."""

    def __init__(self, rank: int, count: int, address: str, port: int):
        self.rank, self.count, self.address, self.port = rank, count, address, port
        self.lost: str | None = None
        self.code = 2
        self._store: Store | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machines", daemon=True)

    def start(self) -> None:
        """Begin when the store is there."""
        self._thread.start()

    def end(self, code: int) -> None:
        """Tell the others how this machine ended."""
        self._is_over.set()
        if self._store is not None:
            with suppress(RuntimeError):  # the first machine may be gone, and the store with it
                self._store.set(f"ended/{self.rank}", str(code))

    def _watch(self) -> None:
        numbers: dict[int, tuple[int, float]] = {}  # machine -> its number, and since when
        heard = time.monotonic()
        while not self._is_over.wait(EVERY):
            try:
                self._store = self._store or self._connect()
                lost = self._look(self._store, numbers)
                heard = time.monotonic()
            except (OSError, RuntimeError):  # torch's connection errors and timeouts among them
                is_gone = self._store is not None and time.monotonic() - heard > GRACE
                lost = "machine 0 has ended or cannot be reached" if is_gone else None
            if lost and not self._is_over.is_set():
                self.lost = lost
                os.kill(os.getpid(), signal.SIGTERM)  # the launcher ends its processes
                return

    def _connect(self) -> "Store":
        socket.create_connection((self.address, self.port), EVERY).close()  # torch's is not quiet
        patience = timedelta(seconds=EVERY)
        store = dist.TCPStore(
            self.address, self.port, is_master=False, wait_for_workers=False, timeout=patience
        )
        return dist.PrefixStore("machines", store)

    def _look(self, store: "Store", numbers: dict[int, tuple[int, float]]) -> str | None:
        """What has happened to another machine; None: nothing."""
        now = time.monotonic()
        store.add(str(self.rank), 1)
        for machine in range(self.count):
            if machine == self.rank:
                continue
            if store.check([f"ended/{machine}"]):
                code = int(store.get(f"ended/{machine}"))
                if code and not self._is_over.wait(GRACE):
                    self.code = INTERRUPTED if code == INTERRUPTED else 2
                    return f"machine {machine} has ended with exit code {code}"
                continue
            number = store.add(str(machine), 0)
            if number != numbers.get(machine, (0, 0))[0]:
                numbers[machine] = (number, now)
            elif number and now - numbers[machine][1] > SILENCE:
                return (
                    f"machine {machine} has not been heard of for {SILENCE:.0f} s: it was killed, "
                    "or cut off"
                )
        return None

    def describe(self, others: str) -> str:
        """One line. others: what is said where nothing is known."""
        what = self.lost or others
        return (
            f"error: {what}; this machine (NODE_RANK={self.rank}) ends too. Look at the output of "
            "the other machines; the same command on all of them goes on from the last checkpoint"
        )
