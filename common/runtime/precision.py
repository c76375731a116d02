"""Which number format training computes in."""

from typing import Literal

import torch

from common.errors import UserError
from common.runtime.processor import processor_features

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(precision: Precision, device: torch.device) -> str:
    """`auto` is bf16 where the hardware computes in it (GPUs, CPUs with AMX or AVX512-BF16)."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError("train.precision: fp16 needs a GPU; use bf16, fp32 or auto on a CPU")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        computes = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if computes else "fp16"
    return "bf16" if processor_features() & {"amx_bf16", "avx512_bf16"} else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Autocast to the chosen format; losses and depth heads leave it by themselves."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")
