"""What `score.py` and `calibrate.py` read.

predicted_maps: the depth maps of any model, found by image. map_reader: they stand in for a
network. notes: what a reader of the scores should know of them.
"""
