"""Bad training images in a run: its list of them, its log, its metrics (`data.on_error=skip`).

RUN/bad_images.jsonl has each once: the image, the file at fault, and the reason.
"""

import json
from typing import Any

from common.data.bad_images import BadImage, BadImages
from common.data.dataset import DepthDataset
from common.engine.fetching import SharedError
from common.errors import BadFileError, UserError
from common.files import write_errors_told
from common.programs.run import Run
from common.text_files import write_text

MOST_LINES = 20  # of a run's log
FILE = "bad_images.jsonl"


class BadData:
    """Does nothing unless bad images are skipped."""

    def __init__(self, train: DepthDataset, run: Run):
        self.train, self.run = train, run
        self.images = BadImages(len(train), train.max_bad_share or 0.0)
        self.path = run.folder / FILE

    def meet(self, done: int) -> None:
        """Called by all processes at once, after `done` steps: tell and list what is new.

        Raises the `SharedError` of a run that has more bad images than it may.
        """
        if not self.train.skips_bad:
            return
        before = len(self.images)
        new = self.images.meet(self.run.processes.gather)
        if new and self.run.processes.is_main:
            with write_errors_told(self.path), self.path.open("a", encoding="utf-8") as file:
                file.writelines(map(_line, new))
        for number, bad in enumerate(new, before + 1):
            if number <= MOST_LINES:
                self.run.log(f"skipped, with another image in its place: {bad.reason}")
            elif number == MOST_LINES + 1:
                self.run.log(f"further images that cannot be read are listed in {self.path}")
        self._check(done)

    def _check(self, done: int) -> None:
        try:
            self.images.check()
        except UserError as error:
            raise SharedError(UserError(f"{error} ({self.path} lists all)"), done) from error

    def counts(self) -> dict[str, float]:
        """For the metrics; nothing unless bad images are skipped."""
        return {"bad_images": len(self.images)} if self.train.skips_bad else {}

    def state(self) -> dict[str, Any]:
        """For a checkpoint; nothing unless there are some."""
        state = self.images.state()
        return {"bad_images": state} if state else {}

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on with those that a checkpoint knows and that still cannot be read; [] at a start.

        Called by all processes at once.
        """
        self.images.restore(state)
        if self.train.skips_bad and state:
            is_main = self.run.processes.is_main
            still = [bad for bad in state if self._is_bad(bad["image"])] if is_main else []
            self.images.restore(self.run.processes.gather(still))
            self.images.check()
        if self.run.processes.is_main and (self.images.known or self.path.exists()):
            write_text(self.path, "".join(map(_line, self.images.known.values())))

    def _is_bad(self, image: str) -> bool:
        index = int(self.train.samples.keys.lookup.find_all([image])[0])
        if index < 0:
            return False  # is no image of the run any more
        try:
            self.train.training_frame(index)
        except BadFileError:
            return True
        return False

    def tell_all(self) -> None:
        """One line at the end of training, if there are any."""
        if self.train.skips_bad and self.images.known:
            self.run.log(
                f"{len(self.images)} of {self.images.num_images} training images could not be read "
                f"and had others in their place; {self.path} lists them"
            )


def _line(bad: BadImage) -> str:
    return json.dumps(bad.to_plain()) + "\n"
