"""Several processes of one training that share their imports: quicker than torchrun's fresh ones.

A server imports everything once, runs nothing, and forks for each rank; the ranks are processes of
their own that meet over gloo, as torchrun's do. What torchrun adds (ending the others, telling one
error once) needs `train_process(..., NPROC="2")`.
"""

import multiprocessing
import os
import sys
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from conftest import MAINS, Outcome
from hub_servers import free_port

from common.config import REPO_ROOT
from common.errors import run_program

DEADLINE = 240.0  # seconds that a training may take
GRACE = 20.0  # that the others get when one has failed
SERVER = multiprocessing.get_context("forkserver")


def train_ranks(stage: str, *arguments: str, world_size: int = 2) -> Outcome:
    """Train a stage on several processes; the largest of their exit codes, and all they said."""
    start_server()
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / f"{rank}.txt" for rank in range(world_size)]
        port = free_port()
        ranks = [
            SERVER.Process(target=be_rank, args=(rank, world_size, port, stage, arguments, output))
            for rank, output in enumerate(outputs)
        ]
        for process in ranks:
            process.start()
        codes = wait(ranks)
        said = "".join(output.read_text(encoding="utf-8") for output in outputs)
    return Outcome(max(codes), "", said)


def start_server() -> None:
    """Once; it looks for what it imports where its PYTHONPATH says."""
    SERVER.set_forkserver_preload(["ranks"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(REPO_ROOT), str(REPO_ROOT / "tests"))))
        forkserver.ensure_running()


def wait(ranks: list[ForkServerProcess]) -> list[int]:
    """Exit codes; a process that a failed one left alone is killed, and so are all in the end."""
    end = time.monotonic() + DEADLINE
    while any(process.is_alive() for process in ranks) and time.monotonic() < end:
        if any(process.exitcode for process in ranks):
            end = min(end, time.monotonic() + GRACE)
        time.sleep(0.02)
    for process in ranks:
        process.kill()
        process.join()
    return [abs(process.exitcode or 0) for process in ranks]


def be_rank(
    rank: int, world_size: int, port: int, stage: str, arguments: tuple[str, ...], output: Path
) -> None:
    """What a rank does: the environment of torchrun, then the stage's program."""
    with output.open("w", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size,
              "LOCAL_WORLD_SIZE": world_size, "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in places.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    sys.argv = ["train.py", *arguments]
    run_program(MAINS[stage])
