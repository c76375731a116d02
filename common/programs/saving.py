"""A session's saves: at once, or in the background while training goes on (`train.async_save`)."""

from collections.abc import Callable
from typing import Any

from common.engine.train_config import TrainConfig
from common.runtime.background import BackgroundWriter, to_host
from common.runtime.checkpoint_folder import CheckpointFolder


class Saver:
    """Writes to a run's folder; of several processes the main one does.

    In the background the state is copied to host memory first, and a thread writes it: never two
    files at once, in the order in which they were given. What goes wrong there is raised by the
    next call. saved_step: of the newest `last.pt` that is whole; 0: there is none of this run.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        config: TrainConfig,
        check_claim: Callable[[], None] = lambda: None,
    ) -> None:
        """check_claim: raises a `UserError` where the folder is another run's by now."""
        self.folder, self.config, self.check_claim = folder, config, check_claim
        self.saved_step = 0
        self._writer = BackgroundWriter()

    def save_last(self, content: dict[str, Any]) -> None:
        """Write `last.pt`, and one that stays where it is its turn."""
        self._give(content, self._write_last)

    def save_best(self, content: dict[str, Any]) -> None:
        """Write `best.pt`."""
        self._give(content, self._write_best)

    def check(self) -> None:
        """Raise what went wrong in the background; does not wait."""
        self._writer.check()

    def finish(self) -> None:
        """Until everything is written, or has failed, which is raised."""
        self._writer.wait()

    def _give(self, content: dict[str, Any], write: Callable[[dict[str, Any]], None]) -> None:
        self._writer.wait()
        if self.config.async_save:
            copy = to_host(content)
            self._writer.start(lambda: write(copy))
        else:
            write(content)

    def _write_last(self, content: dict[str, Any]) -> None:
        self.check_claim()
        every = self.config.keep_every
        if every is not None and content["step"] % every == 0:
            self.folder.save_numbered(content, self.config.keep_newest)
        self.folder.save_last(content, is_first=self.saved_step == 0)
        self.saved_step = content["step"]

    def _write_best(self, content: dict[str, Any]) -> None:
        self.check_claim()
        self.folder.save_best(content)
