"""What `export.py` does: a network without its program, and the proof that it is the same.

network: what is exported, its inputs, and which of its axes are fixed.
writers: ONNX and torch.export files, with what a user must know in them.
verify: an exported file against the network that it was made from.
"""
