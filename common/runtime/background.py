"""One task at a time in a thread, for writing while training goes on.

snapshot = to_host(content)                # while nobody changes it
writer.start(lambda: write(snapshot))      # waits for the one before
writer.check()                             # now and then: raises what the thread met
writer.wait()                              # at the end
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class BackgroundWriter:
    """Runs tasks one after the other; the next call raises what one of them met, once."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, task: Callable[[], None]) -> None:
        """Begin a task when the one before it has ended."""
        self.wait()
        # A daemon: who does not want to wait for it can leave.
        self._thread = threading.Thread(target=self._run, args=(task,), name="save", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what a task met; does not wait."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Until nothing is being written; raises what the task met."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # raised again by whoever asks next
            self._error = error


def to_host(content: Any, storages: dict[int, torch.UntypedStorage] | None = None) -> Any:
    """Plain types with a copy of every tensor in host memory; what shares memory still does."""
    storages = {} if storages is None else storages
    if isinstance(content, Tensor):
        return _copy(content.detach(), storages)
    if isinstance(content, dict):
        return {key: to_host(value, storages) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return type(content)(to_host(value, storages) for value in content)
    return content


def _copy(tensor: Tensor, storages: dict[int, torch.UntypedStorage]) -> Tensor:
    storage = tensor.untyped_storage()
    key = storage.data_ptr()
    if key not in storages:
        on_host = storage.cpu()
        storages[key] = on_host.clone() if storage.device.type == "cpu" else on_host
    copy = torch.empty(0, dtype=tensor.dtype)
    return copy.set_(storages[key], tensor.storage_offset(), tensor.shape, tensor.stride())
