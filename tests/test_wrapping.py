"""Around the model: compiled only where asked and possible, and found again inside."""

import torch
from torch import nn

from common.runtime.processes import Processes, unwrap, wrap

ALONE = Processes(rank=0, world_size=1, device=torch.device("cpu"))


def test_wrap_compiles_only_when_asked_to(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    model = nn.Linear(4, 1)
    assert wrap(model, ALONE) is model
    assert not compiled
    wrap(model, ALONE, compiled=True)
    assert compiled[-1] is model


def test_training_goes_on_where_nothing_can_be_compiled(monkeypatch):
    def compiler(model):
        raise RuntimeError("no C++ compiler\nand a long traceback")

    monkeypatch.setattr(torch, "compile", compiler)
    model, said = nn.Linear(4, 1), []
    assert wrap(model, ALONE, compiled=True, log=said.append) is model
    assert said == [
        "torch.compile does not work here, training goes on without it: no C++ compiler"
    ]


def test_unwrap_finds_the_model_inside():
    model = nn.Linear(4, 1)
    assert unwrap(model) is model
    assert unwrap(nn.DataParallel(model)) is model
    assert unwrap(torch.compile(model, backend="eager")) is model
