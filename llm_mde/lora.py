"""LoRA by `peft`: low-rank adapters beside frozen layers, which keep their pretrained weights.

An adapted layer gives `W x + (alpha / rank) B A x`. B starts at zero, so an adapted network starts
as exactly the pretrained one. A fused layer (timm's `qkv`, GPT-2's `c_attn`) gets one adapter as a
whole: A [rank, C], B [3C, rank], as many numbers as an adapter of that rank each on q and on v.

LoRA is Hu et al., ICLR 2022; where adapters stand and their ranks are LLM-MDE's. The released code
replaces the adapted layers' weights by fresh ones, which is not copied here (docs/llm_mde.md).
"""

from collections.abc import Sequence

from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers.pytorch_utils import Conv1D


def add_lora(body: nn.Module, targets: Sequence[str], rank: int, alpha: int) -> None:
    """Freeze `body` and adapt, in place, its layers whose names end in one of `targets`.

    rank: 0 freezes only. Afterwards the adapters are the only parameters that ask for gradients.
    """
    body.requires_grad_(False)
    if rank == 0:
        return
    transposed = any(isinstance(module, Conv1D) for module in body.modules())
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(targets), fan_in_fan_out=transposed
    )
    inject_adapter_in_model(config, body)
