"""The report's table of all runs: what people sort by comes first, the other columns on demand."""

from collections.abc import Sequence

from analysis.reading import StudyView
from analysis.report.section import Figure
from analysis.trials_table import trials_table
from study.records.summary import TrialSummary
from study.records.values import by_objective
from trainables.epochs import epoch_number

FIRST_COLUMNS = 8
"""Columns that are shown without being asked for."""

_ELSEWHERE = ("trial", "state", "epochs", "first_injection_epoch", "role")


def trial_rows(view: StudyView) -> tuple[list[str], list[Sequence[object]]]:
    """Header and rows: the baselines, then the trials from best to worst, then what has not ended.

    Differences are those of the first objective: of a trial that raced the mean over the seeds
    after its last selection.
    """
    name = view.config.objective[0]
    unit = view.unit(name)
    ranks = {trial.trial_id: rank for rank, trial in enumerate(view.ranking)}
    trials = {trial.trial_id: trial for trial in view.ranking}
    table = trials_table(view)
    others = [column for column in table.columns if column not in (*_ELSEWHERE, name)]
    found = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    found.sort(key=lambda row: (row["role"] != "baseline", ranks.get(str(row["trial"]), 10**9)))
    header = ["trial", f"difference ({unit.word})", "n", "state", "epochs", unit.axis(name)]
    header += ["noise from", "role", *others]
    rows: list[Sequence[object]] = []
    for row in found:
        first = row["first_injection_epoch"]
        difference, n = _difference(trials.get(str(row["trial"])))
        value = row[name]
        number = float(value) if isinstance(value, (int, float)) else None
        rows.append(
            (
                row["trial"],
                None if difference is None else Figure(unit.bare(difference), difference),
                n,
                row["state"],
                row["epochs"],
                None if number is None else Figure(unit.value(number).split(" ")[0], number),
                epoch_number(int(first)) if isinstance(first, int | float) else None,
                row["role"],
                *(row[column] for column in others),
            )
        )
    return header, rows


def _difference(trial: TrialSummary | None) -> tuple[float | None, int | None]:
    if trial is None:
        return None, None
    value = by_objective(trial.shown_difference)[0]
    alone = trial.place is None or not trial.n
    return value, (None if value is None else 1) if alone else trial.n
