"""The parts of the HTML reports.

parts: sections of the page that `scripts/report.py` writes. charts, interval_chart: drawings, as
SVG, of all reports. study_report: what `scripts/study.py` writes. study_values, study_numbers and
study_calibration compute it, study_text says it, study_parts and study_pictures are its page.
"""
