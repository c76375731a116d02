"""Start a training program once, or once per GPU, or on several machines (called by `train.sh`).

NPROC: processes on this machine (default: one per visible GPU, else 1). NNODES, NODE_RANK,
MASTER_ADDR and MASTER_PORT are torchrun's own. The exit code is the program's: 0, 2 for a user's
mistake, 130 after a saved Ctrl-C.
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
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import get_args_parser, run

from common.errors import UserError, run_program
from common.runtime.processes import check_address, check_num_gpus
from common.runtime.threads import are_chosen, free_threads


@dataclass(frozen=True)
class Machines:
    """How many machines there are, which this one is, and where they meet."""

    count: int
    rank: int
    address: str
    port: int

    def options(self) -> list[str]:
        """Of torchrun."""
        if self.count == 1:
            # A machine need not be able to look up its own name.
            return ["--standalone", "--local-addr=127.0.0.1"]
        first = [f"--local-addr={self.address}"] if self.rank == 0 else []
        return [
            f"--node-rank={self.rank}",
            f"--master-addr={self.address}",
            f"--master-port={self.port}",
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


def _launch(command: list[str], machines: Machines, per_machine: int) -> int:
    """Start the processes with torchrun's launcher and wait; returns their exit code."""
    words = [f"--nnodes={machines.count}", f"--nproc-per-node={per_machine}", *machines.options()]
    if not are_chosen():
        os.environ["OMP_NUM_THREADS"] = str(max(1, free_threads()[0] // per_machine))
    for part in ("agent.server.api", "multiprocessing.api"):  # the programs speak for themselves
        logging.getLogger(f"torch.distributed.elastic.{part}").setLevel(logging.CRITICAL)
    place = f"{machines.address}:{machines.port}"
    if machines.count > 1:
        print(
            f"machine {machines.rank} of {machines.count}: meets the others at {place}",
            file=sys.stderr,
        )
    try:
        run(get_args_parser().parse_args([*words, *command]))
    except ChildFailedError as error:
        return _exit_code(error)
    except SignalException:
        return 130
    except (DistError, RendezvousError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the {machines.count} machines (NNODES) cannot meet at {place}: {reason}; check "
            "MASTER_ADDR and MASTER_PORT, and that each machine was started with its NODE_RANK"
        ) from error
    return 0


def _exit_code(error: ChildFailedError) -> int:
    """That of a process which ended by itself; the launcher ends the others with SIGTERM."""
    codes = [failure.exitcode for failure in error.failures.values()]
    for rank, failure in error.failures.items():
        if failure.exitcode == -getattr(signal, "SIGKILL", 9):
            print(
                f"error: process {rank} was killed, as systems do without memory; set "
                "train.num_workers or train.micro_batch_size to less, or give the job more memory "
                "(Slurm: --mem)",
                file=sys.stderr,
            )
        elif failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            print(f"error: process {rank} died: {failure.message}", file=sys.stderr)
    return max(codes) if max(codes) > 0 else 1


if __name__ == "__main__":
    run_program(main)
