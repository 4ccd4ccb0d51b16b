"""The view of the runs table that a study gets: columns, the baseline first, and its charts.

MLflow's pages keep such choices in the browser; a shared view is the one way to hand them over. Its
form is MLflow's own (``ExperimentPageUIState``): a page that does not know a part leaves it out.
"""

from collections.abc import Mapping
from typing import Any

from study.tracking.description import is_pinned
from study.tracking.reader import Reader
from trainables.metrics import OBJECTIVES

_SECTION = "noise-study-curves"
_CURVES = ("val_accuracy", "val_loss", "train_loss")
_WIDTHS = {"role": 90, "n": 50, "status": 90, "difference": 110, "reason": 260}
_METRIC_WIDTH = 150
_PINNED = 8
"""Baselines that stay above the other runs: a grid, or a confirmation, has many."""


def runs_view(reader: Reader, run_ids: Mapping[str, str]) -> dict[str, Any]:
    """The best first, below the baselines, which are pinned; ``run_ids``: by key."""
    objective = reader.objective or next(iter(OBJECTIVES))
    sorted_by = _metric("paired_difference")
    columns = [
        *map(_tag, ("role",)),
        _metric(objective),
        *map(_tag, ("difference", "n", "status")),
        sorted_by,
        _tag("reason"),
    ]
    widths = {_tag(name): width for name, width in _WIDTHS.items()}
    widths |= dict.fromkeys((_metric(objective), sorted_by), _METRIC_WIDTH)
    pinned = [run_ids[key] for key in _baselines(reader) if key in run_ids][:_PINNED]
    best = (reader.study_end.best if reader.study_end else None) or ""
    shown = [*pinned[:1], *([run_ids[best]] if best in run_ids else [])]
    return {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": widths,
        "orderByKey": sorted_by,
        # Best first; what has no difference, tuning and the study's own run, comes last.
        "orderByAsc": reader.mode == "min",
        "runsPinned": pinned,
        **_curves(shown),
    }


def _baselines(reader: Reader) -> list[str]:
    """The keys of a study's own baselines; single runs, which share an experiment, have none."""
    study = reader.study
    if study is None or "train" not in study.config:
        return []
    runs = [run.start for run in reader.runs.values() if run.start.role == "baseline"]
    return [start.key for start in runs if is_pinned(study, start.seed)]


def _tag(name: str) -> str:
    return f"tags.`{name}`"


def _metric(name: str) -> str:
    return f"metrics.`{name}`"


def _curves(shown: list[str]) -> dict[str, Any]:
    """Charts of the validation, of the baseline and the best; all other metrics follow."""
    section = {"uuid": _SECTION, "name": "Validation", "display": True, "isReordered": False}
    charts = [
        {
            "type": "LINE",
            "uuid": f"noise-study-{name}",
            "metricSectionId": _SECTION,
            "metricKey": name,
            "selectedMetricKeys": [name],
            "displayName": name,
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
        for name in _CURVES
    ]
    found: dict[str, Any] = {"compareRunCharts": charts, "compareRunSections": [section]}
    if len(shown) > 1:
        found |= {"runsHiddenMode": "CUSTOM", "runsVisibilityMap": dict.fromkeys(shown, True)}
    return found
