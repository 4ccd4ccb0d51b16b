"""The option for further metrics; the built-in ones that a figure's name asks for need none."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import tyro

from study.commands.settings import option
from trainables.errors import InputError
from trainables.metric_config import BUILT_IN, asked_by, name_of, named
from trainables.settings import merge

FurtherMetrics = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    option(
        "--metric",
        help="measure a classifier by a further metric (repeatable), on validation in each epoch "
        f"and on the test set where that is read: {', '.join(BUILT_IN)}, or your own as "
        "package.module:function; then NAME can be searched for (--objective tail_val_NAME, "
        "final_val_NAME) and decided by (--decide-by final_test_NAME, test_NAME), which ask for "
        "the built-in ones by themselves (docs/own-space.md)",
        value="NAME",
        default="none",
    ),
]


def with_metrics(values: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """A study's values, not yet validated, with the metrics that a command line asks for."""
    try:
        asked = [named(text) for text in given]
    except ValueError as error:
        raise InputError(f"metric (--metric) = {error}") from None
    train = values.get("train")
    train = train if isinstance(train, dict) else {}
    if asked and (train.get("task") or {}).get("name"):
        raise InputError(
            f"metric (--metric) = {given[0]!r}: a task of your own declares its metrics itself "
            "(docs/own-task.md)"
        )
    before = train.get("measured") or ()
    before = [before] if isinstance(before, str) else before
    if not isinstance(before, list | tuple):
        return dict(values)
    figures = values.get("objective") or ()
    figures = figures.split(",") if isinstance(figures, str) else figures
    figures = [str(each).strip() for each in (*figures, values.get("decide_by"))]
    known = {_name(each) for each in (*before, *asked)}
    if not (train.get("task") or {}).get("name"):
        asked += [named(each) for each in asked_by(figures) if each not in known]
    return merge(values, {"train": {"measured": [*before, *asked]}}) if asked else dict(values)


def _name(metric: object) -> object:
    """What a metric is called, given by its name or as it is stored."""
    if isinstance(metric, str):
        return name_of(metric)
    return metric.get("name") if isinstance(metric, dict) else None
