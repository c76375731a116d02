"""The report of an evaluation: `eval.py --report DIR`, `score.py --report DIR`.

pixel_errors: errors by true depth and by place in the image, summed while images are scored. cases:
pictures of the best and worst images. gathered: both, and captions, from all processes. columns:
the metrics as columns of a table. sections, images_table: parts of the page. document: the page.
"""
