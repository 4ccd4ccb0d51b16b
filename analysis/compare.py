"""Studies side by side: what each found, what mattered there, what it cost."""

import statistics as stats
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from analysis.reading import StudyView
from analysis.report.figures import Cost, better_by, cost
from analysis.report.importance import Importances, importances
from search_spaces.conditions import path_of
from study.campaigns.confirmation import Confirmation, confirmation_of
from study.formats import DASH, number, setting_name, signed
from study.records.indistinct import sharing_best
from study.records.race_summary import YardstickSummary
from study.statistics.estimate import estimate
from trainables.errors import InputError
from trainables.frames import TitledList


@dataclass(frozen=True)
class BestDifference:
    """The best trial's paired difference, and what is known of its uncertainty.

    Attributes:
        difference: trial − baseline of the same seed, in the objective's unit.
        seeds: seeds that the configuration and the baseline were both trained on.
        mean: mean paired difference over these seeds.
        interval: 95 % Student interval of the mean; None for a single seed.
    """

    key: str
    difference: float
    seeds: int
    mean: float
    interval: tuple[float, float] | None

    def text(self) -> str:
        n = f"n = {self.seeds} seed{'' if self.seeds == 1 else 's'}"
        if self.interval is None:
            return f"{self.mean:+.4f} ({n}: no interval)"
        low, high = self.interval
        return f"{self.mean:+.4f} [{low:+.4f}, {high:+.4f}] ({n})"


@dataclass(frozen=True)
class StudyLine:
    """One study in a comparison.

    Attributes:
        trials, complete: ended trials, and complete ones among them.
        sharing: how many trials share the best figure; 0 where one alone has it.
        yardstick: what the race says of luck; None without one.
        baseline: mean of the baseline's objective over its seeds; None while there is none.
        baseline_seeds: how many seeds that is.
        confirmed: what a confirmation says of the best trial; empty without one.
        missing: what an unfinished study lacks, in sentences.
    """

    name: str
    model: str
    dataset: str
    space: str
    objective: str
    epochs: int
    trials: int
    complete: int
    baseline: float | None
    baseline_seeds: int
    best: BestDifference | None
    sharing: int
    yardstick: YardstickSummary | None
    importances: Importances
    cost: Cost
    confirmed: str
    missing: tuple[str, ...]


def compare_studies(views: Sequence[StudyView]) -> TitledList[StudyLine]:
    names = [view.name for view in views]
    if len(views) < 2 or len(set(names)) < len(names):
        raise InputError(f"compare {' '.join(names)}: name two or more different studies")
    lines = [_line(view) for view in views]
    missing = [f"{line.name}: {sentence}" for line in lines for sentence in line.missing]
    title = f"{len(lines)} studies side by side"
    return TitledList(lines, title, _row, [*differing(lines), *missing])


def _row(line: StudyLine) -> dict[str, Any]:
    plain = ("objective", "epochs", "trials", "complete", "baseline")
    return {
        "study": line.name,
        "training": f"{line.model} on {line.dataset}" if line.dataset else line.model,
        "space": line.space,
        **{name: getattr(line, name) for name in plain},
        "best": line.best and line.best.key,
        "best − baseline": line.best and line.best.text(),
        "epochs_trained": line.cost.trained,
    }


def differing(lines: Sequence[StudyLine]) -> list[str]:
    """What must be borne in mind when the studies' figures are put beside one another."""
    texts = {
        "objective": "objectives",
        "dataset": "data sets",
        "model": "classifiers",
        "epochs": "epoch budgets",
        "space": "search spaces",
        "complete": "numbers of complete trials",
    }
    asides = [text for name, text in texts.items() if len({getattr(x, name) for x in lines}) > 1]
    if not asides:
        return []
    return [
        f"The studies differ in their {', '.join(asides)}. Each difference is to the study's own "
        "baseline; the best of more trials is better by luck alone."
    ]


def _line(view: StudyView) -> StudyLine:
    train, name = view.config.train, view.config.objective[0]
    pinned = [b.metrics.get(name) for b in view.summary.baseline]
    values = [value for value in pinned if value is not None]
    return StudyLine(
        name=view.name,
        model=train.task.name or train.model.classifier,
        dataset=train.data.what if train.task.name is None else "",
        space=_space(view),
        objective=name,
        epochs=train.epochs,
        trials=len(view.summary.trials),
        complete=len(view.complete),
        baseline=stats.fmean(values) if values else None,
        baseline_seeds=len(values),
        best=_best(view),
        sharing=len(sharing_best(view.config, view.summary.trials)),
        yardstick=view.summary.yardstick,
        importances=importances(view),
        cost=cost(view),
        confirmed=_confirmed(view, view.best.trial_id) if view.best else "",
        missing=tuple(view.missing()),
    )


def _space(view: StudyView) -> str:
    if view.config.configs is not None:
        return "given configurations"
    changed = ", ".join(path_of(name).removeprefix("noise/") for name in view.config.ranges)
    return view.config.space + (f" (own ranges: {changed})" if changed else "")


def _best(view: StudyView) -> BestDifference | None:
    best = view.best
    gain = None if best is None else better_by(view, best)
    if best is None or gain is None:
        return None
    shown = gain if view.config.modes[0] == "max" else -gain
    fresh = _on_fresh_seeds(view, best.trial_id)
    if not fresh:
        # Of a race the seeds after the last selection, else the search's own.
        return BestDifference(best.trial_id, shown, best.n or 1, shown, best.first_interval)
    found = estimate(fresh)
    interval = found.t_interval
    return BestDifference(
        key=best.trial_id,
        difference=shown,
        seeds=found.n,
        mean=shown if found.mean is None else found.mean,
        interval=None if interval is None else (interval.low, interval.high),
    )


def _on_fresh_seeds(view: StudyView, key: str) -> Sequence[float]:
    """A trial's paired differences on the seeds of a confirmation, as far as there are any.

    They count alone: on the search's own seed the best trial was chosen for its luck, too.
    """
    confirmation = _confirmation(view, key)
    if confirmation is None:
        return ()
    return confirmation.samples(view.config.objective[0])[key].complete


def _confirmation(view: StudyView, key: str) -> Confirmation | None:
    found = confirmation_of(view.folder, view.config, view.state)
    return found if found is not None and key in found.config.trials else None


def _confirmed(view: StudyView, key: str) -> str:
    """The verdict, and what the mean on the fresh seeds leaves out or hides."""
    found = _confirmation(view, key)
    if found is None:
        return ""
    said, evidence = found.verdicts()[key], found.evidence(key)
    text = f"{said.short} ({found.deciding.words}, n = {said.n} seeds)"
    of = len(evidence.sample.seeds)
    for what, seeds in (("collapsed", evidence.collapsed), ("lost", evidence.lost)):
        if seeds:
            text += f"; {what} on {len(seeds)} of {of}"
    return text


def comparison_tables(lines: Sequence[StudyLine], shown: int = 5) -> list[Table]:
    return [_result_table(lines), _importance_table(lines, shown), _cost_table(lines)]


def _table(title: str, lines: Sequence[StudyLine]) -> Table:
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for line in lines:
        table.add_column(line.name, overflow="fold")
    return table


def _result_table(lines: Sequence[StudyLine]) -> Table:
    table = _table("result", lines)
    # What shares the best figure is first by something else, and not the best.
    first = "first" if any(line.sharing for line in lines) else "best"
    rows = {
        "data set": [line.dataset for line in lines],
        "classifier": [line.model for line in lines],
        "space": [line.space for line in lines],
        "epochs": [str(line.epochs) for line in lines],
        "trials (complete)": [f"{line.trials} ({line.complete})" for line in lines],
        "objective": [line.objective for line in lines],
        "baseline, mean": [_baseline(line) for line in lines],
        f"{first} trial": [_first(line) for line in lines],
        f"{first} − baseline": [line.best.text() if line.best else DASH for line in lines],
        "luckiest without effect": [_luck(line.yardstick) for line in lines],
    }
    for label, cells in rows.items():
        table.add_row(label, *cells)
    table.add_row("its confirmation", *(line.confirmed or DASH for line in lines))
    return table


def _baseline(line: StudyLine) -> str:
    if line.baseline is None:
        return DASH
    return f"{line.baseline:.4f} (n = {line.baseline_seeds} seeds)"


def _first(line: StudyLine) -> str:
    if line.best is None:
        return DASH
    shared = f" (of {line.sharing} that share the best figure)" if line.sharing else ""
    return f"{line.best.key}{shared}"


def _luck(found: YardstickSummary | None) -> str:
    if found is None:
        return DASH
    expected, observed = signed(found.expected_best_without_effect), signed(found.observed)
    reached = f"{found.share:.1%}" if found.share else "none"
    return f"{expected} ({observed} shown, as much as {reached} of such races)"


def _importance_table(lines: Sequence[StudyLine], shown: int) -> Table:
    table = _table("importance of the settings: fANOVA / PED-ANOVA", lines)
    order = list(dict.fromkeys(p for line in lines for p in line.importances.order[:shown]))
    for path in order:
        table.add_row(setting_name(path), *(_share(line, path) for line in lines))
    table.add_row("trials", *(f"n = {line.importances.trials}" for line in lines))
    table.add_row("warning", *(line.importances.warning or DASH for line in lines))
    return table


def _share(line: StudyLine, path: str) -> str:
    found = (line.importances.fanova.get(path), line.importances.ped_anova.get(path))
    if found == (None, None):
        return DASH
    return " / ".join(number(share, ".0%") for share in found)


def _cost_table(lines: Sequence[StudyLine]) -> Table:
    table = _table("cost", lines)
    costs = [line.cost for line in lines]
    table.add_row("epochs trained, tuning", *(str(c.tuning_epochs) for c in costs))
    table.add_row("epochs trained, baselines", *(str(c.baseline_epochs) for c in costs))
    table.add_row("epochs trained, trials", *(str(c.trained) for c in costs))
    table.add_row("epochs reported, trials", *(str(c.reported) for c in costs))
    table.add_row("saved by forking", *(str(c.shared) for c in costs))
    table.add_row("saved by early stopping", *(str(c.stopped) for c in costs))
    table.add_row("seconds, summed over runs", *(f"{c.seconds:.0f}" for c in costs))
    return table
