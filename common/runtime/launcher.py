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
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run


def main() -> None:
    """Run `launch.py PROGRAM [arguments]`."""
    program, arguments = sys.argv[1], sys.argv[2:]
    nodes = _positive("NNODES", 1)
    per_node = _positive("NPROC", max(torch.cuda.device_count(), 1))
    if nodes * per_node == 1:
        sys.argv = [program, *arguments]
        sys.path[0] = str(Path(program).parent)
        runpy.run_path(program, run_name="__main__")
    else:
        sys.exit(_launch(program, arguments, nodes, per_node))


def _positive(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdigit() or int(text) < 1:
        print(f"error: {name}={text}: must be a whole number of at least 1", file=sys.stderr)
        sys.exit(2)
    return int(text)


def _launch(program: str, arguments: list[str], nodes: int, per_node: int) -> int:
    """Start the processes with torchrun's launcher and wait; returns their exit code."""
    words = [f"--nnodes={nodes}", f"--nproc-per-node={per_node}"]
    words += (
        ["--standalone"]
        if nodes == 1
        else [
            f"--node-rank={os.environ.get('NODE_RANK', '0')}",
            f"--master-addr={os.environ.get('MASTER_ADDR', '127.0.0.1')}",
            f"--master-port={os.environ.get('MASTER_PORT', '29500')}",
        ]
    )
    threads = max(1, (os.cpu_count() or 1) // per_node)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    for part in ("agent.server.api", "multiprocessing.api"):  # the programs speak for themselves
        logging.getLogger(f"torch.distributed.elastic.{part}").setLevel(logging.CRITICAL)
    try:
        run(get_args_parser().parse_args([*words, program, *arguments]))
    except ChildFailedError as error:
        return _exit_code(error)
    except SignalException:
        return 130
    return 0


def _exit_code(error: ChildFailedError) -> int:
    """That of a process which ended by itself; the launcher ends the others with SIGTERM."""
    codes = [failure.exitcode for failure in error.failures.values()]
    for rank, failure in error.failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:
            print(f"error: process {rank} died: {failure.message}", file=sys.stderr)
    return max(codes) if max(codes) > 0 else 1


if __name__ == "__main__":
    main()
