"""Data sets, their lists and augmentations, packed caption features, and the demo's renderer."""
