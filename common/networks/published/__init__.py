"""The authors' checkpoints: their names, sizes and files."""
