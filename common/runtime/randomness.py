"""The random numbers of a training step and of a draw, so that sharing out changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.runtime.processes import send


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of one part of one step: functions of seed and step, nothing else.

    `first` and `count` are this part's rows of the effective batch of `batch_size` samples.
    """

    seed: int
    step: int
    batch_size: int
    first: int
    count: int

    def coin(self, probability: float) -> bool:
        """The same throw for every process and micro-batch of the step."""
        return bool(torch.rand((), generator=self._generator(0)) < probability)

    def normal(self, *shape: int, device: torch.device) -> Tensor:
        """[count, *shape] standard normal: this part's rows of one draw for the whole batch."""
        rows = torch.randn(self.batch_size, *shape, generator=self._generator(1))
        return send(rows[self.first : self.first + self.count], device)

    def seed_modules(self) -> None:
        """Seed torch's global generators, which layers such as stochastic depth draw from."""
        torch.manual_seed(self._number(2, self.first))

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._number(stream))

    def _number(self, *stream: int) -> int:
        return int(np.random.SeedSequence([self.seed, self.step, *stream]).generate_state(1)[0])


@dataclass(frozen=True)
class DrawRandom:
    """The random numbers of draw number `draw` for the images at `positions` of a split.

    Functions of seed, position and draw alone: neither batch size nor processes change them.
    """

    seed: int
    positions: Sequence[int]
    draw: int

    def normal(self, *shape: int, device: torch.device) -> Tensor:
        """[len(positions), *shape] standard normal."""
        rows = [torch.randn(shape, generator=self._generator(p)) for p in self.positions]
        return send(torch.stack(rows), device)

    def _generator(self, position: int) -> torch.Generator:
        state = np.random.SeedSequence([self.seed, position, self.draw]).generate_state(1)
        return torch.Generator().manual_seed(int(state[0]))
