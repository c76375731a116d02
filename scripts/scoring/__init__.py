"""What `score.py` and `calibrate.py` read.

predicted_maps: the depth maps of any model, found by image.
"""
