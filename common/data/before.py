"""What a start knows of its data from before: from the run that goes on, or an earlier stage."""

from dataclasses import dataclass, replace

from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset
from common.data.kept_checks import as_kept, compare_files, compare_words, describe_seen
from common.data.kept_data import KeptData
from common.data.splits import Split, SplitFinder
from common.errors import UserError


@dataclass(frozen=True)
class Before:
    """is_own: of the run that goes on; else of the earlier stage `whose`."""

    kept: KeptData
    whose: str
    is_own: bool

    def finder(self, data: DataConfig) -> SplitFinder:
        """Divides a folder without lists as it was divided before, unless it is another folder."""
        if self.is_own:  # `check_images` says what is missing
            return SplitFinder(replace(data, allow_missing=True), self.kept)
        return SplitFinder(data, self.kept if self.kept.divides(data) else None)

    def check_images(self, split: Split, data: DataConfig) -> Split:
        """The split as this run may use it; a `UserError` if it may not."""
        return as_kept(split, self.kept, data.allow_changed) if self.is_own else split

    def check_files(self, finder: SplitFinder, splits: list[Split]) -> list[str]:
        """Notes for the log; a `UserError` if the files are others, or were trained on before."""
        data = finder.data
        if self.is_own:
            compared = (compare_files(split, self.kept, data.allow_changed) for split in splits)
            return [note for notes in compared for note in notes]
        validated = [split for split in splits if split.name == "val"]
        if not finder.divided:  # lists are the user's own choice
            return [seen for split in validated if (seen := self._seen(split, data))]
        tested = [finder.find("test")] if finder.divided.get("test") else []
        for seen in (self._seen(split, data) for split in (*tested, *validated)):
            if seen:
                raise UserError(seen)
        return []

    def check_words(self, dataset: DepthDataset, data: DataConfig) -> list[str]:
        """Notes for the log; a `UserError` if the network would read other words than before."""
        return compare_words(dataset, self.kept, data.allow_changed) if self.is_own else []

    def _seen(self, split: Split, data: DataConfig) -> str:
        return describe_seen(split, self.kept, data, self.whose)
