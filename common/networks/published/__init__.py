"""The authors' networks: names, sizes and files of checkpoints; the same once more, plainly."""
