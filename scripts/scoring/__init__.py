"""What `scripts/score.py` reads: predicted_maps (the depth maps of any model, found by image)."""
