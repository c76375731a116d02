"""One task at a time in a thread, for writing while training goes on.

snapshot = to_host(content)                # while nobody changes it
writer.start(lambda: write(snapshot))      # waits for the one before
writer.check()                             # now and then: raises what the thread met
writer.wait()                              # at the end
"""

import copy
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
        """Raise what a task that has ended met; does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written; raises what the task met."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None  # no thread is left that could set it meanwhile
        if error is not None:
            raise error

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # raised again by whoever asks next
            self._error = error


def to_host(content: Any) -> Any:
    """Plain types with a copy of every tensor in host memory; what shares memory still does."""
    return _Copies().of(content)


class _Copies:
    def __init__(self) -> None:
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._tensors: dict[int, Tensor] = {}

    def of(self, content: Any) -> Any:
        if isinstance(content, Tensor):
            if id(content) not in self._tensors:
                self._tensors[id(content)] = self._copy(content.detach())
            return self._tensors[id(content)]
        if isinstance(content, dict):
            copied = copy.copy(content)  # with the metadata that a state_dict carries
            copied.update((key, self.of(value)) for key, value in content.items())
            return copied
        if isinstance(content, list | tuple):
            return type(content)(map(self.of, content))
        return content

    def _copy(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key not in self._storages:
            on_host = storage.cpu()
            is_copy = storage.device.type != "cpu"
            self._storages[key] = on_host if is_copy else on_host.clone()
        copy = torch.empty(0, dtype=tensor.dtype)
        return copy.set_(
            self._storages[key], tensor.storage_offset(), tensor.shape, tensor.stride()
        )
