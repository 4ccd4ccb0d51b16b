"""A study's summary as a table of pandas, which a notebook shows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainables.epochs import epoch_number
from trainables.frames import as_html, frame

if TYPE_CHECKING:
    import pandas as pd

    from study.records.summary import Summary, TrialSummary


def summary_frame(summary: "Summary") -> "pd.DataFrame":
    """A row a trial; those that raced first, by their place."""
    raced = sorted(summary.trials, key=lambda t: (t.place is None, t.place or 0, t.trial_id))
    metric = summary.objective.metric
    names = [metric] if isinstance(metric, str) else metric
    return frame([_trial_row(trial, names) for trial in raced])


def summary_html(summary: "Summary") -> str:
    best = ", ".join(summary.best_ids) or "none yet"
    title = f"{summary.study}: {len(summary.trials)} trials, best: {best}"
    return as_html(title, summary_frame(summary), summary.notes)


def _trial_row(trial: "TrialSummary", names: Sequence[str]) -> dict[str, Any]:
    first = trial.first_injection_epoch
    low, high = trial.first_interval or (None, None)
    return {
        "trial": trial.trial_id,
        "state": trial.state,
        **_by_name("value", trial.value, names),
        **_by_name("paired_difference", trial.paired_difference, names),
        "place": trial.place,
        "n": trial.n,
        **_by_name("mean_difference", trial.mean_difference, names),
        "low": low,
        "high": high,
        "epochs": trial.epochs,
        "epochs_trained": trial.epochs_trained,
        "first_noisy_epoch": None if first is None else epoch_number(first),
        "reason": trial.reason,
        **trial.overrides,
    }


def _by_name(name: str, value: Any, names: Sequence[str]) -> dict[str, Any]:
    """A figure's column; one for each objective where there are several."""
    if len(names) == 1:
        return {name: value[0] if isinstance(value, list) and len(value) == 1 else value}
    values = value if isinstance(value, list) else [None] * len(names)
    return {f"{name}.{own}": each for own, each in zip(names, values, strict=True)}
