"""Trainings as a user would start them, and plans of many; for quickstart.py and few_shot.py.

stage_runs: one training. few_shot_plan, few_shot_report: what `scripts/few_shot.py` trains and
how it tells the results.
"""
