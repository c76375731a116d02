"""A training that stays at one moment for long, for tests that send signals there.

    python tests/stopped_moments.py MOMENT[@RANK] FOLDER [arguments of stage1_vae/train.py]

When it is there, process RANK (each one, or the one named) writes its number to FOLDER/RANK. Run by
the launcher, as a program.
"""

import os
import signal
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch.distributed as dist

from common.engine.fetching import PartFetcher
from common.engine.update import Update
from common.errors import UserError, run_program
from common.evaluation import scoring
from common.programs import ready
from common.programs import train as program
from common.runtime import checkpoints
from stage1_vae.train import main

LONG = 600.0
STEP = 2  # the third one


def arrive(folder, seconds):
    """Write down that the moment has come, and stay there."""
    with (folder / os.environ.get("RANK", "0")).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)


def hold(owner, name, stay, when=lambda *_: True):
    """Stay before each call of a function for which `when` holds."""
    before = getattr(owner, name)

    def held(*arguments, **options):
        if when(*arguments):
            stay()
        return before(*arguments, **options)

    setattr(owner, name, held)


def without_python(folder):
    """Wait where no handler of Python's is run: for a key that no process ever sets."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    arrive(folder, 0)
    store.wait(["never"], timedelta(seconds=LONG))


def fail(error):
    raise error


def die_once(folder):
    """As a process that the system kills for its memory; not when it is started again."""
    mark = folder / "killed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def die_beside_a_wait(folder):
    """Process 1 dies while the others wait for their data; not when they are started again."""
    if (folder / "killed").exists():
        return
    if os.environ["RANK"] != "1":
        arrive(folder, LONG)
    while not (folder / "0").exists():
        time.sleep(0.05)
    die_once(folder)


def at_step(_, step, *__):
    return step == STEP


def prepare(moment, folder):
    """Have the training stay at the moment."""
    stay = partial(arrive, folder, LONG)
    if moment == "set-up":
        hold(ready, "load_data", stay)
    elif moment == "first step":
        hold(Update, "_differentiate", stay)
    elif moment == "step":
        hold(Update, "_differentiate", stay, at_step)
    elif moment == "data":
        hold(PartFetcher, "fetch", stay, lambda _, step: step == STEP)
    elif moment == "evaluation":
        hold(scoring, "score_batch", partial(arrive, folder, 3.0))
    elif moment == "save":
        hold(checkpoints.torch, "save", partial(arrive, folder, 3.0))
    elif moment == "start":
        hold(program, "join_processes", stay)
    elif moment == "mistake":
        hold(program, "join_processes", partial(fail, UserError("a mistake")))
    elif moment == "bug":
        hold(Update, "_differentiate", partial(fail, ZeroDivisionError("a bug")), at_step)
    elif moment == "killed once":
        hold(Update, "_differentiate", partial(die_once, folder), at_step)
    elif moment == "killed beside a wait":
        hold(PartFetcher, "fetch", partial(die_beside_a_wait, folder), lambda _, step: step == STEP)
    elif moment == "no python":
        hold(Update, "_differentiate", partial(without_python, folder), at_step)


if __name__ == "__main__":
    moment, folder, *sys.argv[1:] = sys.argv[1:]
    moment, _, rank = moment.partition("@")
    if rank in ("", os.environ.get("RANK", "0")):
        prepare(moment, Path(folder))
    run_program(main)
