"""Measure a packed feature file of the published size: its disk space, opening and look-up.

  python benchmarks/text_features.py

Writes 48,695 image keys of the published lengths with 9,271 distinct random features (NYU 24,885
images with 5,467 captions, KITTI 23,810 with 3,804) into a temporary folder, then opens the file in
fresh processes, one for each round.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.measure import Measurement, benchmark_parser, report
from common.errors import run_program
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore

NUM_NYU, NUM_KITTI = 24_231 + 654, 23_158 + 652
NUM_NYU_CAPTIONS, NUM_KITTI_CAPTIONS = 5_467, 3_804
DIM = 1024
NUM_LOOK_UPS = 10_000


def main() -> None:
    """Write the file, open it in fresh processes, print the table."""
    arguments = parse()
    if arguments.open:
        print(json.dumps(open_and_look_up(Path(arguments.open))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.safetensors"
        write_synthetic(path)
        command = [sys.executable, __file__, "--open", str(path)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(arguments.rounds)]
        facts: dict[str, float | str] = {
            "images": f"{NUM_NYU + NUM_KITTI:,}",
            "features": f"{runs[0]['num_rows']:,}",
            "MB on disk": path.stat().st_size / 1e6,
        }
    opening = tuple(1e3 * run["open_s"] for run in runs)
    look_up = tuple(1e6 * run["look_up_s"] for run in runs)
    rows = [Measurement("opening", "ms", opening, facts), Measurement("one look-up", "us", look_up)]
    report("text_features", arguments, rows)


def write_synthetic(path: Path) -> None:
    """A file like that of all published features."""
    generator = torch.Generator().manual_seed(0)
    nyu = torch.randint(NUM_NYU_CAPTIONS, (NUM_NYU,), generator=generator)
    kitti = torch.randint(NUM_KITTI_CAPTIONS, (NUM_KITTI,), generator=generator)
    nyu[:NUM_NYU_CAPTIONS] = torch.arange(NUM_NYU_CAPTIONS)  # each caption occurs
    kitti[:NUM_KITTI_CAPTIONS] = torch.arange(NUM_KITTI_CAPTIONS)
    rows = torch.cat([nyu, NUM_NYU_CAPTIONS + kitti])
    distinct = torch.randn(NUM_NYU_CAPTIONS + NUM_KITTI_CAPTIONS, DIM, generator=generator)
    features = torch.nn.functional.normalize(distinct).half()[rows]
    write_features(path, synthetic_keys(), features, {"encoder": "random"})


def synthetic_keys() -> list[str]:
    """Image paths as long as the published ones."""
    nyu = [f"living_room_{i // 90:04d}b/rgb_{i % 90:05d}.jpg" for i in range(NUM_NYU)]
    drive = "2011_09_26/2011_09_26_drive_{:04d}_sync/image_02/data/{:010d}.png"
    return nyu + [drive.format(i // 700, i % 700) for i in range(NUM_KITTI)]


def open_and_look_up(path: Path) -> dict[str, float]:
    """Seconds to open the file and to fetch one feature by its key, in this fresh process."""
    keys = random.Random(0).choices(synthetic_keys(), k=NUM_LOOK_UPS)
    start = time.perf_counter()
    store = FeatureStore.open(path)
    opened = time.perf_counter()
    for key in keys:
        store[key]
    end = time.perf_counter()
    num_rows = len(store.tables[0].features)
    return {
        "open_s": opened - start,
        "look_up_s": (end - opened) / NUM_LOOK_UPS,
        "num_rows": num_rows,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = benchmark_parser(__doc__ or "", rounds=5)
    parser.add_argument("--open", metavar="FILE", help="only time this file, print JSON")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    return arguments


if __name__ == "__main__":
    run_program(main)
