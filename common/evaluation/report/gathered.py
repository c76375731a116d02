"""What a report needs beside the result, gathered while images are scored, in every process."""

from collections.abc import Sequence

from common.evaluation.report.cases import Extremes, draw_case
from common.evaluation.report.pixel_errors import PixelErrors
from common.evaluation.watchers import ScoredImage

MAX_CAPTION = 300  # characters that are kept of a caption


class Gathered:
    """pixels: sums. worst, best: pictures. captions: key -> the words that the network was given,
    all that grows with the number of images."""

    def __init__(self) -> None:
        self.pixels = PixelErrors()
        self.worst, self.best = Extremes(1), Extremes(-1)
        self.captions: dict[str, str] = {}

    def add(self, scored: ScoredImage) -> None:
        """Take from one image what the report shows; nothing of it is kept but small pictures."""
        self.pixels.add(scored.pred_depth, scored.gt_depth, scored.valid, scored.max_depth)
        if scored.caption:
            self.captions[scored.row["image_path"]] = shortened_caption(scored.caption)
        wanted = [cases for cases in (self.worst, self.best) if cases.wants(scored)]
        if wanted:
            jpeg = draw_case(scored)
            for cases in wanted:
                cases.add(scored, jpeg)

    @classmethod
    def merge(cls, parts: Sequence["Gathered"]) -> "Gathered":
        """Of all processes; each image was scored by one."""
        merged = cls()
        for part in parts:
            merged.pixels.merge(part.pixels)
            merged.worst.merge(part.worst.kept)
            merged.best.merge(part.best.kept)
            merged.captions |= part.captions
        return merged


def shortened_caption(caption: str) -> str:
    """In one line, its end cut off where it is very long."""
    line = " ".join(caption.split())
    return line if len(line) <= MAX_CAPTION else f"{line[: MAX_CAPTION - 1]}…"
