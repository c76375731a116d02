"""Stage 3: image and language prior become metric depth (Swin depth estimator)."""
