"""Stage 1: a caption becomes a distribution of scenes (text-VAE)."""
