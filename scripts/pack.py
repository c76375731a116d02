"""Pack the pairs of a config into shards, for network disks and for millions of files.

    python scripts/pack.py configs/nyu/stage3.yaml --output /fast/nyu_pack
    sh stage3_depth/train.sh configs/nyu/stage3.yaml data.root=/fast/nyu_pack
    python scripts/pack.py --check /fast/nyu_pack               # every byte against its checksum

A shard is a plain tar of some hundred MB: images and depth maps as they are, byte for byte, in the
order of the lists. Training and evaluation read one file of a pack where they would read a file;
their order, and all numbers, are the same. An interrupted call leaves PACK.part, and the same
command goes on. docs/data.md tells more.
"""

import argparse
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config import find_yaml
from common.config_values import output_path, positive, resolve_path
from common.data.data_config import DataConfig
from common.data.lists import find_file
from common.data.samples import SplitName
from common.data.split_lists import list_path
from common.data.splits import SplitFinder, configured_splits, is_searched
from common.errors import UserError, run_program
from common.files import check_folder
from common.language.features import TextConfig, names_in
from common.programs.data_sections import read_data_sections
from common.runtime.claims import claim_path
from scripts.packing.checking import refuse_damaged
from scripts.packing.plan import DEPTHS, IMAGES, make_plan
from scripts.packing.writer import write_pack


@dataclass(frozen=True)
class PackConfig:
    """The keys of a run's config that name files."""

    data: DataConfig
    text: TextConfig = field(default_factory=TextConfig)


def main() -> None:
    """Find the pairs, plan, write, and say how to train on it."""
    arguments = _parse()
    if arguments.check is not None:
        folder = resolve_path(arguments.check, True)
        refuse_damaged(folder)
        print(f"{folder}: all shards are as they were packed")
        return
    overrides = [word for word in arguments.words if "=" in word]
    files = [word for word in arguments.words if "=" not in word]
    if len(files) != 1:
        raise UserError(f"command line: expected CONFIG.yaml [key=value ...], got {files}")
    config = read_data_sections(PackConfig, find_yaml(files[0]), overrides).config
    root = config.data.root
    given = arguments.output
    output = output_path(given) if given else root.with_name(f"{root.name}_pack")
    check_folder(output.parent)
    with claim_path(output, "give another --output"):
        pack(config, output, arguments.shard_mb * 10**6)


def pack(config: PackConfig, output: Path, shard_bytes: int) -> None:
    """All splits of the config into the folder `output`."""
    finder = SplitFinder(config.data)
    splits = [finder.find(name) for name in configured_splits(config.data)]
    if not splits:
        raise UserError("the config names no list; set data.train_list, data.test_list, data.split")
    for note in dict.fromkeys(note for split in splits for note in split.notes):
        print(note)
    plan = make_plan(config.data, splits, shard_bytes)
    below = f"{IMAGES}/" if plan.is_split else ""
    lists = {f"{s.name}.txt": s.pairs for s in splits} if is_searched(config.data) else {}
    below_lists = {f"{below}{name}": pairs for name, pairs in lists.items()}
    write_pack(plan, output, _texts(config, below), below_lists, partial(print, flush=True))
    print(
        f"{output}: {len(plan)} files, {plan.facts[:, 0].sum() / 1e9:.3g} GB in "
        f"{int(plan.shard_of.max()) + 1} shards; train on it with "
        f"{' '.join(_settings(output, plan.is_split, list(lists)))}"
    )


def _texts(config: PackConfig, below: str) -> dict[str, Path]:
    """Lists, captions and features that are looked up under data.root: their names in the pack."""
    data, text = config.data, config.text
    names: tuple[SplitName, ...] = ("train", "val", "test")
    found = [list_path(data, name) for name in names]
    named = (*names_in(text.captions), *names_in(text.features), *names_in(text.image_features))
    found += [find_file(name, data.root) for name in named]
    texts = {}
    for path in found:
        if path is None or not path.is_file():
            continue
        if path.is_relative_to(data.root):
            texts[f"{below}{path.relative_to(data.root)}"] = path
        elif path.parent == data.root.parent:  # KITTI's lists lie beside its images
            texts[f"{below}{path.name}"] = path
    return texts


def _settings(output: Path, is_split: bool, lists: list[str]) -> list[str]:
    """lists: of a folder without lists, which was divided here."""
    named = [f"data.{name.removesuffix('.txt')}_list={name}" for name in lists]
    if not is_split:
        return [f"data.root={output}", *named]
    return [f"data.root={output / IMAGES}", f"data.gt_root={output / DEPTHS}", *named]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="CONFIG.yaml, key=value", help="as for training")
    add("--output", metavar="DIR", help="the pack, a folder to be made (default: ROOT_pack)")
    add("--shard-mb", type=positive, default=512, help="size of a shard (default %(default)s)")
    add("--check", metavar="DIR", help="read a whole pack and compare it with its checksums")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    run_program(main)
