"""A Swin encoder that is built in milliseconds."""

import torch

from common.networks.swin import SwinConfig, SwinEncoder

SMALL = {
    "embed_dim": 8,
    "depths": (1, 2, 2, 1),
    "num_heads": (1, 2, 2, 4),
    "window_size": 4,
    "drop_path": 0.0,
}


def encoder(size=(64, 96), seed=0, **changes):
    torch.manual_seed(seed)
    model = SwinEncoder(SwinConfig(**{**SMALL, **changes}), size).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            torch.nn.init.normal_(parameter)  # timm starts it so small that no test would notice it
    return model
