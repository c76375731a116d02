"""Ctrl-C and SIGTERM: twice, and while data are waited for, which may never come."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import torch

from common.config import REPO_ROOT
from common.runtime import deadline, signals
from common.runtime.signals import Abandoned, catch_signals, first_reason


def test_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), catch_signals() as caught:
        os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_one_of_several_processes_that_waits_for_long_leaves(monkeypatch):
    monkeypatch.setattr(signals, "PATIENCE", 0.3)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with catch_signals() as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(8):  # steps whose data come
            with caught.waiting():
                time.sleep(0.1)
        start = time.monotonic()
        with pytest.raises(Abandoned), caught.waiting():
            time.sleep(60)
        assert 0.2 < time.monotonic() - start < 20
    time.sleep(0.4)  # no alarm is left


def test_a_signal_just_before_a_wait_ends_it():
    with catch_signals() as caught:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Abandoned), caught.waiting():
            pass


def ended_by_signal(error):
    """The `Abandoned` of a signal that comes while an error leaves a block."""
    with pytest.raises(Abandoned) as caught_error, catch_signals() as caught, caught.leaving():
        try:
            raise error
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    return caught_error.value


def test_contact_that_was_lost_before_a_signal_is_the_reason(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]")
    assert first_reason(ended_by_signal(lost)) is lost
    assert first_reason(lost) is lost


def test_a_signal_is_the_reason_beside_errors_of_another_kind(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for other in (ValueError("another"), ConnectionResetError(104, "Connection reset by peer")):
        error = ended_by_signal(other)  # the second as of a download that is tried again
        assert first_reason(error) is error
    monkeypatch.setenv("WORLD_SIZE", "1")  # which has nobody to lose
    error = ended_by_signal(RuntimeError("Connection closed by peer"))
    assert first_reason(error) is error


def test_a_save_is_waited_for_and_told(monkeypatch, capsys):
    monkeypatch.setattr(deadline, "SECONDS", 0.2)
    monkeypatch.setattr(deadline, "_end_process", lambda: None)  # this one, were it slow
    with catch_signals() as caught:
        with caught.saving():
            os.kill(os.getpid(), signal.SIGTERM)
            assert "still saving" in wait_for_line(capsys)
            time.sleep(0.5)
            assert capsys.readouterr().err.count("still saving") < 20  # it has the seconds again
        assert caught == [signal.SIGTERM]


def test_a_deadline_is_kept_where_nobody_takes_what_is_told(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(deadline, "SECONDS", 0.2)
    monkeypatch.setattr(deadline, "TELLING_SECONDS", 0.5)
    monkeypatch.setattr(deadline, "leave", lambda code: ended.set())
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as of a launcher that is stopped
        for name, value in (
            ("RANK", 1),
            ("WORLD_SIZE", 2),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", silent.getsockname()[1]),
        ):
            monkeypatch.setenv(name, str(value))
        threading.Thread(target=deadline._end_process, daemon=True).start()
        assert ended.wait(20)


PIPED = """
import os, signal, sys, time
from common.runtime import deadline

deadline.SECONDS = 0.3
asked = []

def is_saving():
    asked.append(0)
    return len(asked) < 3

signal.signal(signal.SIGTERM, lambda *_: None)
with deadline.deadline(is_saving):
    print("not written yet")
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


def test_a_deadline_is_kept_where_nobody_reads_what_is_printed():
    """As of `train.py 2>&1 | tee log`: Ctrl-C ends tee as well."""
    process = subprocess.Popen(
        [sys.executable, "-c", PIPED],
        cwd=REPO_ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr.readline() == b"ready\n"
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(50) == 130


def wait_for_line(capsys):
    end = time.monotonic() + 20
    while not (err := capsys.readouterr().err) and time.monotonic() < end:
        time.sleep(0.05)
    return err
