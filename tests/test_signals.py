"""Ctrl-C and SIGTERM: twice, and while data are waited for, which may never come."""

import os
import signal
import time

import pytest
import torch

from common.runtime import deadline, signals
from common.runtime.signals import Abandoned, catch_signals


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


def test_a_save_is_waited_for_and_told(monkeypatch, capsys):
    monkeypatch.setattr(deadline, "SECONDS", 0.2)
    monkeypatch.setattr(deadline, "_end_process", lambda: None)  # this one, were it slow
    with catch_signals() as caught:
        with caught.saving():
            os.kill(os.getpid(), signal.SIGTERM)
            assert "still saving" in wait_for_line(capsys)
        assert caught == [signal.SIGTERM]


def wait_for_line(capsys):
    end = time.monotonic() + 20
    while not (err := capsys.readouterr().err) and time.monotonic() < end:
        time.sleep(0.05)
    return err
