"""What a run needs of its machine: processes, precision, randomness, checkpoints, signals."""
