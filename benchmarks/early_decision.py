"""Which trials may end early at what cost: ``python -m benchmarks.early_decision``, on the tables.

Three rules, each over a range of its own severity, on the same searches (the settings of a seed in
random orders, one after another): asynchronous successive halving as a study has it; all settings
for one epoch of noise, and the best K to the end (arXiv 2307.15422); and a paired rule, which ends
a trial that is beyond hope: its difference to its baseline, with what completed trials have still
gained from that epoch on, does not reach what is asked, its own baseline or the best completed
trial. What is hoped for is the most that any has gained, times a factor, or the upper end of a
prediction interval of their gains (Student's t, for one more of n: mean + t · sd · √(1 + 1/n)).
What is worse than to guess counts as that. The paired rule is the one that studies have.
Epochs count from where a trial's noise begins: what it shares with the baseline is not trained.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.objectives import history
from benchmarks.tables import print_reports, read_table
from study.formats import markdown_table
from study.tune.early_stopping import Rungs, milestones
from study.tune.paired_stopping import Hope, PairedRule, predicted
from trainables.metrics import OBJECTIVES, guessing, objective_value

ORDERS = 10
NAMES = ("tail_val_loss", "best_val_accuracy")
CLASSES = 10
"""Of the images of each table."""

KEPT = 0.95
"""The share of searches that keep their best setting, at which the rules are compared."""


@dataclass(frozen=True)
class Search:
    """The settings of one seed whose noise began.

    ``gains``: setting × epochs completed (from 1), the difference to the baseline in the objective
    of so many epochs, higher is better; NaN from where a run diverged. ``begins``: the epochs that
    are the baseline's. ``baseline``: its objective by epochs completed, likewise; ``guess``: that
    of a model that guesses.
    """

    gains: NDArray[np.float64]
    begins: NDArray[np.int64]
    baseline: NDArray[np.float64]
    guess: float

    @property
    def epochs(self) -> int:
        return int(self.gains.shape[1])

    @property
    def final(self) -> NDArray[np.float64]:
        return np.where(np.isnan(self.gains[:, -1]), -np.inf, self.gains[:, -1])

    def gain(self, setting: int, done: int) -> float:
        return float(self.gains[setting, done - 1])


Rule = Callable[[Search, Sequence[int]], Iterator[tuple[int, int]]]
"""Yields each setting with the epochs after which it ends, in the order given."""


def searches(table: Mapping[str, Any], objective: str) -> list[Search]:
    sign = 1 if OBJECTIVES[objective] == "max" else -1
    epochs, found = int(table["train"]["epochs"]), []
    guess = guessing(objective, CLASSES)
    assert guess is not None

    def curve(run: Mapping[str, Any]) -> list[float]:
        rows = history(run)
        values = [sign * objective_value(objective, rows[:n]) for n in range(1, len(rows) + 1)]
        return values + [np.nan] * (epochs - len(rows))

    for seed in sorted({run["seed"] for run in table["runs"]}):
        runs = [run for run in table["runs"] if run["seed"] == seed]
        (baseline,) = (curve(run) for run in runs if run["setting"] is None)
        noisy = [run for run in runs if run["setting"] is not None and run["noisy"]]
        if not noisy:
            continue
        beside, begins = np.array(baseline), np.array([run["noisy"][0] for run in noisy])
        gains = np.array([curve(run) for run in noisy]) - beside
        found.append(Search(gains, begins, beside, sign * guess))
    return found


def halving(reduction: float) -> Rule:
    def ends(search: Search, order: Sequence[int]) -> Iterator[tuple[int, int]]:
        grace = max(2, search.epochs // 10)
        rungs = Rungs(milestones(1 + grace, search.epochs, reduction), search.epochs)
        for setting in order:
            yield setting, _halved(search, rungs, setting, grace)

    return ends


def _halved(search: Search, rungs: Rungs, setting: int, grace: int) -> int:
    begins = int(search.begins[setting])
    for done in rungs.milestones:
        gain = search.gain(setting, done)
        if done > begins and (
            np.isnan(gain) or not rungs.judge(str(setting), done, begins + 1 + grace, gain)
        ):
            return done
    return search.epochs


def one_epoch(keep: int) -> Rule:
    def ends(search: Search, order: Sequence[int]) -> Iterator[tuple[int, int]]:
        first = search.begins + 1
        early = np.array([search.gain(s, int(first[s])) for s in range(len(first))])
        early = np.where(np.isnan(early), -np.inf, early)
        best = set(sorted(order, key=lambda s: -early[s])[:keep])
        for setting in order:
            yield setting, search.epochs if setting in best else int(first[setting])

    return ends


def most(factor: float) -> Hope:
    return lambda gained: factor * max(0.0, *gained)


def paired(hope: Hope, *, beats_best: bool) -> Rule:
    """The rule that a study has (``--early-stopping-rule paired``), and its variants."""

    def ends(search: Search, order: Sequence[int]) -> Iterator[tuple[int, int]]:
        rule = PairedRule(search.baseline.tolist(), hope, beats_best, search.guess)
        for setting in order:
            yield setting, _given_up(search, rule, setting)

    return ends


def _given_up(search: Search, rule: PairedRule, setting: int) -> int:
    begins = int(search.begins[setting])
    for done in range(begins + 1, search.epochs + 1):
        value = float(search.baseline[done - 1]) + search.gain(setting, done)
        if np.isnan(value) or not rule.judge(str(setting), done, begins + 1, value):
            return done
    return search.epochs


RULES: dict[str, dict[str, Rule]] = {
    "halving (ASHA)": {f"1 in {r:g}": halving(r) for r in (1.5, 2.0, 3.0, 4.0)},
    "one epoch of noise": {f"best {k}": one_epoch(k) for k in (4, 8, 12, 16, 18, 20, 22)},
} | {
    f"paired, {words}, {asked}": {
        label: paired(hope, beats_best=asked == "the best") for label, hope in hopes.items()
    }
    for asked in ("its baseline", "the best")
    for words, hopes in (
        ("the most", {f"{f:g} ×": most(f) for f in (1.0, 2.0, 4.0, 8.0)}),
        ("predicted", {f"{level:g}": predicted(level) for level in (0.2, 0.05, 0.01, 0.001)}),
    )
}


def replayed(found: Sequence[Search], rule: Rule, orders: int) -> tuple[float, float]:
    """Shares: searches that keep their best setting, epochs trained."""
    random = np.random.default_rng(0)
    kept, trained, whole = [], 0, 0
    for search in found:
        best = int(search.final.argmax())
        for _ in range(orders):
            order = random.permutation(len(search.begins)).tolist()
            ends = dict(rule(search, order))
            kept.append(ends[best] == search.epochs)
            trained += sum(end - int(search.begins[s]) for s, end in ends.items())
            whole += int((search.epochs - search.begins).sum())
    return float(np.mean(kept)), trained / whole


def report(path: Path, orders: int = ORDERS) -> str:
    table, parts = read_table(path), []
    for name in NAMES:
        found, rows = searches(table, name), []
        for rule, levels in RULES.items():
            figures = {level: replayed(found, each, orders) for level, each in levels.items()}
            safe = [trained for kept, trained in figures.values() if kept >= KEPT]
            told = ", ".join(f"{level}: {k:.0%}, {t:.0%}" for level, (k, t) in figures.items())
            rows.append([rule, f"{min(safe):.0%}" if safe else "–", told])
        header = ["rule", f"least epochs where {KEPT:.0%} keep their best",
                  "level: best kept, epochs trained"]  # fmt: skip
        parts.append(f"{name}\n\n{markdown_table(header, rows)}\n")
    seeds = len({run["seed"] for run in table["runs"]})
    return f"{path.name.split('.')[0]}, {seeds} seeds\n\n" + "\n".join(parts)


if __name__ == "__main__":
    print_reports(report, "python -m benchmarks.early_decision", __doc__)
