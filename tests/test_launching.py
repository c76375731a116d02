"""`train.sh` and its launcher: processes, machines, GPUs; every refusal is one line."""

import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from conftest import call, run_process, start_process, train_process, write_program

from common.errors import UserError
from common.runtime import launcher, machine, processes
from common.runtime.launcher import Machines, read_machines


def test_the_launcher_says_how_it_is_used():
    for words, expected in (([], "usage: sh scripts/launch.sh PROGRAM"), (["x.py"], "no program")):
        outcome = run_process("sh", "scripts/launch.sh", *words)
        assert outcome.code == 2 and expected in outcome.err


def test_the_launcher_takes_the_python_it_is_told_of():
    outcome = train_process("stage1", LANGDEPTH_PYTHON="/nowhere/python")
    assert outcome.code == 2
    assert outcome.errors == [
        "error: LANGDEPTH_PYTHON: no program /nowhere/python; name the Python of an environment"
    ]


def test_nproc_must_be_a_number():
    outcome = train_process("stage1", NPROC="two")
    assert outcome.code == 2
    assert outcome.err == "error: NPROC=two: must be a whole number of at least 1\n"


@pytest.fixture
def launched(monkeypatch):
    """Call the launcher with these variables; it must not come to start anything."""

    def outcome(**variables):
        for name in ("NPROC", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return call(launcher.main, "program.py")

    return outcome


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NPROC": "0"}, "NPROC=0: must be a whole number of at least 1"),
        ({"NNODES": "1:2"}, "NNODES=1:2: must be a whole number of at least 1"),
        ({"NODE_RANK": "two"}, "NODE_RANK=two: must be a whole number of at least 0"),
        ({"NODE_RANK": "2"}, "NODE_RANK=2: the machines are numbered from 0 to 1 (NNODES=2)"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT=http: must be a whole number"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000: must be at most 65535"),
        ({"MASTER_ADDR": "no-such-host.invalid"}, "MASTER_ADDR=no-such-host.invalid: this machine"),
        ({"MASTER_ADDR": "http://10.0.0.1"}, "MASTER_ADDR=http://10.0.0.1: this machine cannot"),
        ({"MASTER_ADDR": "a" * 80}, "cannot find that address"),
    ],
)
def test_what_the_variables_say_is_checked_before_anything_waits(launched, variables, message):
    assert message in launched(**{"NNODES": "2", "NPROC": "1", **variables}).refusal


def test_machines_that_cannot_meet_are_one_line(launched):
    """The port of the first machine is taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = launched(NNODES="2", NODE_RANK="0", MASTER_PORT=str(port), NPROC="1")
    assert f"machine 0 of 2: meets the others at 127.0.0.1:{port}" in outcome.err
    assert "the 2 machines (NNODES) cannot meet at 127.0.0.1" in outcome.refusal
    assert "MASTER_PORT" in outcome.refusal and "NODE_RANK" in outcome.refusal


def test_nobody_looks_up_the_name_of_a_machine_by_itself():
    """The first machine is called what MASTER_ADDR says, by itself too."""
    assert read_machines().options() == ["--standalone", "--local-addr=127.0.0.1"]
    assert "--local-addr=10.0.0.1" in Machines(2, 0, "10.0.0.1", 29500).options()
    assert not any("local" in o for o in Machines(2, 1, "10.0.0.1", 29500).options())


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="changing the name of the machine needs root",
)
def test_a_host_name_that_nobody_knows(workspace, tmp_path):
    train_it = "hostname no-such-host-here; exec sh stage1_vae/train.sh"
    words = " ".join(workspace.arguments("stage1", tmp_path))
    process = start_process("unshare", "-u", "sh", "-c", f"{train_it} {words}", NPROC="2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "on 2 process(es)" in err


@pytest.mark.parametrize("num_gpus", [1, 4])
def test_more_processes_than_gpus(launched, monkeypatch, num_gpus):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    refusal = launched(NPROC="8").refusal
    assert f"NPROC=8: this machine has {num_gpus} GPU(s)" in refusal
    assert "CUDA_VISIBLE_DEVICES=" in refusal


def test_more_processes_than_gpus_under_torchrun_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="NPROC=2: this machine has 1 GPU"):
        processes.join_processes().__enter__()


def test_an_address_that_does_not_exist_without_the_launcher(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "no-such-host.invalid")
    with pytest.raises(UserError, match="MASTER_ADDR=no-such-host.invalid"):
        processes.join_processes().__enter__()


@pytest.fixture
def with_gpu(monkeypatch):
    """A machine with a GPU that torch cannot use."""
    monkeypatch.setattr(machine, "_has_nvidia_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    return monkeypatch


def test_a_gpu_that_is_not_used_is_told_loudly(with_gpu):
    assert "the driver may be too old" in machine.unused_gpu()
    assert "LANGDEPTH_PYTHON" in machine.unused_gpu()
    with_gpu.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in machine.unused_gpu()
    with_gpu.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert "CUDA_VISIBLE_DEVICES=7 names none of its GPUs" in machine.unused_gpu()


def test_programs_tell_it(with_gpu, capsys):
    with processes.join_processes():
        pass
    assert capsys.readouterr().err.startswith("WARNING: this machine has an NVIDIA GPU, but")


def test_nothing_is_told_where_the_cpu_was_asked_for(with_gpu):
    for value in ("", "-1"):
        with_gpu.setenv("CUDA_VISIBLE_DEVICES", value)
        assert machine.unused_gpu() is None
    with_gpu.delenv("CUDA_VISIBLE_DEVICES")
    with_gpu.setattr(machine, "_has_nvidia_gpu", lambda: False)
    assert machine.unused_gpu() is None


@pytest.mark.parametrize(("listing", "found"), [("GPU 0: H100", True), ("No devices", False)])
def test_nvidias_own_program_is_asked(tmp_path, monkeypatch, listing, found):
    write_program(tmp_path / "nvidia-smi", f'test "$1" = -L && echo "{listing}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine._has_nvidia_gpu() == (found or Path("/dev/nvidia0").exists())
