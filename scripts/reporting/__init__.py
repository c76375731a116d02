"""The parts of the HTML reports of programs; `common/pages` has their look.

parts: sections of the page that `scripts/report.py` writes. interval_chart: a drawing of a study.
study_report: what `scripts/study.py` writes. study_values, study_numbers and study_calibration
compute it, study_text says it, study_parts and study_pictures are its page.
"""
