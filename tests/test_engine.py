"""The training loop on a toy: schedule, shares of a batch, rhythm, interruption."""

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from common.engine.log_window import Window
from common.engine.loop import Hooks, Plan, Task, fit
from common.engine.optimization import adam, learning_rate
from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.networks.layers import trainable_parameters
from common.runtime.processes import Processes
from common.runtime.randomness import StepRandom
from common.runtime.signals import Interrupted

CPU = torch.device("cpu")
ALONE = Processes(rank=0, world_size=1, device=CPU)


def config(**changes):
    settings = {"batch_size": 8, "max_steps": 6, "lr": 0.1, "precision": "fp32"}
    return TrainConfig(**{**settings, **changes})


def test_polynomial_schedule():
    plain = config(lr=1.0, final_lr=0.1, schedule="polynomial")
    rates = [learning_rate(plain, step, 10) for step in range(10)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[5] == pytest.approx(0.9 * 0.5**0.9 + 0.1)
    assert learning_rate(plain, 10, 10) == pytest.approx(0.1)


def test_warm_up_and_constant_schedule():
    steady = config(lr=1.0, schedule="constant", warmup_steps=3)
    assert [learning_rate(steady, s, 10) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_step_schedule_drops_once():
    dropping = config(lr=1.0, final_lr=0.1, schedule="step", drop_at=0.5, warmup_steps=1)
    assert [learning_rate(dropping, s, 6) for s in range(6)] == [0.5, 1.0, 1.0, 0.1, 0.1, 0.1]


def test_total_steps():
    assert config(max_steps=7, epochs=3).total_steps(80) == 7
    assert config(max_steps=None, epochs=3).total_steps(20) == 7  # 60 samples in batches of 8
    assert config(max_steps=None, epochs=1).total_steps(2) == 1


def test_adam_has_the_published_settings():
    parameters = [nn.Parameter(torch.ones(2))]
    options = adam(parameters, config(lr=0.5, weight_decay=0.25)).param_groups[0]
    assert (options["lr"], options["weight_decay"], options["eps"]) == (0.5, 0.25, 1e-8)
    assert not options.get("decoupled_weight_decay")  # older versions of Adam have no such switch


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x)


@dataclass(frozen=True)
class Samples:
    """All that the loop asks of a batch."""

    x: Tensor
    y: Tensor

    def __len__(self):
        return len(self.x)

    def to(self, device):
        return Samples(self.x.to(device), self.y.to(device))


def samples(step, batch_size):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(batch_size, 4, generator=generator)
    return Samples(x, x.sum(1, keepdim=True) ** 2)


def parts_of(steps, settings):
    size = settings.micro_batch_size or settings.batch_size
    for step in steps:
        whole = samples(step, settings.batch_size)
        for first in range(0, settings.batch_size, size):
            yield Samples(whole.x[first : first + size], whole.y[first : first + size])


def step_fn(model, batch, rng, totals):
    """This part's share of the mean over the whole batch, with noise from the step's generator."""
    noise = rng.normal(1, device=CPU)
    count_all = (totals or count(model, batch, rng))["count"]
    share = ((model(batch.x) - batch.y + noise) ** 2).sum() / count_all
    return {"total": 2 * share, "mse": share}


def count(model, batch, rng):
    return {"count": torch.tensor(len(batch))}


def train(
    settings,
    model=None,
    save=lambda step: None,
    evaluate=lambda step: None,
    every=1000,
    seed=1,
    batches=None,
):
    """The trained model and what was logged."""
    model, logged = model or Toy(), {}
    fit(
        model,
        Task(step_fn, count),
        batches or parts_of(range(settings.max_steps), settings),
        adam(trainable_parameters(model), settings),
        Plan(settings, seed, 0, settings.max_steps, every),
        Hooks(logged.__setitem__, evaluate, save),
        ALONE,
    )
    return model, logged


@pytest.mark.parametrize("micro", [1, 3, 4, 8, 20])
def test_micro_batches_take_the_same_steps(micro):
    plain, logged = train(config(log_every=1))
    split, split_logged = train(config(log_every=1, micro_batch_size=micro))
    for ours, theirs in zip(split.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for step, terms in logged.items():
        for name in ("loss/total", "loss/mse", "grad_norm"):
            assert split_logged[step][name] == pytest.approx(terms[name], rel=1e-5)


def test_three_steps_against_the_same_by_hand():
    settings = config(max_steps=3, log_every=1, clip_norm=0.5, lr=0.1, schedule="constant")
    model, logged = train(settings)
    by_hand = Toy()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.1)
    for step in range(3):
        batch = samples(step, 8)
        noise = StepRandom(1, step, 8, 0, 8).normal(1, device=CPU)
        loss = 2 * ((by_hand(batch.x) - batch.y + noise) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(by_hand.parameters(), 0.5)
        optimizer.step()
        assert logged[step + 1]["loss/total"] == pytest.approx(loss.item())
        assert logged[step + 1]["grad_norm"] == pytest.approx(norm.item())
        assert logged[step + 1]["lr"] == 0.1
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


class NoisyToy(Toy):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


def test_layers_that_draw_follow_seed_and_step_whatever_an_evaluation_draws():
    def losses(seed, evaluate):
        logged = train(config(log_every=1), NoisyToy(), evaluate=evaluate, every=1, seed=seed)[1]
        return [terms["loss/mse"] for terms in logged.values()]

    quiet = losses(1, lambda step: None)
    assert losses(1, lambda step: torch.rand(step)) == quiet
    assert losses(2, lambda step: None) != quiet


class LibraryToy(Toy):
    """A part of it comes in evaluation mode, as `from_pretrained` of transformers gives it."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5).eval()

    def forward(self, x):
        assert self.dropout.training
        return super().forward(self.dropout(x))


def test_every_part_is_in_training_mode_from_the_first_step():
    train(config(max_steps=2), LibraryToy())
    model = LibraryToy()
    train(config(max_steps=2), model, evaluate=lambda step: bool(model.eval()), every=1)


def test_clipping_can_be_switched_off():
    moved = [train(config(max_steps=1, clip_norm=c, weight_decay=0.0))[0] for c in (1e-12, None)]
    start, clipped, free = (m.layer.weight for m in (Toy(), *moved))
    assert (free - start).abs().min() > 0.05  # Adam's first step is the learning rate ...
    assert (clipped - start).abs().max() < 0.01  # ... unless the gradient vanishes beside eps


def test_rhythm_of_logging_evaluation_and_saving():
    seen = []
    _, logged = train(
        config(max_steps=7, log_every=3, save_every=4),
        save=lambda step: seen.append(("save", step)),
        evaluate=lambda step: seen.append(("evaluate", step)),
        every=2,
    )
    assert list(logged) == [3, 6, 7]
    assert [s for what, s in seen if what == "evaluate"] == [2, 4, 6, 7]
    assert [s for what, s in seen if what == "save"] == [4, 7]
    assert seen.index(("evaluate", 4)) < seen.index(("save", 4))  # best metric is in the checkpoint
    names = {
        "loss/total",
        "loss/mse",
        "grad_norm",
        "lr",
        "step_seconds",
        "data_seconds",
        "images_per_s",
        "memory_gb",
        "skipped_updates",
    }
    assert all(set(terms) == names for terms in logged.values())


def test_logged_terms_are_means_over_the_window():
    _, single = train(config(log_every=1))
    _, windows = train(config(log_every=3))
    for end in (3, 6):
        mean = sum(single[step]["loss/mse"] for step in range(end - 2, end + 1)) / 3
        assert windows[end]["loss/mse"] == pytest.approx(mean, rel=1e-6)


def test_an_evaluation_counts_neither_as_time_nor_ends_a_window():
    _, quiet = train(config(log_every=6))
    _, logged = train(config(log_every=6), evaluate=lambda step: time.sleep(0.3), every=2)
    assert logged[6]["loss/mse"] == quiet[6]["loss/mse"]
    assert logged[6]["step_seconds"] < 0.05


def test_window_counts_images_and_forgets():
    window = Window(batch_size=8)
    window.add({"loss": torch.tensor(1.0)})
    window.add({"loss": torch.tensor(3.0)})
    means = window.close(ALONE, rate=0.5)
    assert means["loss"] == 2.0
    assert means["images_per_s"] == pytest.approx(8 / means["step_seconds"])
    window.add({"loss": torch.tensor(7.0)})
    assert window.close(ALONE, rate=0.5)["loss"] == 7.0


class BreakingToy(Toy):
    """Its gradient is not finite at the given training steps, the first being step 1."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.step = steps, 0

    def forward(self, x):
        self.step += 1
        return super().forward(x) * (torch.inf if self.step in self.steps else 1.0)


@pytest.mark.parametrize("steps", [(1,), (3, 4)])
def test_an_update_whose_gradient_is_not_finite_is_skipped_and_counted(steps):
    weights = []
    model = BreakingToy(steps)
    _, logged = train(
        config(max_steps=6, log_every=6, max_skipped_steps=2),
        model,
        evaluate=lambda step: weights.append(model.layer.weight.detach().clone()),
        every=1,
    )
    assert logged[6]["skipped_updates"] == pytest.approx(len(steps) / 6)
    before = [Toy().layer.weight, *weights]
    for step, (old, new) in enumerate(zip(before, weights, strict=False), 1):
        assert torch.equal(old, new) == (step in steps)
        assert new.isfinite().all()


def test_a_run_in_which_nothing_is_learned_any_more_stops():
    with pytest.raises(UserError, match=r"no gradient was finite .* before step 4.*train\.lr"):
        train(config(max_steps=6, log_every=2, max_skipped_steps=9), BreakingToy((3, 4)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_after_the_step(number):
    saved = []
    before = signal.getsignal(number)

    def evaluate(step):
        os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as caught:
        train(config(), save=saved.append, evaluate=evaluate, every=2)
    assert caught.value.step == 2
    assert saved == [2]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_for_data(number):
    """The third step's batch never comes: two steps are saved."""
    saved, settings = [], config()

    def batches():
        yield from parts_of(range(2), settings)
        os.kill(os.getpid(), number)
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        train(settings, save=saved.append, batches=batches())
    assert (caught.value.step, saved) == (2, [2])
    assert time.monotonic() - start < 30


def test_bf16_trains_float32_weights():
    model, logged = train(config(precision="bf16", log_every=1))
    exact = train(config(log_every=1))[1]
    assert model.layer.weight.dtype == torch.float32
    assert logged[6]["loss/mse"] == pytest.approx(exact[6]["loss/mse"], rel=0.05)
    assert logged[6]["loss/mse"] != exact[6]["loss/mse"]
