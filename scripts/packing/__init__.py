"""Pairs into shards (scripts/pack.py).

plan.py    which files, of what sizes, into which shards
writer.py  the shards, one after the other, and the index
checking.py  a pack against its own checksums
"""
