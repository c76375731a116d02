"""Random numbers of a training step: functions of seed and step, whatever share a process has."""

import pytest
import torch

from common.engine.train_config import TrainConfig
from common.programs.ready import seed_everything
from common.programs.run_config import RunConfig
from common.runtime.randomness import StepRandom

CPU = torch.device("cpu")


def test_random_numbers_of_parts_are_rows_of_the_whole():
    whole = StepRandom(seed=3, step=5, batch_size=8, first=0, count=8).normal(2, device=CPU)
    assert whole.shape == (8, 2)
    parts = [StepRandom(3, 5, 8, first, 3) for first in (0, 3, 6)]
    assert torch.equal(torch.cat([p.normal(2, device=CPU) for p in parts]), whole)
    for seed, step in ((4, 5), (3, 6)):
        assert not torch.equal(StepRandom(seed, step, 8, 0, 8).normal(2, device=CPU), whole)


def test_the_coin_is_shared_by_all_parts_of_a_step():
    throws = [[StepRandom(0, s, 8, first, 4).coin(0.5) for first in (0, 4)] for s in range(200)]
    assert all(a == b for a, b in throws)
    assert 70 < sum(a for a, _ in throws) < 130
    assert not any(StepRandom(0, s, 8, 0, 8).coin(0.0) for s in range(50))
    assert all(StepRandom(0, s, 8, 0, 8).coin(1.0) for s in range(50))


def test_modules_draw_by_seed_step_and_part():
    def draw(step, first):
        StepRandom(0, step, 8, first, 4).seed_modules()
        return torch.rand(3).tolist()

    assert draw(1, 0) == draw(1, 0)
    assert draw(1, 0) != draw(1, 4)
    assert draw(1, 0) != draw(2, 0)


def test_a_seed_that_no_generator_takes():
    steps = TrainConfig(max_steps=1)
    seed_everything(RunConfig(data=None, train=steps, seed=2**32 - 1).seed)
    for seed in (2**32, 2**63, 10**30):
        with pytest.raises(ValueError, match="seed: must be at most 4294967295"):
            RunConfig(data=None, train=steps, seed=seed)
