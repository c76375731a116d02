"""Seconds and memory of a start with a list of a million pairs, and of its data workers.

  python benchmarks/large_lists.py
  python benchmarks/large_lists.py --pairs 100000 --rounds 1

Generated pairs: folders that are links to one with a thousand pairs, a list, and captions of which
997 are distinct. "first step": a real training run of stage 1 (small images, features of captions
standardized), from the command to the first step's line. "CPU s": the processor's seconds of the
whole run. "GB": the largest memory of a process so far; `--pairs 3000` shows what imports and
network take of it. "again": the captions are encoded already. A worker's own memory is what it
shares with no other process, after it has read a thousand random items. Linux only.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import yaml
from torch.utils.data import DataLoader, get_worker_info

from benchmarks.frames import write_nyu
from benchmarks.launching import run_stage1
from benchmarks.measure import Measurement, benchmark_parser, report
from common.config_values import positive
from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.splits import SplitFinder
from common.errors import run_program
from common.language.features import FeaturePlace, TextConfig
from common.language.language import Needs, load_language, read_all_captions

PER_FOLDER, NUM_CAPTIONS, SIZE, NUM_READ = 1000, 997, (32, 64), 1000
MODEL = {"latent_dim": 16, "code_channels": 8, "standardize_text": True}
WORDS = ("train.max_steps=1", "train.batch_size=4", "train.num_workers=0", "train.resume=false")


def main() -> None:
    """A tree, two starts of a training on it, workers of both kinds."""
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root / "data", arguments.pairs)
        config = write_config(root)
        rows = [first_step("first step", config), first_step("first step again", config)]
        for start in ("fork", "spawn"):
            measured = json.loads(_own_process(root, start))
            facts = {"GB": measured["gigabytes"]}
            rows.append(
                Measurement(f"a worker's first items, {start}", "s", (measured["seconds"],), facts)
            )
    report("large_lists", arguments, rows)


def write_tree(root: Path, num_pairs: int) -> None:
    """Pairs in linked folders, `train.txt` and `captions.jsonl`."""
    per_folder = min(PER_FOLDER, num_pairs)
    write_nyu(root / "frames", per_folder, 20, SIZE, 4)
    names = (root / "frames" / "train.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split()[:2] for line in names]
    with (
        (root / "train.txt").open("w", encoding="utf-8") as lines,
        (root / "captions.jsonl").open("w", encoding="utf-8") as captions,
    ):
        for number in range(num_pairs):
            part, row = divmod(number, per_folder)
            place = f"part_{part:04d}"
            if row == 0:
                (root / place).symlink_to("frames", target_is_directory=True)
            image, depth = pairs[row]
            lines.write(f"/{place}{image} /{place}{depth} 518.8579\n")
            caption = f"A room with {number * 7919 % NUM_CAPTIONS} chairs."
            captions.write(json.dumps({"image": f"{place}{image}", "caption": caption}) + "\n")


def write_config(root: Path) -> Path:
    """Of stage 1; the smallest network that reads features of the untrained encoder."""
    height, width = SIZE
    content = {
        "experiment": "benchmark",
        "output_root": str(root / "runs"),
        "data": {
            "name": "nyu",
            "root": str(root / "data"),
            "train_list": "train.txt",
            "height": height,
            "width": width,
            "max_depth": 10.0,
        },
        "text": {"captions": "captions.jsonl", "encoder": "untrained:0"},
        "model": MODEL,
        "train": {"log_every": 1},
        "eval": {"every": 10**9, "protocol": "none", "max_images": 4},
    }
    path = root / "stage1.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def first_step(name: str, config: Path) -> Measurement:
    """From the command to the first step's line; the memory of the largest process."""
    outcome = run_stage1(config, WORDS, NPROC="1")
    facts: dict[str, float | str] = {
        "GB": outcome.peak_gigabytes,
        "CPU s": outcome.cpu_seconds,
    }
    return Measurement(name, "s", (outcome.seen_at[0],), facts)


def _own_process(root: Path, start: str) -> str:
    command = [sys.executable, __file__, "--worker", start, "--root", str(root)]
    return subprocess.check_output(command, text=True)


def measure_worker(root: Path, start: str) -> dict[str, float]:
    """Seconds until a worker has read some random items, and its own memory then."""
    data = DataConfig("nyu", root / "data", *SIZE, max_depth=10.0, train_list="train.txt")
    split = SplitFinder(data).find("train")
    text = TextConfig(captions="captions.jsonl", encoder="untrained:0")
    place = FeaturePlace(lambda name: root / "data" / name, root / "runs" / "features")
    captions = read_all_captions(text, place.resolve)
    language = load_language(text, captions, "train", split.files, Needs(1024), place)
    dataset = build_dataset(data, split, language)
    rows = np.random.default_rng(0).integers(len(dataset), size=NUM_READ).tolist()
    began = time.perf_counter()
    loader = DataLoader(
        dataset,
        batch_size=NUM_READ,
        sampler=rows,
        num_workers=1,
        collate_fn=_own_memory,
        multiprocessing_context=start,
    )
    gigabytes: Any = next(iter(loader))
    return {"seconds": time.perf_counter() - began, "gigabytes": gigabytes}


def _own_memory(items: list) -> float:
    """Of this worker, in place of a batch."""
    assert get_worker_info() is not None
    del items
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1e6


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=1)
    parser.add_argument(
        "--pairs", type=positive, default=10**6, metavar="N", help="of the list (a million)"
    )
    parser.add_argument("--worker", choices=("fork", "spawn"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure_worker(arguments.root, arguments.worker)))
        raise SystemExit(0)
    if arguments.quick:
        arguments.pairs = 3000
    return arguments


if __name__ == "__main__":
    run_program(main)
