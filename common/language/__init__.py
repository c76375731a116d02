"""Captions, the encoders of words and pictures, packed features, controls, and the captioner."""
