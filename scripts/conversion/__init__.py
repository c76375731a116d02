"""What `scripts/convert_checkpoint.py` knows of the networks that published checkpoints hold.

published_networks: which network and config a set of published files makes.
"""
