"""The nine metrics as columns of a table."""

from collections.abc import Iterable

METRICS = {  # key: (heading as HTML, whether higher is better)
    "abs_rel": ("AbsRel", False),
    "sq_rel": ("SqRel", False),
    "rmse": ("RMSE", False),
    "rmse_log": ("RMSE log", False),
    "log10": ("log10", False),
    "d1": ("δ<sub>1</sub>", True),
    "d2": ("δ<sub>2</sub>", True),
    "d3": ("δ<sub>3</sub>", True),
    "silog": ("SILog", False),
}
ABOUT_METRICS = (
    "SqRel and RMSE in meters; δ<sub>k</sub>: share of pixels within a factor of "
    "1.25<sup>k</sup>; SILog times 100."
)


def metric_heads(keys: Iterable[str] = tuple(METRICS)) -> str:
    """A heading for each metric, with the direction that is better."""
    return "".join(
        f"<th>{METRICS[key][0]}<small>{'↑ higher' if METRICS[key][1] else '↓ lower'}</small></th>"
        for key in keys
    )
