"""Threads by what the machine really gives, and steps that become slow."""

import multiprocessing
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import start_process

from common.engine import pace
from common.engine.pace import Pace
from common.runtime import cores, threads
from common.runtime.processes import Processes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_chosen_number(monkeypatch):
    for name in threads.CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def eight_cores(monkeypatch):
    """A machine of eight, with eight threads of torch."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "num_cores", lambda: 8)
    monkeypatch.setattr(threads, "allowed_cores", lambda: range(8))
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def meter(others):
    return SimpleNamespace(seconds=1.0, others=lambda: others)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "\xff\n"}, None),
        ({}, None),
    ],
    ids=["v2", "v2 without", "v1", "v1 without", "damaged", "no cgroups"],
)
def test_the_quota_of_a_container(tmp_path, monkeypatch, files, quota):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/x\n1:cpu,cpuacct:/\n0::/\n")
    monkeypatch.setattr(cores, "PROC", tmp_path / "proc")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    assert cores.cpu_quota(tmp_path) == quota


def test_the_quota_of_a_group_above(tmp_path, monkeypatch):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/slurm/job_7/step_0\n")
    (tmp_path / "slurm/job_7/step_0").mkdir(parents=True)
    (tmp_path / "slurm/job_7/step_0/cpu.max").write_text("max 100000\n")
    (tmp_path / "slurm/job_7/cpu.max").write_text("300000 100000\n")
    monkeypatch.setattr(cores, "PROC", tmp_path / "proc")
    assert cores.cpu_quota(tmp_path) == 3.0


@pytest.mark.parametrize(("quota", "number"), [(None, 6), (2.9, 2), (0.5, 1), (64.0, 6)])
def test_cores_are_those_allowed_within_the_quota(monkeypatch, quota, number):
    monkeypatch.setattr(cores, "allowed_cores", lambda: range(6))
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.num_cores() == number


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity is Linux's")
def test_affinity_counts():
    code = "from common.runtime.cores import num_cores; print(num_cores())"
    first = min(os.sched_getaffinity(0))
    command = f"import os; os.sched_setaffinity(0, {{{first}}}); {code}"
    found = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert found.stdout == "1\n", found.stderr


@pytest.mark.skipif(not cores.PROC.exists(), reason="the load is read from /proc")
def test_data_workers_are_not_others():
    child = multiprocessing.get_context("fork").Process(target=_spin)
    child.start()
    try:
        while cores._seconds_of(child.pid) < 0.2:
            time.sleep(0.05)
        assert cores._own_seconds() - time.process_time() > 0.15
    finally:
        child.kill()
        child.join()


@pytest.mark.skipif(not cores.PROC.exists(), reason="the load is read from /proc")
def test_another_program_is_one():
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before, beside = cores._seconds_of(program.pid), cores.LoadMeter()
        while cores._seconds_of(program.pid) - before < 0.3:
            time.sleep(0.05)
        assert beside.others() * beside.seconds > 0.2
    finally:
        program.kill()
        program.wait()


def _spin():
    while True:
        pass


def test_where_the_system_does_not_tell(tmp_path, monkeypatch, eight_cores):
    monkeypatch.setattr(cores, "PROC", tmp_path)
    found = cores.LoadMeter()
    assert found.others() is None
    assert threads.fit_threads(CPU, found) is None
    assert torch.get_num_threads() == 8


@pytest.mark.parametrize(
    ("others", "number"), [(0.0, 8), (0.3, 8), (1.0, 7), (5.5, 2), (8.0, 1), (30.0, 1)]
)
def test_as_many_threads_as_cores_are_free(eight_cores, others, number):
    line = threads.fit_threads(CPU, meter(others))
    assert torch.get_num_threads() == number
    assert (line is None) == (number == 8)
    if line:
        assert f"{number} of 8 cores" in line and f"{others:.1f} busy" in line


def test_a_number_of_the_user_stays_and_so_do_threads_beside_a_gpu(eight_cores, monkeypatch):
    assert threads.fit_threads(torch.device("cuda"), meter(7.0)) is None
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert threads.fit_threads(CPU, meter(7.0)) is None
    assert torch.get_num_threads() == 8


def test_a_resumed_run_keeps_its_number(eight_cores, monkeypatch):
    def resume(number, num_processes=1, others=0.0):
        began = {"processes": 1, "threads": number} if number else None
        return threads.resume_threads(began, num_processes, CPU, meter(others))

    assert resume(3) is None
    assert threads.threads_of_run(1) == {"processes": 1, "threads": 3}
    assert "computes with 3 threads as when it began" in resume(3, others=7.0)
    assert torch.get_num_threads() == 3
    assert "began with 9 thread(s) and goes on with 3" in resume(9)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "began with 2" in resume(2, others=8.0)
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("number", "num_processes"), [(None, 1), (3, 2)])
def test_what_is_not_known_is_fitted(eight_cores, number, num_processes):
    began = {"processes": 1, "threads": number} if number else None
    line = threads.resume_threads(began, num_processes, CPU, meter(7.0))
    assert "computes with 1 of 8 cores" in line
    assert torch.get_num_threads() == 1


@pytest.fixture
def watched(monkeypatch):
    """A run's pace on two cores, with two threads; `others` is what other programs keep busy."""
    state = SimpleNamespace(others=0.0)
    monkeypatch.setattr(pace, "LoadMeter", lambda: SimpleNamespace(others=lambda: state.others))
    monkeypatch.setattr(pace, "num_cores", lambda: 2)
    monkeypatch.setattr(pace.torch, "get_num_threads", lambda: 2)
    watch = Pace(Processes(0, 1, CPU))

    def see(*seconds, waited=0.0):
        lines = [watch.see({"step_seconds": s, "data_seconds": waited * s}) for s in seconds]
        return [line for line in lines if line is not None]

    state.see = see
    return state


def test_steps_that_become_slow_are_told_once_with_the_cure(watched):
    assert watched.see(9.0, 0.1, 0.1, 0.1, 0.1) == []  # the first window warms up
    assert watched.see(1.0, 0.1, 0.1, 0.1) == []  # one slow window is no slow run
    watched.others = 1.9
    (line,) = watched.see(*[0.9] * 20)
    assert line.startswith("a step takes 0.9 s, 9 times the 0.1 s of before")
    assert "1.9 of 2 core(s) busy" in line and "OMP_NUM_THREADS=1" in line
    (line,) = watched.see(*[2.0] * 20)  # worse
    assert "20 times" in line
    assert watched.see(*[0.1] * 20) == []
    assert len(watched.see(*[0.5] * 20)) == 1  # again


@pytest.mark.parametrize(
    ("others", "waited", "part"),
    [
        (1.9, 0.8, "80 % of it waits for data"),
        (0.1, 0.0, "nothing that this program sees"),
        (1.1, 0.0, "OMP_NUM_THREADS=1"),
        (0.4, 0.0, "which this run must share"),
    ],
)
def test_the_reason_of_slow_steps(watched, others, waited, part):
    watched.see(*[0.1] * 5)
    watched.others = others
    (line,) = watched.see(*[0.5] * 5, waited=waited)
    assert part in line


def test_lines_about_speed_are_bounded(watched):
    watched.see(*[0.1] * 5)
    found = [watched.see(*[0.5] * 4, *[0.1] * 4) for _ in range(30)]
    assert sum(map(len, found)) == pace.MOST_LINES


@pytest.mark.slow
@pytest.mark.skipif(cores.num_cores() < 2, reason="needs two cores")
def test_a_training_beside_busy_programs_takes_fewer_threads(workspace, tmp_path):
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(cores.num_cores())
    ]
    try:
        words = workspace.arguments("stage1", tmp_path, "train.max_steps=2")
        process = start_process(
            "sh", "stage1_vae/train.sh", *words, NPROC="1", OMP_NUM_THREADS="", MKL_NUM_THREADS=""
        )
        _, err = process.communicate(timeout=300)
    finally:
        for program in others:
            program.kill()
            program.wait()
    assert process.returncode == 0, err
    assert re.search(r"computes with \d+ of \d+ cores, as other programs keep", err), err
