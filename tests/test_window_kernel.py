"""The GPU's attention kernels: when they are taken; their checks, on a CPU in an interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.networks.fast import window_attention
from common.networks.fast.windows import windows_of

CHECKS = Path(__file__).with_name("window_kernel_checks.py")


def test_the_kernels_are_the_plain_form_forward_and_backward():
    """In a process of its own: Triton decides at its import whether it interprets."""
    pytest.importorskip("triton")  # comes with PyTorch for Linux
    on_gpu = torch.cuda.is_available()
    environment = {**os.environ, **({} if on_gpu else {"TRITON_INTERPRET": "1"})}
    words = ["-p", "no:cacheprovider", "-p", "no:xdist", str(CHECKS)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_a_cpu_and_float32_do_not_ask_for_them():
    x = torch.zeros(1, 4, 96)
    assert not window_attention.attends_in_place(x, torch.zeros(1, 4, 4))
    assert not window_attention.attends_in_place(x.half(), torch.zeros(1, 4, 4))


def test_every_place_of_a_window_has_a_cell_or_a_number_of_its_own():
    windows = windows_of((5, 7), (4, 4), (2, 2), torch.device("cpu"))
    place = windows.place.flatten()
    assert place.dtype == torch.int32
    assert place[place >= 0].sort().values.tolist() == list(range(35))
    assert (-1 - place[windows.padding]).tolist() == list(range(len(windows.padding)))
    apart = windows.region[:, None, :] != windows.region[:, :, None]
    assert torch.equal(apart, windows.mask == -torch.inf)
