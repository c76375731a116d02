"""The training loop: it knows steps, not depth, text or data sets."""
