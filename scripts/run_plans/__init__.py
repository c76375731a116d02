"""Trainings as a user would start them, and plans of many.

stage_runs: one training. recipes, surveys: what plans of many trainings share. few_shot_plan,
few_shot_report: what `scripts/few_shot.py` trains and how it tells the results.

For `scripts/study.py`: study_config (its YAML file), study_rows (what rows can be), study_plan
(trainings and scores), run_settings (what tells them apart), study_data (images, folds),
study_folder (what is there, what is left), study_list (`--list`), study_watch (what it tells while
it runs), study_scores (what it finds). jobs, durations: many programs at a time, and how long they
take.
"""
