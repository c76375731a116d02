"""`train.ema_decay`: an exponential moving average of the weights, used in their place.

After n updates, with d = ema_decay and w_k the weights after update k, the average is

    a_n = sum over k of d^(n-k) w_k  /  sum over k of d^(n-k)
        = a_(n-1) + (w_n - a_(n-1)) (1 - d) / (1 - d^n)

so the first weights have no share in it, and a run shorter than 1 / (1 - d) steps has about the
mean of all its weights. `torch.optim.swa_utils.AveragedModel` would copy the whole network, frozen
language models included, and wants to know on the host whether a step was skipped; here are copies
of what training changes, and the network's own tensors take turns with them.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from common.engine.running_statistics import running_statistics


def averaged_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What is averaged: trained parameters, and running means and variances of norms.

    Frozen parameters, tables of indices and counts stay as they are.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    statistics = running_statistics(model)
    return trained | {n: t for n, t in statistics.items() if t.is_floating_point()}


class WeightAverage:
    """The average of a network's weights; made when it is on its device.

    `num_updates` counts on the device: training does not wait for it.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._live = averaged_tensors(model)
        self._others = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        device = next(iter(self._live.values())).device
        self.num_updates = torch.zeros((), dtype=torch.float64, device=device)
        self._is_applied = False

    @torch.no_grad()
    def update(self, skipped: Tensor) -> None:
        """Take in the weights after a step; skipped: bool [], a step that changed nothing."""
        self.num_updates += ~skipped
        share = (1 - self.decay) / -torch.expm1(self.num_updates * math.log(self.decay))
        share = torch.where(skipped, 0.0, share).float()
        averages = list(self._others.values())
        changes = torch._foreach_sub([tensor.detach() for tensor in self._live.values()], averages)
        torch._foreach_mul_(changes, share)
        torch._foreach_add_(averages, changes)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the network hold the average for the length of the block; no step in it."""
        if self._is_applied:
            yield
            return
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, tensor in self._live.items():
            before = tensor.detach().clone()
            tensor.copy_(self._others[name])
            self._others[name].copy_(before)
        self._is_applied = not self._is_applied

    def raw_weights(self) -> dict[str, Tensor]:
        """Name -> what training goes on with, where the network holds the average."""
        assert self._is_applied
        return self._others

    def describe(self) -> dict[str, Any]:
        """What checkpoints say of it: decay, and how many updates are in it."""
        return {"ema_decay": self.decay, "num_updates": int(self.num_updates.item())}

    @torch.no_grad()
    def restore(self, num_updates: int, raw_weights: Mapping[str, Tensor]) -> None:
        """Go on from a network that has just loaded the average, and from its raw weights.

        Raises `ValueError` where the names are not those of this network.
        """
        if raw_weights.keys() != self._live.keys():
            raise ValueError("raw weights of another network")
        self.num_updates.fill_(num_updates)
        for name, tensor in self._live.items():
            self._others[name].copy_(tensor)
            tensor.copy_(raw_weights[name])
