"""Checks of a data set on disk; `scripts/doctor.py` runs them all and tells what they find.

What a check says:  findings; causes (why files are missing), commands (what makes them),
                    list_edits (copies of a list, corrected), report_text (lines and JSON)
Lists and files:    lists, files, duplicates (test images in training), disk
A decoded sample:   pixels (measures it), judge_files, judge_depth, judge_unit, units
Text and features:  text, lengths (what is cut), pictures (of which image features were made)
The last word:      training (what training itself would refuse)
"""
