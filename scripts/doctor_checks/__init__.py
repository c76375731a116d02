"""Checks of a data set on disk; `scripts/doctor.py` runs them all and tells what they find."""
