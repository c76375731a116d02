"""Examine a data set before training on it: what is there, what is missing, what looks wrong.

  python scripts/doctor.py nyu                                  data/nyu, as configs/nyu/data.yaml
  python scripts/doctor.py kitti data.split=kitti_eigen697
  python scripts/doctor.py folder --root ~/pictures data.max_depth=20
  python scripts/doctor.py nyu --config configs/nyu/labeled_stage1.yaml --root PATH --json out.json

Every finding is `ok`, a `note` (special, but training accepts it) or a `PROBLEM`, with the likely
cause and what fixes it. Lists, files, captions and features are checked in full, pixels on a
sample of each split. Nothing is changed. Exit code 0: healthy, 1: problems, 2: wrong use.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.config import REPO_ROOT, find_yaml
from common.config_values import output_path, positive, resolve_path
from common.data.data_config import DataConfig
from common.data.sets import DATA_SETS
from common.errors import UserError, run_program
from common.evaluation.scoring import EvalConfig
from common.files import check_output
from common.language.features import TextConfig
from common.programs.data_sections import read_data_sections
from common.runtime.hub import HUB_TIMEOUT, check_hub_timeout, set_hub_timeout
from scripts.doctor_checks.commands import Commands, commands_for, place_of
from scripts.doctor_checks.disk import check_disk
from scripts.doctor_checks.duplicates import compare_contents, compare_lists, compare_scenes
from scripts.doctor_checks.files import (
    ListedFiles,
    check_presence,
    check_whole,
    file_sizes,
    locate_files,
)
from scripts.doctor_checks.findings import Finding, in_threads, merged
from scripts.doctor_checks.judge_depth import judge_depth
from scripts.doctor_checks.judge_files import judge_files
from scripts.doctor_checks.lengths import llm_mde_config
from scripts.doctor_checks.lists import configured_splits, read_lists
from scripts.doctor_checks.pictures import check_image_features
from scripts.doctor_checks.pixels import probe_pair
from scripts.doctor_checks.report_text import (
    DoctorReport,
    describe,
    sorted_by_level,
    verdict,
    write_doctor_report,
)
from scripts.doctor_checks.text import check_text, text_feature_length
from scripts.doctor_checks.training import try_as_training

SECONDS_FOR_FILE_ENDS = 20.0


@dataclass(frozen=True)
class DoctorConfig:
    """The keys of a run's config that concern its data."""

    data: DataConfig
    text: TextConfig = field(default_factory=TextConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    output_root: Path = REPO_ROOT / "runs"
    hub_timeout: float = HUB_TIMEOUT
    llm_mde: Any = None  # the whole LLMMDEConfig: its language model reads the captions

    def __post_init__(self) -> None:
        check_hub_timeout(self.hub_timeout)


def main() -> None:
    """Examine, print, write --json, and exit with 1 if there are problems."""
    arguments = _parse()
    if arguments.json:
        check_output(output_path(arguments.json))
    config = load(arguments.data, arguments.config, arguments.root, arguments.overrides)
    print(f"doctor: {arguments.data} ({arguments.config}), data.root {config.data.root}\n")
    given = [item for item in arguments.overrides if item.startswith("data.")]
    given = [item for item in given if not item.startswith("data.root=")]
    typed = shlex.join([arguments.config, *given])
    report = examine(config, typed, arguments.sample)
    print("\n".join(map(describe, sorted_by_level(report.findings))))
    print(f"\n{verdict(report)}")
    if arguments.json:
        write_doctor_report(output_path(arguments.json), report)
    sys.exit(1 if report.problems else 0)


def load(data: str, yaml_name: str, root: str | None, overrides: list[str]) -> DoctorConfig:
    """The data part of a config file, any stage's or a data file, with `key=value` overrides."""
    if root:
        overrides = [f"data.root={resolve_path(root, True)}", *overrides]
    found = read_data_sections(DoctorConfig, find_yaml(yaml_name), overrides, data)
    config = found.config
    set_hub_timeout(config.hub_timeout)
    if config.data.name != data:
        raise UserError(
            f"{yaml_name} is about data.name={config.data.name}, not {data}: call doctor.py "
            f"{config.data.name}, or name another --config"
        )
    if not config.data.root.is_dir():
        fix = commands_for(config.data, config.text, yaml_name)["prepare"]
        raise UserError(f"no folder {config.data.root}; give --root PATH, or make it: {fix}")
    return replace(config, llm_mde=llm_mde_config(found.tree, found.sources))


def examine(config: DoctorConfig, given: str, num_sampled: int) -> DoctorReport:
    """Every check, from the lists down to the pixels; given: config and overrides, as typed."""
    start, data = time.monotonic(), config.data
    if not configured_splits(data):
        raise UserError("the config names no list; set data.train_list, data.test_list, data.split")
    commands = commands_for(data, config.text, given)
    lists, findings = read_lists(data, commands["prepare"])
    files: dict[str, ListedFiles] = {}
    for split, pairs in lists.items():
        files[split] = locate_files(data, split, pairs)
        findings += check_presence(files[split], data, commands["prepare"])
    sizes = file_sizes(_present_files(files.values()))
    findings += check_whole(sizes, SECONDS_FOR_FILE_ENDS)
    for listed in files.values():
        findings += examine_pixels(listed, data, num_sampled)
    findings += examine_text(config, files, commands)
    findings += examine_overlaps(files, sizes, data)
    num_images = sum(len(listed.samples) for listed in files.values())
    resolve = partial(place_of, data.root)
    length = text_feature_length(config.text, resolve)
    findings += check_disk(config.output_root, num_images, length)
    if not any(finding.level == "problem" for finding in findings):
        findings += try_as_training(data, config.eval)
    counts = {split: len(pairs) for split, pairs in lists.items()}
    return DoctorReport(data.name, merged(findings), counts, time.monotonic() - start)


def examine_pixels(listed: ListedFiles, data: DataConfig, num_sampled: int) -> list[Finding]:
    """Decode a random sample of the pairs that are there; the same one each time."""
    present = listed.present
    order = np.random.default_rng(0).permutation(len(present))[:num_sampled]
    probe = partial(probe_pair, data=data)
    probes = in_threads(probe, [present[i] for i in sorted(order)], f"decoding {listed.split}")
    if not probes:
        return []
    found = judge_files(listed.split, probes, data)
    return found + judge_depth(listed.split, probes, data)


def examine_text(
    config: DoctorConfig, files: dict[str, ListedFiles], commands: Commands
) -> list[Finding]:
    """Captions and features of all images that have ground truth."""
    keys = {split: [sample.key for sample in listed.samples] for split, listed in files.items()}
    resolve = partial(place_of, config.data.root)
    findings = check_text(
        config.text,
        keys,
        resolve,
        commands,
        flip=config.data.flip and "train" in files,
        is_needed=config.data.data_set.needs_captions,
        llm_mde=config.llm_mde,
    )
    if any(finding.code in ("feature_missing", "feature_unreadable") for finding in findings):
        return findings
    again = commands["encode_images"]
    return findings + check_image_features(config.text, resolve, files.values(), again)


def examine_overlaps(
    files: dict[str, ListedFiles], sizes: dict[str, int], data: DataConfig
) -> list[Finding]:
    """Images, and scenes, of one split that are in another one too."""
    images = {
        split: {sample.key: sample.image_file for sample in listed.present}
        for split, listed in files.items()
    }
    findings = []
    for one, two in (("train", "test"), ("val", "test"), ("train", "val")):
        if one in images and two in images:
            same = compare_lists(one, two, images[one], images[two])
            findings += same or compare_scenes(files[one], files[two], data)
            findings += compare_contents(one, two, images[one], images[two], sizes)
    return findings


def _present_files(listed: Iterable[ListedFiles]) -> list[str]:
    names = {
        file: None
        for files in listed
        for sample in files.present
        for file in (sample.image_file, sample.depth_file)
    }
    return list(names)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data", choices=list(DATA_SETS), help="the kind of data set")
    add("overrides", nargs="*", metavar="key=value", help="config keys, as for training")
    add("--config", metavar="FILE", help="default: the data set's own, e.g. configs/nyu/data.yaml")
    add("--root", metavar="DIR", help="the same as data.root=DIR")
    add(
        "--sample",
        type=positive,
        default=200,
        metavar="N",
        help="pairs of each split to decode (default %(default)s)",
    )
    add("--json", metavar="FILE", help="write the findings there too")
    arguments = parser.parse_intermixed_args()
    arguments.config = arguments.config or DATA_SETS[arguments.data].config
    return arguments


if __name__ == "__main__":
    run_program(main)
