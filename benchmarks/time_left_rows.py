"""The time left as the live view says it, against what was left: on the ledgers of whole studies.

A ledger says when everything was recorded. So what the view said at each moment is computed once
the study is over, and how long it went on from there is known.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import call
from benchmarks.rows import Benchmark, Goal, Measured, Options

LEAST_LEFT = 5.0
"""Seconds: what the view says of less is rounded, and of no use to anyone."""

QUICK = {"trials": 2, "epochs": 4}
STUDIES: dict[str, dict[str, Any]] = {
    "raced and stopped early": {"preset": "quickstart"},
    "without a race": {"preset": "standard", "race_seeds": 1, "trials": 12},
    "nothing is shared": {"preset": "quickstart", "fork": "never", "race_seeds": 1, "trials": 10},
}
"""What the studies' trials share with their baselines, and what becomes of them, differs."""


class Moment(NamedTuple):
    """Seconds: what was said to be left, and what was."""

    said: float
    truth: float


def moments(ledger: Path, counted: Any) -> Iterator[Moment]:
    """What was said at each recorded event after the first baseline's end."""
    from study.campaigns.live import Clock
    from study.records.ledger import decode
    from study.records.ledger_view import read_ledger

    lines = ledger.read_bytes().splitlines(keepends=True)
    times = [decode(line).time for line in lines]
    clock, offset = Clock(since=times[0]), 0
    for line, time in zip(lines, times, strict=True):
        offset += len(line)
        truth = (times[-1] - time) / 1000
        state = counted.of(read_ledger(ledger, until=offset))
        baselines = state.by_role("baseline")
        if truth < LEAST_LEFT or not any(run.finished for run in baselines):
            # It counts how many are trained at once from the beginning on.
            clock.seconds(counted, state, 0.0)
            continue
        said = clock.seconds(counted, state, (time - times[0]) / 1000)
        if said is not None and any(not run.finished for run in state.trials.values()):
            yield Moment(said, truth)


def worst(found: list[Moment]) -> Moment:
    """The moment at which it said most too much."""
    return max(found, key=lambda moment: moment.said / moment.truth)


def study_moments(*, preset: str, **changes: Any) -> list[list[float]]:
    """Run a study, in a process of its own, and hold what it said against the truth."""
    from study.api import run_study
    from study.campaigns.counted import search_counted
    from study.config import StudyConfig
    from study.presets import get_preset
    from study.records.folder import StudyFolder

    values = get_preset(preset).model_dump(mode="json")
    epochs = changes.pop("epochs", None)
    if epochs is not None:
        values["train"]["epochs"] = epochs
        values["train"]["optimizer"]["lr_restart_period"] = epochs
    with tempfile.TemporaryDirectory() as storage:
        config = StudyConfig.model_validate({**values, **changes, "storage": storage})
        run_study(config)
        folder = StudyFolder.of(storage, config.name)
        return [list(found) for found in moments(folder.ledger, search_counted(config))]


def _time_left(options: Options) -> Measured:
    found = {}
    for name, study in STUDIES.items():
        told = call(
            "benchmarks.time_left_rows:study_moments",
            **{**study, **(QUICK if options.quick else {})},
        )
        found[name] = [Moment(*each) for each in told] or [Moment(1.0, 1.0)]
    high = {name: worst(each) for name, each in found.items()}
    said = "; ".join(
        f"{name}: {moment.said:.0f} s said, {moment.truth:.0f} s left "
        f"({moment.said / moment.truth:.2g} times), of {len(found[name])} moments"
        for name, moment in high.items()
    )
    pair = worst(list(high.values()))
    return Measured(
        [(pair.said, pair.truth)],
        f"the moment at which the view said most too much, after the first baseline and with at "
        f"least {LEAST_LEFT:g} s to go, in three studies. {said}",
    )


BENCHMARKS = [Benchmark("time_left", "s", Goal(2.0, "<="), "ours/other", _time_left)]
