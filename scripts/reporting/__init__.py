"""The parts of the HTML report that `scripts/report.py` writes.

parts: its sections. charts: their drawings, as SVG; those of the few-shot report too.
"""
