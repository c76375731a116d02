"""What has to be the same for all recipes, or their numbers could not be compared."""

from dataclasses import dataclass, replace

from common.data.kept_data import files_of
from common.data.splits import SplitFinder
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.programs.run_config import RunConfig


@dataclass(frozen=True)
class Survey:
    """The images a recipe is given, and how it is scored.

    train: keys of all images to learn from, those that it sets aside from them included; num_train:
    without these. pictures: identifies the files of both.
    """

    train: frozenset[str]
    num_train: int
    test: frozenset[str]
    pictures: str
    protocol: str
    max_depth: float


def survey_config(config: RunConfig) -> Survey:
    """The images of all splits, each checked to be there, and the protocol."""
    data = replace(config.data, train_images=None)
    finder = SplitFinder(data)
    train, val, test = (finder.find(name) for name in ("train", "val", "test"))
    given = (train, val) if data.val_list is None else (train,)
    digests = [take_fingerprint(files_of(split.samples)).digest for split in (*given, test)]
    keys = frozenset(key for split in given for key in split.files)
    return Survey(
        train=keys,
        num_train=len(train.samples),
        test=frozenset(test.files),
        pictures=" ".join(digests),
        protocol=config.eval.protocol,
        max_depth=data.max_depth,
    )


def compare_surveys(first: tuple[str, Survey], other: tuple[str, Survey]) -> None:
    """Raise a `UserError` that names what differs; each is a name and what it reads."""
    (name, one), (other_name, two) = first, other
    for what in ("train", "test"):
        ours, theirs = getattr(one, what), getattr(two, what)
        if ours != theirs:
            raise UserError(
                f"{name} and {other_name} read different {what} images ({len(ours)} and "
                f"{len(theirs)}); set data.split or the data.*_list keys for all recipes"
            )
    for key, what in (("eval.protocol", "protocol"), ("data.max_depth", "max_depth")):
        if getattr(one, what) != getattr(two, what):
            raise UserError(
                f"{name} has {key} {getattr(one, what)}, {other_name} {getattr(two, what)}; "
                f"set {key} for all recipes"
            )
