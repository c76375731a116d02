"""One process, several GPUs or several machines: the same few calls.

A program asks `Processes` who it is; every function here is a no-op in a single process. torchrun
(or `common/runtime/launcher.py`) sets RANK, LOCAL_RANK and WORLD_SIZE. NCCL on GPUs, gloo on CPUs.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.errors import LAUNCHER, LOST_CONTACT, UserError
from common.runtime.machine import unused_gpu


@dataclass(frozen=True)
class Processes:
    """This process's place among all of them, and its device."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> range:
        """This process's rows of the effective batch; shares differ by one at most."""
        first, end = (batch_size * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(first, end)

    def barrier(self) -> None:
        """Wait for every process."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add each named tensor over all processes (float64), in one message."""
        if self.world_size == 1 or not values:
            return values
        packed = torch.cat([v.detach().double().flatten() for v in values.values()])
        dist.all_reduce(packed)
        parts = packed.split([v.numel() for v in values.values()])
        return {k: p.view(v.shape) for (k, v), p in zip(values.items(), parts, strict=True)}

    def any(self, flag: bool) -> bool:
        """True on every process when it is True on one."""
        return self.max([float(flag)])[0] > 0

    def max(self, values: list[float]) -> list[float]:
        """The largest of each value over all processes, in one message."""
        if self.world_size == 1:
            return values
        packed = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(packed, dist.ReduceOp.MAX)
        return packed.tolist()

    def gather(self, rows: list) -> list:
        """The rows of all processes in one list, on every process."""
        if self.world_size == 1:
            return rows
        parts: list[Any] = [None] * self.world_size
        dist.all_gather_object(parts, rows)
        return [row for part in parts for row in part]


def check_address(address: str) -> None:
    """Raise a `UserError` unless MASTER_ADDR can be looked up: torch would try for minutes."""
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"MASTER_ADDR={address}: this machine cannot find that address ({reason}); give the "
            "first machine's IP address or a name that all machines know"
        ) from None


def check_num_gpus(num_processes: int) -> None:
    """Raise a `UserError` when a machine has GPUs, but fewer than processes."""
    num_gpus = torch.cuda.device_count()
    if 0 < num_gpus < num_processes:
        raise UserError(
            f"NPROC={num_processes}: this machine has {num_gpus} GPU(s) to use; set NPROC to "
            f"{num_gpus} or less, or CUDA_VISIBLE_DEVICES= (empty) to train on the CPU"
        )


@contextmanager
def join_processes(most: int | None = None) -> Iterator[Processes]:
    """Join the other processes (if any) for the length of the block.

    most: so many take part; others, for which there is no work, end with code 0. An error leaves
    the connections open until the process ends: the others only wait until then.
    """
    if LAUNCHER in os.environ and "RANK" in os.environ:
        _end_with_launcher()
    if most is not None:
        _limit_processes(most)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    use_cuda = torch.cuda.is_available()
    place = torch.device("cuda", local_rank) if use_cuda else torch.device("cpu")
    if use_cuda:
        check_num_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", local_rank + 1)))
        torch.cuda.set_device(place)
    if world_size > 1:
        check_address(os.environ.get("MASTER_ADDR", "127.0.0.1"))
        # Others wait while the main process encodes captions or images, which may take hours.
        backend, hours = "nccl" if use_cuda else "gloo", timedelta(hours=6)
        dist.init_process_group(backend, timeout=hours, **_own_store(world_size, hours))
    processes = Processes(int(os.environ.get("RANK", "0")), world_size, place)
    if processes.is_main and (warning := unused_gpu()):
        print(warning, file=sys.stderr)
    yield processes
    if world_size > 1:
        dist.destroy_process_group()


def _own_store(world_size: int, timeout: timedelta) -> dict[str, Any]:
    """Options of `init_process_group` where torchrun has started all processes again.

    Its store may still have the addresses of those that were there before (torch 2.14).
    """
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restart == "0":
        return {}
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, world_size, is_master=False, timeout=timeout)
    own = dist.PrefixStore(f"restart_{restart}", store)
    return {"store": own, "rank": int(os.environ["RANK"]), "world_size": world_size}


def _end_with_launcher() -> None:
    """Have Linux send SIGTERM when the launcher is killed, which can then end nobody itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.environ[LAUNCHER] != str(os.getppid()):
            raise SystemExit(LOST_CONTACT)  # it is gone already


def _limit_processes(most: int) -> None:
    """End this process unless it is one of the first `most`; tell torch and the user."""
    rank, local_rank, world_size, on_machine = (
        int(os.environ.get(name, default))
        for name, default in (
            ("RANK", "0"),
            ("LOCAL_RANK", "0"),
            ("WORLD_SIZE", "1"),
            ("LOCAL_WORLD_SIZE", "1"),
        )
    )
    if world_size <= most:
        return
    if rank >= most:
        raise SystemExit(0)
    if rank == 0:
        print(
            f"{most} of {world_size} processes (NPROC) train: train.batch_size={most} has no image "
            "for the others",
            file=sys.stderr,
        )
    first = rank - local_rank  # of this machine
    os.environ["WORLD_SIZE"] = str(most)
    os.environ["LOCAL_WORLD_SIZE"] = str(min(on_machine, most - first))


def wrap(
    model: nn.Module,
    processes: Processes,
    compiled: bool = False,
    has_branches: bool = False,
    log: Callable[[str], None] = print,
) -> nn.Module:
    """`model` on its device, in DDP when there are several processes, compiled if asked for.

    has_branches: a step may leave some trained parameters without a gradient. log: is told when
    `torch.compile` does not work here; the model is used as it is then.
    """
    model = model.to(processes.device)
    if processes.world_size > 1:
        ids = [processes.device.index] if processes.device.type == "cuda" else None
        model = DistributedDataParallel(
            model,
            device_ids=ids,
            gradient_as_bucket_view=True,
            find_unused_parameters=has_branches,
        )
    return compile_if_possible(model, processes, log) if compiled else model


def compile_if_possible(
    model: nn.Module, processes: Processes, log: Callable[[str], None]
) -> nn.Module:
    """`torch.compile(model)` if a small network compiles and trains here; else the model itself.

    Compilation happens at the first step and needs a compiler (C++ or Triton), whose lack should
    not end a run.
    """
    try:
        trial = nn.Sequential(nn.Linear(4, 4), nn.LeakyReLU()).to(processes.device)
        torch.compile(trial)(torch.ones(2, 4, device=processes.device)).sum().backward()
    except Exception as error:  # whatever a compiler may raise
        reason = str(error).strip().splitlines()[0][:200] or type(error).__name__
        log(f"torch.compile does not work here, training goes on without it: {reason}")
        return model
    return cast(nn.Module, torch.compile(model))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`; without pinned memory the CPU would wait for the GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP (or `torch.compile`), or the model itself."""
    for attribute in ("module", "_orig_mod"):
        model = getattr(model, attribute, model)
    return model
