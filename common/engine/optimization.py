"""Learning rate, optimizers and gradient scaling."""

from inspect import unwrap
from typing import Any, TypeVar

import torch

from common.engine.train_config import TrainConfig
from common.runtime.precision import choose_precision

Parameters = list[Any]  # parameters, or groups of them
AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)


def without_compiler(kind: type[AnyOptimizer]) -> type[AnyOptimizer]:
    """The optimizer without what it tells `torch.compile`, whose import takes as long as torch's.

    torch decorates these methods so that they stay out of compiled graphs; this project calls them
    outside of any, and a run that compiles its network imports the compiler by itself.
    """
    marked = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods: dict[str, Any] = {name: unwrap(getattr(kind, name)) for name in marked}
    methods["step"] = torch.no_grad()(unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


Adam, AdamW = without_compiler(torch.optim.Adam), without_compiler(torch.optim.AdamW)


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Linear warm-up, then constant, (1 - progress)^0.9 down to `final_lr`, or one step to it."""
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    if config.schedule == "constant":
        return config.lr * warmup
    if config.schedule == "step":
        return (config.lr if step < config.drop_at * total_steps else config.final_lr) * warmup
    remaining = (1 - step / total_steps) ** 0.9
    return ((config.lr - config.final_lr) * remaining + config.final_lr) * warmup


def adam(parameters: Parameters, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam with PyTorch's eps 1e-8 and, if asked for, L2 weight decay (the published setting)."""
    return Adam(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def adamw(parameters: Parameters, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW: as `adam`, but the weight decay is decoupled from the gradient."""
    return AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def gradient_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """What keeps small gradients from vanishing in fp16; without effect in other formats."""
    is_fp16 = choose_precision(config.precision, device) == "fp16"
    return torch.amp.GradScaler(device.type, enabled=is_fp16)
