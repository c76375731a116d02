"""Ctrl-C and SIGTERM while data are waited for: a disk that does not answer may never end it."""

import os
import signal
import time

import pytest
import torch

from common.runtime import signals
from common.runtime.signals import WaitEnded, catch_signals


def test_several_processes_get_some_time_to_stop_together(monkeypatch):
    """One that waits longer than that is the one which holds up the others."""
    monkeypatch.setattr(signals, "PATIENCE", 0.3)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    with catch_signals() as caught:
        with caught.waiting():
            os.kill(os.getpid(), signal.SIGTERM)
        start = time.monotonic()
        with pytest.raises(WaitEnded), caught.waiting():
            time.sleep(60)
        assert 0.1 < time.monotonic() - start < 20
    time.sleep(0.4)  # no alarm is left
