"""Trainings as a user would start them, and plans of many.

stage_runs: one training. recipes, surveys: what plans of many trainings share. few_shot_plan,
few_shot_report: what `scripts/few_shot.py` trains and how it tells the results. study_*: the same
for `scripts/study.py`, from its YAML file (config) over plan, data and folder to what it tells
(list, watch, scores); jobs, durations: many programs at a time, and how long they take.
"""
