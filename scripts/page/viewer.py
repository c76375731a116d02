"""Points in the browser: a page of its own inside the page, with all that it needs in it.

It draws with WebGL and fetches nothing; `viewer.html` is its text.
"""

import base64
from html import escape
from pathlib import Path

import numpy as np

from scripts.prediction.cameras import Intrinsics
from scripts.prediction.clouds import Cloud

_TEMPLATE = Path(__file__).with_name("viewer.html")


def draw_cloud(cloud: Cloud, camera: Intrinsics, width: int) -> str:
    """HTML; width: of the picture that the points are the pixels of."""
    if not len(cloud.points):
        return "<p>no pixel has depth</p>"
    rows = np.zeros(len(cloud.points), [("point", "<f4", 3), ("color", "u1", 3), ("gap", "u1")])
    rows["point"], rows["color"] = cloud.points, cloud.colors
    values = {
        "DATA": base64.b64encode(rows.tobytes()).decode(),
        "COUNT": str(len(rows)),
        "PIXEL": f"{cloud.step / camera.fx:.6g}",
        "CENTER": str([round(float(v), 5) for v in np.median(cloud.points, axis=0)]),
        "HALF_VIEW": f"{width / 2 / camera.fx:.6g}",
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return (
        f'<iframe sandbox="allow-scripts" srcdoc="{escape(text)}" title="points" '
        'style="width: 100%; height: 460px; border: 0; border-radius: 8px"></iframe>'
    )
