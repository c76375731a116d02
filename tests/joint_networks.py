"""The joint network at a size for tests."""

from common.networks.encoder import EncoderConfig
from stage3_depth.joint_model import JointConfig

TINY_JOINT = JointConfig(
    decoder_channels=(16, 8, 8),
    code_channels=8,
    text_dim=16,
    hidden_dims=(16, 12),
    metric_hidden=8,
    encoder=EncoderConfig(
        embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=4, drop_path=0.0
    ),
    prior_mean=1.54,
)
