"""A picture of forking from a real study, as in the guide: python forking_picture.py [NAME]."""

import math
import sys
from pathlib import Path

from analysis.charts.chart import Blocks, Chart, Line, Panel, Points
from analysis.charts.draw_static import save_figure
from analysis.charts.looks import BLUE, GREEN, GREY, ORANGE, PINK, RED
from analysis.reading import StudyView, load_study
from study.records.ledger_view import TrialRecord
from trainables.epochs import epoch_number, epoch_numbers
from trainables.errors import InputError

_VISIBLE = 0.05
_COLOURS = (BLUE, ORANGE, GREEN, PINK)


def forking_chart(view: StudyView, shown: int = 3, statistic: str = "val_loss") -> Chart:
    """Trials that leave their baseline at different epochs, and what of them was trained.

    Args:
        view: a study with forked trials.
        shown: how many of them, spread over the fork epochs; at most four.
        statistic: what is drawn over the epochs.
    """
    baseline = view.baselines.get(view.config.seeds[0])
    trials = _spread(view, baseline, min(shown, len(_COLOURS))) if baseline else []
    if baseline is None or not trials:
        raise InputError(f"study {view.name!r}: no trial was forked from its baseline")
    values = [getattr(row, statistic) for row in baseline.history]
    epochs = len(values)
    curves: list[Line | Points] = [Line(range(1, epochs + 1), values, "baseline", GREY, width=3.2)]
    rows = ["baseline", *(trial.key for trial in trials)]
    blocks = [Blocks(rows, [("baseline", 0.5, epochs + 0.5)], "baseline, trained", GREY, True)]
    shared = [(trial.key, 0.5, trial.shared_epochs + 0.5) for trial in trials]
    # The baseline's colour, paler: the same epochs, taken over.
    blocks.append(Blocks(rows, shared, "taken over from the baseline", "#D4D4D4", True))
    for trial, colour in zip(trials, _COLOURS, strict=False):
        fork = trial.shared_epochs
        own = [getattr(row, statistic) for row in trial.history]
        start = max(0, fork - 1)
        label = f"{trial.key}, trained from epoch {epoch_number(fork)}"
        curves.append(Line(range(start + 1, len(own) + 1), own[start:], label, colour))
        blocks.append(Blocks(rows, [(trial.key, fork + 0.5, len(own) + 0.5)], label, colour))
    at = [max(0, trial.shared_epochs - 1) for trial in trials]
    curves.append(
        Points(epoch_numbers(at), [values[epoch] for epoch in at], "fork", RED, "diamond", 8)
    )
    positive = min(v for line in curves for v in line.y if v is not None) > 0
    reach = (0.5, epochs + 0.5)
    trained = sum(len(t.history) - t.shared_epochs for t in trials)
    reported = sum(len(t.history) for t in trials)
    return Chart(
        "forking",
        "Trials leave their baseline when their noise begins: of the "
        f"{reported} epochs of these {len(trials)}, {trained} are trained",
        (
            Panel(tuple(curves), x="", y=statistic, y_log=positive, x_range=reach),
            Panel(tuple(blocks), x_range=reach, height=0.2 + 0.14 * len(rows)),
        ),
        caption="Until its noise begins a trial equals its baseline, bit for bit.",
    )


def _spread(view: StudyView, baseline: TrialRecord, shown: int) -> list[TrialRecord]:
    """Forked trials, spread over the fork epochs: in each part the one that goes furthest.

    A complete one that visibly leaves the baseline is preferred to one that was stopped early.
    """
    ended = [r for r in view.state.by_role("trial") if r.state in ("complete", "pruned")]
    forked = [r for r in ended if 0 < r.shared_epochs < len(r.history)]
    forks = sorted({record.shared_epochs for record in forked})
    parts: dict[int, TrialRecord] = {}

    def shows(record: TrialRecord) -> tuple[bool, float]:
        distance = _distance(record, baseline)
        return record.state == "complete" and distance > _VISIBLE, distance

    for record in sorted(forked, key=shows):
        parts[forks.index(record.shared_epochs) * min(shown, len(forks)) // len(forks)] = record
    return [parts[part] for part in sorted(parts)]


def _distance(record: TrialRecord, baseline: TrialRecord) -> float:
    """The largest ratio of the validation losses, as a logarithm; 0 where one is not finite."""
    pairs = [
        (row.val_loss, other.val_loss)
        for row, other in zip(record.history, baseline.history, strict=False)
    ]
    ratios = [abs(math.log(a / b)) for a, b in pairs if 0 < a < math.inf and 0 < b < math.inf]
    return max(ratios, default=0.0)


if __name__ == "__main__":
    study = load_study("studies", sys.argv[1] if len(sys.argv) > 1 else "from-python")
    save_figure(forking_chart(study), Path("forking.png"))
