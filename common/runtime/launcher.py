"""Start a training program once, or once per GPU, or on several machines (called by `train.sh`).

NPROC: processes on this machine (default: one per visible GPU, else 1). NNODES, NODE_RANK,
MASTER_ADDR and MASTER_PORT are torchrun's own. MAX_RESTARTS: how often torchrun starts all
processes again when one dies (0). RDZV_TIMEOUT: seconds in which the machines must meet (900). The
exit code is the program's: 0, 2 for a user's mistake, 130 when told to stop; 137: one was killed.
"""

import logging
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import get_args_parser, run

from common.errors import INTERRUPTED, LAUNCHER, LOST_CONTACT, UserError, run_program
from common.runtime.machine_watch import MachineWatch
from common.runtime.processes import check_address, check_num_gpus
from common.runtime.threads import are_chosen, free_threads
from common.stops import HANG_UP, STOPS, ignores_hang_up, note_arrival


@dataclass(frozen=True)
class Machines:
    """How many machines there are, which this one is, and where they meet."""

    count: int
    rank: int
    address: str
    port: int

    @property
    def place(self) -> str:
        return f"{self.address}:{self.port}"

    def options(self) -> list[str]:
        """Of torchrun."""
        if self.count == 1:
            # A machine need not be able to look up its own name.
            return ["--standalone", "--local-addr=127.0.0.1"]
        timeout = _whole_number("RDZV_TIMEOUT", 900)
        first = [f"--local-addr={self.address}"] if self.rank == 0 else []
        return [
            f"--node-rank={self.rank}",
            f"--master-addr={self.address}",
            f"--master-port={self.port}",
            f"--rdzv-conf=timeout={timeout}",
            *first,
        ]


def main() -> None:
    """Run `launcher.py PROGRAM [arguments]`."""
    program, arguments = sys.argv[1], sys.argv[2:]
    machines = read_machines()
    per_machine = _whole_number("NPROC", max(torch.cuda.device_count(), 1))
    check_num_gpus(per_machine)
    if machines.count * per_machine == 1:
        sys.argv = [program, *arguments]
        sys.path[:2] = [str(Path(program).parent)]  # for this file's folder and the one above
        runpy.run_path(program, run_name="__main__")
    else:
        sys.exit(_launch([program, *arguments], machines, per_machine))


def read_machines() -> Machines:
    """What NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT say; one machine needs none of them."""
    count = _whole_number("NNODES", 1)
    if count == 1:
        return Machines(1, 0, "127.0.0.1", 0)
    rank = _whole_number("NODE_RANK", 0, least=0)
    if rank >= count:
        raise UserError(
            f"NODE_RANK={rank}: the machines are numbered from 0 to {count - 1} (NNODES={count})"
        )
    port = _whole_number("MASTER_PORT", 29500)
    if port > 65535:
        raise UserError(f"MASTER_PORT={port}: must be at most 65535")
    address = os.environ.get("MASTER_ADDR", "") or "127.0.0.1"
    check_address(address)
    return Machines(count, rank, address, port)


def _whole_number(name: str, default: int, least: int = 1) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text}: must be a whole number of at least {least}")
    return int(text)


def can_leave_hang_ups() -> bool:
    """Whether this torchrun can be told to leave them alone: it knows of no `nohup`."""
    return "--signals-to-handle" in get_args_parser().format_help()


def _stop_once(number: int, _frame: object) -> None:
    """Of several hang-ups the first, as torchrun waits for its processes after one signal only."""
    note_arrival(number)
    os.kill(os.getpid(), signal.SIGTERM)


def _launch(command: list[str], machines: Machines, per_machine: int) -> int:
    """Start the processes with torchrun's launcher and wait; returns their exit code."""
    restarts = _whole_number("MAX_RESTARTS", 0, least=0)
    words = [f"--nnodes={machines.count}", f"--nproc-per-node={per_machine}", *machines.options()]
    words += [f"--max-restarts={restarts}"]
    if can_leave_hang_ups():
        words += ["--signals-to-handle=SIGTERM,SIGINT,SIGQUIT"]
        if HANG_UP and not ignores_hang_up():
            signal.signal(HANG_UP, _stop_once)
    if not are_chosen():
        os.environ["OMP_NUM_THREADS"] = str(max(1, free_threads()[0] // per_machine))
    for part in ("agent.server.api", "multiprocessing.api"):  # the programs speak for themselves
        logger = logging.getLogger(f"torch.distributed.elastic.{part}")
        logger.setLevel(logging.ERROR if restarts else logging.CRITICAL)
    watch = MachineWatch(machines.rank, machines.count, machines.address, machines.port)
    if machines.count > 1:
        print(
            f"machine {machines.rank} of {machines.count}: meets the others at {machines.place}",
            file=sys.stderr,
        )
        watch.start()
    code = 2
    try:
        code = _run_processes([*words, *command], machines, watch)
    finally:
        watch.end(code)
    return code


def _run_processes(words: list[str], machines: Machines, watch: MachineWatch) -> int:
    """Torchrun's command line; returns the exit code."""
    try:
        run(get_args_parser().parse_args(words))
    except ChildFailedError as error:
        return _exit_code(error.failures, watch)
    except SignalException:
        if watch.lost and watch.code != INTERRUPTED:
            print(watch.describe(""), file=sys.stderr)
        return watch.code if watch.lost else INTERRUPTED
    except (DistError, RendezvousError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the {machines.count} machines (NNODES) cannot meet at {machines.place}: {reason}; "
            "check MASTER_ADDR and MASTER_PORT, that each machine was started with its NODE_RANK, "
            "and that all start within RDZV_TIMEOUT seconds (900)"
        ) from error
    return 0


def _exit_code(failures: dict[int, ProcessFailure], watch: MachineWatch) -> int:
    """That of the process that ended first; the launcher ends the others with SIGTERM."""
    first = min(failure.timestamp for failure in failures.values())
    for rank, failure in failures.items():
        number = -failure.exitcode
        if number > 0 and number not in STOPS and failure.timestamp <= first + 1:
            print(f"error: {_describe_death(rank, failure.pid, number)}", file=sys.stderr)
            return 128 + number
    codes = {failure.exitcode for failure in failures.values()}
    if mistakes := {code for code in codes if code > 0} - {INTERRUPTED, LOST_CONTACT}:
        return max(mistakes)
    if LOST_CONTACT not in codes:
        if INTERRUPTED not in codes:  # before it knew of signals
            print("interrupted before the first step; there is nothing to save", file=sys.stderr)
        return INTERRUPTED
    print(watch.describe("contact with another process was lost"), file=sys.stderr)
    return 2


def _describe_death(rank: int, pid: int, number: int) -> str:
    """Which process, by which signal, and what to look at."""
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    goes_on = "the same command goes on from the last checkpoint"
    if number == getattr(signal, "SIGKILL", 9):
        return (
            f"process {rank} (PID {pid}) was killed by {name}, as systems do without memory (see "
            "dmesg, or Slurm's sacct); set train.num_workers or train.micro_batch_size to less, or "
            f"give the job more memory (Slurm: --mem); {goes_on}"
        )
    return (
        f"process {rank} (PID {pid}) died by {name}, in code that is not Python's; look at the "
        f"lines above, and start it with PYTHONFAULTHANDLER=1 to see where; {goes_on}"
    )


if __name__ == "__main__":
    os.environ[LAUNCHER] = str(os.getpid())
    run_program(main)
