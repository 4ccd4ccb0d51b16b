"""The view of the runs table that a study gets: its columns, its order and its charts.

MLflow's pages keep such choices in the browser; a shared view is the one way to hand them over. Its
form is MLflow's own (``ExperimentPageUIState``): a page that does not know a part leaves it out,
and none takes runs that are pinned or hidden from it. So the order is a tag of the runs.
"""

import math
from collections.abc import Mapping
from typing import Any

from study.formats import signed
from trainables.metrics import Mode

ORDER_TAG = "order"
_FIRST, _RANKED, _LATER, _LAST = range(4)
_LARGEST = 1_000_000
"""Beyond this all differences are alike in the table's order."""

_SECTION = "noise-study-curves"
_CURVES = ("val_accuracy", "val_loss", "train_loss")
_WIDTHS = {"role": 90, "n": 50, "status": 90, "difference": 110, "reason": 260}
_METRIC_WIDTH = 150


def first_order(role: str) -> str:
    """A run's place in the table before it has a difference: baselines first, the study last."""
    return str({"baseline": _FIRST, "study": _LAST}.get(role, _LATER))


def difference_tags(differences: list[float], n: int, mode: Mode) -> dict[str, str]:
    """What the table shows of a run beside its baseline, and its place by it: the best first.

    ``differences``: by objective, of which the first one decides.
    """
    if not differences or not math.isfinite(differences[0]):
        return {}
    ahead = differences[0] if mode == "max" else -differences[0]
    place = _LARGEST - max(-_LARGEST, min(_LARGEST, ahead))
    return {
        "difference": ", ".join(map(signed, differences)),
        "n": str(n),
        # Texts are ordered as texts: so all have the same length.
        ORDER_TAG: f"{_RANKED} {place:018.9f}",
    }


def race_tags(tags: Mapping[str, str], mode: Mode) -> dict[str, str]:
    """The same of a trial that raced, from what is noted of it: no longer the one seed's."""
    try:
        means = [float(mean) for mean in tags["race_mean_difference"].split(",")]
        return difference_tags(means, int(tags["race_n"]), mode)
    except (KeyError, ValueError):
        return {}


def runs_view(objective: str, mode: Mode, *, ordered: bool = True) -> dict[str, Any]:
    """The view; ``ordered``: whether all runs have the tag of their order.

    Those that an earlier version recorded have none, and are ordered by their difference.
    """
    value, paired = f"metrics.`{objective}`", "metrics.`paired_difference`"
    tags = {name: f"tags.`{name}`" for name in _WIDTHS}
    after = [tags[name] for name in ("difference", "n", "status")]
    columns = [tags["role"], value, *after, paired, tags["reason"]]
    widths = {tags[name]: width for name, width in _WIDTHS.items()}
    section = {"uuid": _SECTION, "name": "Validation", "display": True, "isReordered": False}
    return {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": widths | dict.fromkeys((value, paired), _METRIC_WIDTH),
        "orderByKey": f"tags.`{ORDER_TAG}`" if ordered else paired,
        "orderByAsc": ordered or mode == "min",
        # Charts of all other metrics follow.
        "compareRunCharts": [_curve(name) for name in _CURVES],
        "compareRunSections": [section],
    }


def _curve(metric: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": f"noise-study-{metric}",
        "metricSectionId": _SECTION,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "displayName": metric,
        "runsCountToCompare": 10,
        "isGenerated": False,
        "deleted": False,
        "lineSmoothness": 0,
        "xAxisKey": "step",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "selectedXAxisMetricKey": "",
    }
