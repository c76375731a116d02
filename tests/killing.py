"""A training that is killed at a chosen point, started again, and compared with one that was not.

    total = train_forked(stage, arguments, log)                   # in a process of its own
    train_forked(stage, arguments, log, kill=at_call(1234))       # SIGKILL at the 1234th call
    train_forked(stage, arguments, log, kill=in_call("_score"))   # when that function is entered

Points are counted in calls that our code (and `torch.save`) makes, Python's and C's: between two
renames, in the middle of a file, in an evaluation. The processes are forked from the test's, which
has everything imported; nothing is caught or cleaned up by SIGKILL.
"""

import os
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
import torch.serialization
from conftest import MAINS, call, metrics_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_resume import TIMES, same

from common import errors
from common.config import REPO_ROOT

OURS = (str(REPO_ROOT / "common"), torch.serialization.__file__)
# Of a frame and the number of calls so far: whether to kill here.
Kill = Callable[[str, str, int], bool]


def at_call(number: int) -> Kill:
    """At that call of the process."""
    return lambda name, event, count: count == number


def in_call(wanted: str, number: int = 1, after: str | None = None) -> Kill:
    """When a function, Python's or C's, is called for that time; after: once another was."""
    seen = {"wanted": 0, "after": after is None}

    def kill(name: str, event: str, count: int) -> bool:
        if name == after:
            seen["after"] = True
        elif name == wanted and seen["after"]:
            seen["wanted"] += 1
        return name == wanted and seen["wanted"] == number

    return kill


@dataclass(frozen=True)
class Ended:
    """How a process ended. calls: of one that was not killed; to_fit: before its first step."""

    was_killed: bool
    code: int
    calls: int = 0
    to_fit: int = 0


class _Profile:
    def __init__(self, kill: Kill | None) -> None:
        self.kill, self.process, self.count, self.to_fit = kill, os.getpid(), 0, 0

    def __call__(self, frame, event, argument) -> None:
        if event not in ("call", "c_call") or not frame.f_code.co_filename.startswith(OURS):
            return
        self.count += 1
        name = frame.f_code.co_name if event == "call" else argument.__name__
        if name == "fit":
            self.to_fit = self.count
        # A data worker has this profile from its parent.
        if self.kill and self.kill(name, event, self.count) and os.getpid() == self.process:
            os.kill(self.process, signal.SIGKILL)


def train_forked(
    stage: str,
    arguments: list[str],
    log: Path,
    kill: Kill | None = None,
    num_processes: int = 1,
    killed_rank: int = 0,
) -> Ended:
    """Train in forked processes; what one prints goes to `log`. After one is killed, all are."""
    places: list[dict[str, str]] = [{}]
    if num_processes > 1:
        shared = {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1"}
        shared["MASTER_PORT"] = str(_free_port())
        ranks = map(str, range(num_processes))
        places = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in ranks]
    logs = [log.with_name(f"{log.name}_{rank}") for rank in range(num_processes)]
    started = [
        start_forked(stage, arguments, logs[rank], kill if rank == killed_rank else None, **place)
        for rank, place in enumerate(places)
    ]
    ended = wait_for(started[killed_rank], logs[killed_rank])
    log.write_text("".join(path.read_text() for path in logs if path.is_file()))
    for rank, process in enumerate(started):
        if rank != killed_rank:
            if ended.was_killed:
                os.kill(process, signal.SIGKILL)
            wait_for(process, logs[rank])
    return ended


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_forked(
    stage: str, arguments: list[str], log: Path, kill: Kill | None = None, **variables: str
) -> int:
    """The process that trains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads; none is needed there
        process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setpgid(0, 0)
        os.environ.update(variables)
        profile = _Profile(kill)
        sys.setprofile(profile)
        with patch.object(errors, "leave", sys.exit):  # what it prints is to be written first
            outcome = call(MAINS[stage], *arguments)
        sys.setprofile(None)
        code = outcome.code
        log.write_text(f"{profile.count} {profile.to_fit}\n{outcome.err}")
    except BaseException:
        log.write_text(f"0 0\n{traceback.format_exc()}")
    finally:
        os._exit(code)


def wait_for(process: int, log: Path) -> Ended:
    """The end of a process of `start_forked`."""
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return Ended(True, -signal.SIGKILL)
    calls, to_fit = map(int, log.read_text().split("\n", 1)[0].split())
    return Ended(False, os.WEXITSTATUS(status), calls, to_fit)


def check_same_run(one: Path, other: Path) -> None:
    """Two run folders with the same training: checkpoints, metrics and TensorBoard, bit for bit."""
    for name in ("last.pt", "best.pt"):
        a, b = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other))
        assert a.keys() == b.keys()
        for key in a.keys() - {"config"}:  # which names the folder
            assert same(a[key], b[key]), (name, key)
    assert _lines(one) == _lines(other)
    assert _scalars(one) == _scalars(other)


def _lines(run: Path) -> list[dict]:
    lines = metrics_of(run, "train") + metrics_of(run, "val")
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def _scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(run / "tensorboard"), {"scalars": 0}).Reload()
    tags = [tag for tag in board.Tags()["scalars"] if tag.split("/")[-1] not in TIMES]
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags}
