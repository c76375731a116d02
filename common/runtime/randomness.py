"""The random numbers of a training step, so that resuming and sharing out change nothing."""

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
