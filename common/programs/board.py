"""TensorBoard's files of a run: scalars and pictures; one line where they cannot be written."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.files import write_errors_told


class Board:
    """Writes to `folder`, from `first_step` on: what is there of later steps is forgotten."""

    def __init__(self, folder: Path, first_step: int = 0):
        from torch.utils.tensorboard import SummaryWriter  # scoring and predicting need none

        self.folder = folder
        threading.excepthook = _tell_no_write_errors
        with write_errors_told(folder):
            self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def scalars(self, step: int, kind: str, values: dict[str, float]) -> None:
        """Named numbers of one step."""
        with self._writing():
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, rgb: np.ndarray) -> None:
        """uint8 RGB [H, W, 3]."""
        with self._writing():
            self._writer.add_image(name, rgb, step, dataformats="HWC")

    def close(self) -> None:
        """Nothing is written after it."""
        self._writer.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have it on disk at the end of the block: a full one shows here, not at a later step."""
        with write_errors_told(self.folder):
            yield
            self._writer.flush()


def _tell_no_write_errors(event: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own; what stops it, the next flush raises once more."""
    is_writer = type(event.thread).__module__.startswith("tensorboard.")
    if not (is_writer and isinstance(event.exc_value, OSError)):
        threading.__excepthook__(event)
