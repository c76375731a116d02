"""Real data brought into place: downloads, archives, lists; what `scripts/prepare_*.py` use."""
