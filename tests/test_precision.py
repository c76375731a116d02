"""What `train.precision` means on a processor and on a GPU."""

from types import SimpleNamespace

import pytest
import torch

from common.errors import UserError
from common.runtime.precision import autocast, choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("major", "expected"), [(7, "fp16"), (9, "bf16")])
def test_automatic_precision_is_what_the_gpu_computes_in(monkeypatch, major, expected):
    """Older GPUs emulate bf16, slowly."""
    card = SimpleNamespace(major=major)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert choose_precision("auto", torch.device("cuda")) == expected


def test_precision():
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) in ("fp32", "bf16")
    with pytest.raises(UserError, match=r"train\.precision: fp16 needs a GPU"):
        choose_precision("fp16", CPU)
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with autocast(name, CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
