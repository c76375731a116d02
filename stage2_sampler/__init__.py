"""Stage 2: the image picks one scene of the caption's distribution (conditional sampler)."""
