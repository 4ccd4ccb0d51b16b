"""Placebos of recorded trials, looked at rule by rule: ``python -m benchmarks.placebos FOLDER…``.

A folder holds a study: its ``ledger.jsonl``. The rules are read off plan and history with none of
the functions that draw placebos, so that the tests judge by these, too.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import median

from study.campaigns.confirmation import run_config
from study.campaigns.dose import Doses, NoisePlan, overlap, worst
from study.campaigns.matched_placebo import matched_placebos
from study.campaigns.placebo import clock_plan, own_plan, placebo_plan
from study.formats import DASH, markdown_table
from study.records.ledger_view import TrialRecord, read_ledger
from trainables.config import TrainConfig

DRAWS = 2
ROLES = ("trial", "race", "confirm")


def stretches(epochs: Sequence[int]) -> list[list[int]]:
    """Ascending epochs, cut where one is left out."""
    grouped = groupby(enumerate(epochs), key=lambda pair: pair[1] - pair[0])
    return [[epoch for _, epoch in pairs] for _, pairs in grouped]


@cache
def squared_rate(config: TrainConfig, epoch: int) -> float:
    """The mean squared learning rate of an epoch, by the formula of METHOD's section 7."""
    lr, period, epochs = config.optimizer.lr, config.optimizer.lr_restart_period, config.epochs
    last = (math.ceil(epochs / period) - 1) * period
    total = 0.0
    for step in range(32):
        t = epoch + step / 32
        peak = lr - min(1, t / last) * (lr - 1e-5) if last else lr
        total += (1e-6 + (peak - 1e-6) / 2 * (1 + math.cos(math.pi * (t % period) / period))) ** 2
    return total / 32


def dose(config: TrainConfig, plan: NoisePlan, kind: str) -> float:
    total = 0.0
    for epoch, its, magnitude in plan:
        if its == kind:
            stays = kind == "weight" and config.noise.permanent
            strength = min(magnitude, 0.5) if kind == "label" else magnitude
            total += strength**2 * (1 if stays else squared_rate(config, epoch))
    return total


def broken_rules(plan: NoisePlan, own: NoisePlan, config: TrainConfig) -> list[str]:
    """The rules of METHOD's section 11 that a placebo of a trial with noise ``own`` breaks."""
    places, mine = [item.epoch for item in plan], [item.epoch for item in own]
    lengths = [len(burst) for burst in stretches(mine)]
    rules = {
        "bursts whole, in order, parted": [len(b) for b in stretches(places)] == lengths
        and places == sorted(set(places)),
        "kinds kept": [item.kind for item in plan] == [item.kind for item in own],
        "not before signals are heard": places[0]
        >= max(config.noise.warmup_epochs, config.noise.window),
        "not past the budget": places[-1] < config.epochs,
        "not the trial's own": places != mine,
    }
    at = 0
    for length in lengths:
        there, here = plan[at : at + length], own[at : at + length]
        at += length
        for kind in {item.kind for item in here}:
            _judge_burst(rules, kind, there, here, config)
    return [rule for rule, kept in rules.items() if not kept]


def _judge_burst(
    rules: dict[str, bool], kind: str, there: NoisePlan, here: NoisePlan, config: TrainConfig
) -> None:
    strongest = 0.5 if kind == "label" else math.inf
    before, after = dose(config, here, kind), dose(config, there, kind)
    alike = 0.8 * before <= after * (1 + 1e-9) and after <= 1.25 * before * (1 + 1e-9)
    changed = [
        (i.magnitude, min(j.magnitude, strongest))
        for i, j in zip(there, here, strict=True)
        if i.kind == kind and i.magnitude != j.magnitude
    ]
    twofold = all(old / 2 <= new * (1 + 1e-9) <= 2 * old * (1 + 2e-9) for new, old in changed)
    possible = all(new <= strongest for new, _ in changed)
    for rule, kept in (
        ("dose kept", alike),
        ("magnitudes changed twofold at most", twofold),
        ("label noise that there is", possible),
    ):
        rules[rule] = rules.get(rule, True) and kept


Figures = tuple[float, float]
"""The dose ratio and the overlap of a control."""


@dataclass(frozen=True)
class Judged:
    """A trial's controls; ``unmatched`` is the placebo that earlier versions drew."""

    own: NoisePlan
    unmatched: Figures | None
    placebos: tuple[Figures, ...]
    clock: Figures | None
    broken: tuple[str, ...]


def judged(record: TrialRecord) -> Judged:
    config, history = run_config(record), record.history
    own, doses = own_plan(history), Doses.of(config)

    def figures(plan: NoisePlan | None) -> Figures | None:
        return None if plan is None else (worst(doses.ratios(plan, own)), overlap(plan, own))

    plans = matched_placebos(history, config, seed=record.seed, draws=DRAWS)
    return Judged(
        own,
        figures(placebo_plan(history, config.noise, config.epochs, record.seed)),
        tuple((worst(doses.ratios(plan, own)), overlap(plan, own)) for plan in plans),
        figures(clock_plan(history, config.noise, config.epochs, doses)),
        tuple(rule for plan in plans for rule in broken_rules(plan, own, config)),
    )


def _row(name: str, trial: Judged) -> list[str]:
    def cell(figures: Figures | None) -> str:
        return DASH if figures is None else f"{figures[0]:.3g}, {figures[1]:.0%}"

    drawn = [*trial.placebos, *[None] * (DRAWS - len(trial.placebos))]
    bursts = len(stretches([item.epoch for item in trial.own]))
    controls = [cell(figures) for figures in (trial.unmatched, *drawn, trial.clock)]
    return [name, f"{bursts}, {len(trial.own)}", *controls, "; ".join(trial.broken) or "none"]


def _in_short(name: str, figures: Sequence[Figures]) -> str:
    if not figures:
        return f"{name}: none"
    ratios, overlaps = zip(*figures, strict=True)
    return (
        f"{name}: {len(figures)}, dose ratio {min(ratios):.3g} to {max(ratios):.3g}, overlap "
        f"{median(overlaps):.2f} in the median, {max(overlaps):.2f} at most"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code: 1 if a rule is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placebos", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a study's folder")
    parser.add_argument("--most", type=int, help="as many trials of each folder at most")
    options = parser.parse_args(arguments)
    trials: dict[str, Judged] = {}
    for folder in options.folder:
        records = [
            record
            for record in read_ledger(folder / "ledger.jsonl").trials.values()
            if record.role in ROLES and record.state == "complete" and own_plan(record.history)
        ]
        adaptive = [r for r in records if run_config(r).noise.policy == "on_stagnation"]
        for record in adaptive[: options.most]:
            trials[f"{folder.name} {record.key}"] = judged(record)
    numbered = [f"placebo {draw}" for draw in range(1, DRAWS + 1)]
    headings = ["trial", "bursts, noisy epochs", "unmatched placebo", *numbered, "clock", "broken"]
    print(markdown_table(headings, (_row(name, trial) for name, trial in trials.items())))
    found = trials.values()
    print(f"\n{len(found)} trials; of a control: dose ratio, overlap")
    print(_in_short("unmatched placebos", [t.unmatched for t in found if t.unmatched]))
    print(_in_short("placebos", [figures for t in found for figures in t.placebos]))
    print(f"trials without a placebo: {sum(not t.placebos for t in found)}")
    broken = sum(len(t.broken) for t in found)
    print(f"rules broken: {broken}")
    return int(broken > 0)


if __name__ == "__main__":
    raise SystemExit(main())
