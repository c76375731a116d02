"""A process, or a machine, that is gone: the others end in time, and one line says why."""

import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from conftest import metrics_of, run_process, start_process, train_process
from test_resume import TIMES, last, same

from common.config import REPO_ROOT
from common.runtime import machine_watch
from common.runtime.machine_watch import MachineWatch

DRIVER = str(REPO_ROOT / "tests/stopped_moments.py")
IN_TIME = 75  # seconds; 60 are promised, on a machine that others use


@pytest.fixture
def words(workspace, tmp_path):
    def of(*overrides):
        settings = ("train.max_steps=6", "train.save_every=1", "eval.every=3")
        return workspace.arguments("stage1", tmp_path, *settings, *overrides)

    return of


@pytest.fixture
def begin(words, tmp_path):
    """Start one machine of a training that stays at a moment."""
    place, started = tmp_path / "moment", []
    place.mkdir()

    def start(moment, *overrides, **variables):
        command = (sys.executable, "common/runtime/launcher.py", DRIVER, moment, str(place))
        started.append(start_process(*command, *words(*overrides), **variables))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def process_at(place, rank, *launchers, seconds=150):
    """The number of the process that has come to the moment."""
    end, path = time.monotonic() + seconds, place / str(rank)
    while not (path.exists() and path.read_text()):
        assert all(launcher.poll() is None for launcher in launchers)
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(path.read_text().split()[0])


def ended(process, seconds=IN_TIME):
    """Its exit code and what it said; by itself within the time that is promised."""
    _, err = process.communicate(timeout=seconds)
    return process.returncode, err, [line for line in err.splitlines() if "error:" in line]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "set-up", "step", "evaluation"])
def test_a_process_that_is_killed(begin, tmp_path, moment):
    process = begin(f"{moment}@1", NPROC="2")
    number = process_at(tmp_path / "moment", 1, process)
    os.kill(number, signal.SIGKILL)
    code, err, errors = ended(process)
    assert code == 128 + signal.SIGKILL, err
    assert len(errors) == 1 and "Traceback" not in err, err
    assert errors[0].startswith(f"error: process 1 (PID {number}) was killed by SIGKILL")
    assert "--mem" in errors[0] and "goes on from the last checkpoint" in errors[0]
    if moment in ("step", "evaluation"):
        assert last(tmp_path / "tiny/stage1")["step"] == {"step": 2, "evaluation": 3}[moment]


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "rank"), [("mistake", 0), ("mistake", 1), ("bug", 1)])
def test_a_process_that_raises(begin, moment, rank):
    code, err, errors = ended(begin(f"{moment}@{rank}", NPROC="2"))
    if moment == "mistake":  # before the processes have met
        assert (code, errors) == (2, ["error: a mistake"]), err
    else:
        assert code == 1 and err.count("ZeroDivisionError: a bug") == 1, err


@pytest.fixture
def straight(words, tmp_path):
    """A run of two processes that nobody disturbs."""
    outcome = train_process("stage1", *words("experiment=straight"), NPROC="2")
    assert outcome.code == 0, outcome.err
    return tmp_path / "straight/stage1"


def check_same(run, other):
    """Bit for bit the same checkpoints and metrics."""
    for name in ("last", "best"):
        a, b = (torch.load(r / f"checkpoints/{name}.pt", weights_only=True) for r in (run, other))
        a.pop("config"), b.pop("config")
        assert same(a, b)
    for kind in ("train", "val"):
        lines = [
            [{k: v for k, v in line.items() if k not in TIMES} for line in metrics_of(r, kind)]
            for r in (run, other)
        ]
        assert lines[0] == lines[1]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["killed once@1", "killed beside a wait"])
def test_torchrun_starts_a_run_again_that_lost_a_process(begin, straight, tmp_path, moment):
    code, err, _ = ended(begin(moment, NPROC="2", MAX_RESTARTS="1"), 300)
    assert code == 0, err
    assert (tmp_path / "moment/killed").exists()
    assert "resuming at step 2" in err
    check_same(straight, tmp_path / "tiny/stage1")


@pytest.mark.slow
def test_torchrun_itself_starts_it_again(words, straight, tmp_path):
    place = tmp_path / "moment"
    place.mkdir()
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1")
    options = ("--nproc-per-node=2", "--max-restarts=1", DRIVER, "killed once@1", str(place))
    outcome = run_process(sys.executable, *torchrun, *options, *words())
    assert outcome.code == 0, outcome.err
    check_same(straight, tmp_path / "tiny/stage1")


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "code"), [("mistake@1", 2), ("step", 130)])
def test_what_ends_on_purpose_is_not_started_again(begin, tmp_path, moment, code):
    process = begin(moment, NPROC="2", MAX_RESTARTS="2")
    if code == 130:
        os.kill(process_at(tmp_path / "moment", 1, process), signal.SIGTERM)
    found, err, errors = ended(process, 300)
    assert found == code, err
    assert errors == (["error: a mistake"] if code == 2 else [])


@pytest.fixture
def two_machines(begin):
    """Start the two machines of a training, on this one."""

    def start(moment="none", *overrides):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        place = {"NNODES": "2", "NPROC": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [begin(moment, *overrides, NODE_RANK=rank, **place) for rank in "01"]

    return start


@pytest.mark.slow
def test_two_machines_train_as_one_with_two_processes(two_machines, straight, tmp_path):
    for process in two_machines():
        code, err, _ = ended(process, 300)
        assert code == 0, err
    check_same(straight, tmp_path / "tiny/stage1")


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("moment", ["set-up", "step"])
def test_one_of_two_machines_is_killed(two_machines, tmp_path, moment, killed):
    machines = two_machines(f"{moment}@{killed}")
    number = process_at(tmp_path / "moment", killed, *machines)
    machines[killed].kill()
    os.kill(number, signal.SIGKILL)
    code, err, errors = ended(machines[1 - killed])
    assert code == 2, err
    assert len(errors) == 1 and "Traceback" not in err, err
    assert f"this machine (NODE_RANK={1 - killed}) ends too" in errors[0]


@pytest.mark.slow
def test_a_machine_that_ends_before_the_processes_have_met(two_machines, tmp_path):
    machines = two_machines("start@1")
    os.kill(process_at(tmp_path / "moment", 1, *machines), signal.SIGKILL)
    assert ended(machines[1])[0] == 128 + signal.SIGKILL
    code, err, errors = ended(machines[0])
    assert code == 2, err
    assert "machine 1 has ended with exit code 137" in errors[0]


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_machines_that_do_not_come_are_not_waited_for(begin, rank):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    process = begin("none", NNODES="2", NODE_RANK=rank, MASTER_PORT=port, RDZV_TIMEOUT="5")
    code, err, errors = ended(process, 150)
    assert code == 2, err
    assert len(errors) == 1 and "cannot meet at 127.0.0.1" in errors[0]
    assert "RDZV_TIMEOUT" in errors[0]


@pytest.mark.slow
def test_processes_whose_launcher_is_killed_save_and_end(begin, tmp_path):
    process = begin("evaluation", NPROC="2")
    number = process_at(tmp_path / "moment", 0, process)
    process.kill()
    wait_until(lambda: not Path(f"/proc/{number}").exists(), IN_TIME)
    assert last(tmp_path / "tiny/stage1")["step"] == 3


@pytest.fixture
def watch(monkeypatch):
    """The watch of machine 0, and the store that it and machine 1 write to."""
    monkeypatch.setattr(machine_watch, "EVERY", 0.05)
    monkeypatch.setattr(machine_watch, "SILENCE", 0.5)
    monkeypatch.setattr(machine_watch, "GRACE", 0.5)
    signals = []
    before = signal.signal(signal.SIGTERM, lambda *_: signals.append(1))
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(MachineWatch, "_connect", lambda self: dist.PrefixStore("machines", server))
    one = MachineWatch(0, 2, "127.0.0.1", server.port)
    one.start()
    yield one, dist.PrefixStore("machines", server), signals
    one.end(0)
    signal.signal(signal.SIGTERM, before)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_machine_that_falls_silent(watch):
    one, store, signals = watch
    for _ in range(20):
        store.add("1", 1)
        time.sleep(0.05)
    assert not signals  # nothing is wrong as long as it counts
    wait_until(lambda: signals)
    assert "machine 1 has not been heard of" in one.lost and one.code == 2


@pytest.mark.parametrize(("code", "own"), [(1, 2), (130, 130)])
def test_a_machine_that_says_how_it_ended(watch, code, own):
    one, store, signals = watch
    store.set("ended/1", str(code))
    wait_until(lambda: signals)
    assert one.lost == f"machine 1 has ended with exit code {code}" and one.code == own


def test_a_machine_that_is_done_or_not_there_yet_is_not_missed(watch):
    one, store, signals = watch
    time.sleep(1.5)
    store.add("1", 1)
    store.set("ended/1", "0")
    time.sleep(1.5)
    assert one.lost is None and not signals
    one.end(0)
    store.wait(["ended/0"], timedelta(seconds=5))
