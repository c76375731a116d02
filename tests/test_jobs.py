"""Many programs at a time: slots, order, failures, and what a signal does."""

import os
import signal
import threading
import time

import pytest

from scripts.run_plans.jobs import NEEDS_FAILED, STOPPED, Ended, ProgramJob, make_slots, run_jobs

# Says that it runs, and at SIGTERM that it is saved; another SIGTERM would be told, too.
TRAINING = """
trap 'echo asked; asked=$((asked + 1)); sleep 0.3; echo saved $asked; exit 130' TERM
echo runs
while :; do sleep 0.02; done
"""
# At the first signal it goes on for longer than anybody waits; a Ctrl-C ends it.
STUBBORN = """
trap 'echo asked' TERM
trap 'echo ended; exit 1' INT
echo runs
while :; do sleep 0.02; done
"""


@pytest.fixture(autouse=True)
def heeds_signals():
    """Also where the tests were started in the background or by nohup, which ignore some."""
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def job(tmp_path):
    def make(key, script, *needs):
        return ProgramJob(key, f"job {key}", ("sh", "-c", script), tmp_path / f"{key}.log", needs)

    return make


class Events:
    """What `run_jobs` tells."""

    def __init__(self):
        self.started: list[str] = []
        self.ended: list[Ended] = []

    def run(self, jobs, slots):
        run_jobs(jobs, slots, lambda job: self.started.append(job.key), self.ended.append)

    @property
    def errors(self):
        return {ended.job.key: ended.error for ended in self.ended}


@pytest.mark.parametrize(
    ("num_jobs", "gpus", "cores", "expected"),
    [
        (None, [], 4, [{"OMP_NUM_THREADS": "1"}] * 4),
        (3, [], 8, [{"OMP_NUM_THREADS": "2"}] * 3),
        (9, [], 2, [{"OMP_NUM_THREADS": "1"}] * 9),
        (
            None,
            ["0", "3"],
            16,
            [{"OMP_NUM_THREADS": "8", "CUDA_VISIBLE_DEVICES": gpu} for gpu in "03"],
        ),
        (
            3,
            ["GPU-a", "GPU-b"],
            2,
            [{"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": f"GPU-{letter}"} for letter in "aba"],
        ),
    ],
)
def test_every_program_has_its_gpu_or_its_share_of_the_cores(
    num_jobs, gpus, cores, expected, monkeypatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert make_slots(num_jobs, gpus, cores) == [{"NPROC": "1", **slot} for slot in expected]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    slots = make_slots(num_jobs, gpus, cores)
    assert {slot["OMP_NUM_THREADS"] for slot in slots} == {"5"}  # the caller's


def test_programs_run_at_the_same_time_each_in_its_slot(job, tmp_path):
    def meet(own, other):
        return (
            f"touch {tmp_path}/{own}; while [ ! -e {tmp_path}/{other} ]; do sleep 0.02; done; "
            "echo slot $SLOT"
        )

    events = Events()
    jobs = [job("a", meet("a", "b")), job("b", meet("b", "a")), job("c", "echo slot $SLOT", "a")]
    events.run(jobs, [{"SLOT": "1"}, {"SLOT": "2"}])
    assert events.errors == {"a": None, "b": None, "c": None}
    logs = [(tmp_path / f"{key}.log").read_text().splitlines()[-1] for key in "abc"]
    assert logs[:2] == ["slot 1", "slot 2"] and logs[2] in ("slot 1", "slot 2")
    assert all(0 < ended.seconds < 60 for ended in events.ended)


def test_what_needs_a_failed_one_is_not_run_and_all_else_is(job, tmp_path):
    (tmp_path / "a.log").write_text("error: of an earlier start\n")
    jobs = [
        job("a", "exit 3"),
        job("b", "true", "a"),
        job("c", "true", "b"),
        job("d", "echo 'error: no such file'; echo more; exit 2"),
        job("e", "kill -9 $$"),
        job("f", "true", "g"),  # what is not in the list was done before
    ]
    events = Events()
    events.run(jobs, [{}])
    assert events.started == ["a", "d", "e", "f"]
    assert events.errors == {
        "a": f"exit code 3 (see {tmp_path / 'a.log'})",
        "b": NEEDS_FAILED,
        "c": NEEDS_FAILED,
        "d": f"no such file (see {tmp_path / 'd.log'})",
        "e": "it was killed, as systems do without memory; use fewer --jobs "
        f"(see {tmp_path / 'e.log'})",
        "f": None,
    }


def send_when(condition, *numbers):
    """Send this process signals, each when the condition holds of its position."""

    def watch():
        for position, number in enumerate(numbers):
            deadline = time.monotonic() + 20
            while not condition(position):
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    return
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_handed_on_once_and_all_are_waited_for(job, tmp_path, number):
    events = Events()
    logs = [tmp_path / "a.log", tmp_path / "b.log"]

    def all_run(position):
        return all(log.exists() and "runs" in log.read_text().split("\n") for log in logs)

    sender = send_when(all_run, number)
    with pytest.raises(KeyboardInterrupt):
        events.run([job("a", TRAINING), job("b", TRAINING), job("c", "true")], [{}, {}])
    sender.join()
    assert events.started == ["a", "b"] and events.errors == {"a": STOPPED, "b": STOPPED}
    assert [log.read_text().splitlines()[-3:] for log in logs] == [["runs", "asked", "saved 1"]] * 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_ctrl_c_ends_them_at_once(job, tmp_path):
    log = tmp_path / "a.log"

    def asked(position):
        return log.exists() and ("runs", "asked")[position] in log.read_text().splitlines()

    events = Events()
    sender = send_when(asked, signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        events.run([job("a", STUBBORN)], [{}])
    sender.join()
    assert log.read_text().splitlines()[-2:] == ["asked", "ended"]


def test_a_terminal_that_is_gone_orphans_nobody(job, tmp_path, monkeypatch):
    def write_line(text):
        raise BrokenPipeError

    def runs(position):
        return (tmp_path / "a.log").exists() and "runs\n" in (tmp_path / "a.log").read_text()

    monkeypatch.setattr("scripts.run_plans.jobs.write_line", write_line)
    events = Events()
    sender = send_when(runs, signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt):
        events.run([job("a", TRAINING)], [{}])
    sender.join()
    assert (tmp_path / "a.log").read_text().endswith("saved 1\n")


def test_an_error_of_the_one_who_is_told_ends_them_too(job, tmp_path):
    def complain(job):
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="terminal"):
        run_jobs([job("a", "true")], [{}], complain, lambda ended: None)
    events = Events()

    def told(ended):
        events.ended.append(ended)
        if ended.job.key == "b":
            raise OSError("the disk is full")

    waits = f"while ! grep -q runs {tmp_path}/a.log; do sleep 0.02; done"
    with pytest.raises(OSError, match="full"):
        run_jobs([job("a", TRAINING), job("b", waits)], [{}, {}], lambda job: None, told)
    assert events.errors == {"b": None, "a": STOPPED}
