"""The part of an evaluation's page that shows single images: pictures, and a table of all.

Every function returns a string of HTML in which all text from files is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from common.data.scenes import scene_type
from common.evaluation.report.cases import ExtremeImage
from common.evaluation.report.columns import METRICS, metric_heads
from common.evaluation.report.gathered import Gathered
from common.pages.page import encoded_uri, short, table

MAX_ROWS = 2000  # of the table; a browser sorts so many at once


class ImagesPart:
    """rows: one for each scored image, in the order of the list, numbered from 1."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], gathered: Gathered) -> None:
        self.rows, self.captions = rows, gathered.captions
        self.numbers = {row["image_path"]: number for number, row in enumerate(rows, 1)}
        keys = list(self.numbers)
        self.worst, best = gathered.worst.shown(keys), gathered.best.shown(keys)
        named = {case.key for case in self.worst}
        self.best = [case for case in best if case.key not in named]

    def pictures_section(self) -> str:
        """The worst images and the best."""
        parts = []
        for title, cases in (("Worst", self.worst), ("Best", self.best)):
            if cases:
                parts.append(f"<h3>{title}</h3>" + "".join(map(self._figure, cases)))
        if not parts:
            return ""
        return (
            f"<h2>Worst and best images</h2>{''.join(parts)}"
            '<p class="faint">By AbsRel; of different scenes where there are enough. Prediction '
            "and ground truth share their colors, whose bar is in meters; gray is not measured. "
            "Errors are relative, white from 50 % on, and drawn where pixels are scored.</p>"
        )

    def table_section(self, csv_name: str) -> str:
        """One row for each image, those with the largest AbsRel first."""
        ordered = sorted(self.rows, key=lambda row: -row["abs_rel"])
        lines = list(map(self._row, ordered[:MAX_ROWS]))
        words = '<th class="text">caption</th>' if self.captions else ""
        by, *others = METRICS
        abs_rel = metric_heads([by]).replace("<th", '<th aria-sort="descending"')
        heads = (
            '<tr><th>image</th><th>no.</th><th class="text">type</th>'
            f"{abs_rel}{metric_heads(others)}<th>scale<small>→ 1</small></th>"
            f"<th>pixels</th>{words}</tr>"
        )
        rest = len(ordered) - MAX_ROWS
        most = f"The {MAX_ROWS} images with the largest AbsRel; {rest} more are in "
        note = most if rest > 0 else "All images; also in "
        shown = table(heads, lines, ' data-filter="Find an image, a type or a caption"')
        return (
            f'<h2>Every image</h2><p class="faint">{note}<a href="{escape(csv_name)}">'
            f"{escape(csv_name)}</a>. Names with ▣ lead to a picture above. Scale: predicted over "
            f'true.</p><div class="tall">{shown}</div>'
        )

    def _figure(self, case: ExtremeImage) -> str:
        number = self.numbers[case.key]
        row = self.rows[number - 1]
        caption = self.captions.get(case.key)
        words = f" “{escape(caption)}”" if caption else ""
        uri = encoded_uri(case.jpeg, "jpeg")
        alt = f"{case.key}: input, prediction, ground truth, relative error"
        return (
            f'<figure class="panels case" id="picture-{number}"><figcaption>'
            f"<b>AbsRel {row['abs_rel']:.3f}</b> · scale ×{math.exp(row['log_ratio']):.2f} · "
            f'δ<sub>1</sub> {row["d1"]:.3f}{words}<br><small><a href="#image-{number}">'
            f"{escape(case.key)}</a></small></figcaption>"
            f'<img loading="lazy" alt="{escape(alt)}" src="{uri}"></figure>'
        )

    def _row(self, row: Mapping[str, Any]) -> str:
        key = row["image_path"]
        number = self.numbers[key]
        name = escape(key)
        if any(case.key == key for case in (*self.worst, *self.best)):
            name = f'<a href="#picture-{number}">{name} ▣</a>'
        cells = "".join(f"<td>{short(row[metric])}</td>" for metric in METRICS)
        words = ""
        if self.captions:
            words = f'<td class="text caption">{escape(self.captions.get(key, ""))}</td>'
        return (
            f'<tr id="image-{number}"><th>{name}</th><td>{number}</td>'
            f'<td class="text">{escape(scene_type(key))}</td>{cells}'
            f"<td>×{math.exp(row['log_ratio']):.3f}</td><td>{row['num_pixels']:,}</td>{words}</tr>"
        )
