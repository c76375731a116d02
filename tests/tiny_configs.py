"""Settings of a tiny network of every stage, for YAML files that tests write."""

TEXT_DIM, IMAGE_DIM = 16, 12
SWIN = {
    "embed_dim": 8,
    "depths": [1, 2, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 2,
    "drop_path": 0.0,
}
SETTINGS = {
    "stage1": {
        "model": {
            "text_dim": TEXT_DIM,
            "hidden_dims": [16],
            "latent_dim": 16,
            "code_channels": 8,
            "metric_hidden": 8,
        }
    },
    "stage2": {"model": {"evidence": "encoder", "hidden_dims": [16], "encoder": SWIN}},
    "stage3": {"model": {"decoder_channels": [16, 8, 8], "metric_hidden": 8, "encoder": SWIN}},
    "joint": {
        "recipe": "joint",
        "model": {
            "decoder_channels": [16, 8, 8],
            "metric_hidden": 8,
            "encoder": SWIN,
            "text_dim": TEXT_DIM,
            "hidden_dims": [16],
            "code_channels": 8,
        },
    },
    "llm_mde": {
        "prompt": {"depth_class": False, "caption": True},
        "model": {
            "vision": {
                "name": "vit_tiny_patch16_224",
                "weights": None,
                "image_size": [64, 96],
                "embed_dim": 24,
                "depth": 1,
                "num_heads": 2,
                "lora_rank": 4,
            },
            "reprogramming": {"num_prototypes": 8, "num_heads": 2},
            "language": {
                "name": "tiny-gpt2",
                "num_layers": 1,
                "hidden_size": 16,
                "num_heads": 2,
                "lora_rank": 4,
            },
            "head": {"channels": [8, 8]},
        },
    },
}
