"""The instrument tested on known answers: each control is a study like any other, with a judgement.

A control whose studies were interrupted goes on where they were, as every study does.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from study.campaigns.confirm import run_confirm
from study.campaigns.confirm_plan import ConfirmConfig
from study.campaigns.confirmation import Confirmation
from study.campaigns.search_study import run_study
from study.config import StudyConfig
from study.errors import StudyFailedError
from study.records.folder import StudyFolder
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState, read_ledger
from study.records.planned_run import baseline_key, seeded_key
from study.records.race import race_of, raced_difference, seed_numbers
from study.records.summary import Summary
from study.records.verdict import claims_gain
from trainables.config import TrainConfig
from trainables.documents import read_document
from trainables.errors import InputError

RESULTS = "controls.json"


@dataclass(frozen=True)
class ControlFinding:
    """What a control found, in a sentence, and whether that is what is known."""

    found: str
    passed: bool


@dataclass(frozen=True)
class ControlOutcome:
    """An entry of ``controls.json``; ``seconds``: of this process."""

    name: str
    known: str
    found: str
    passed: bool
    seconds: float
    seed: int
    quick: bool


@dataclass(frozen=True)
class Room:
    """Where a control's studies are run.

    Attributes:
        seed: of every study; ``quick``: smaller ones.
    """

    folder: Path
    seed: int = 0
    quick: bool = False
    console: Console | None = None

    def pick(self, quick: Any, whole: Any) -> Any:
        return quick if self.quick else whole

    def study(self, name: str, train: TrainConfig, **settings: Any) -> "Studied":
        """Run a study, or go on with it; what is not given is as shipped."""
        how = "-quick" if self.quick else ""
        config = StudyConfig(
            name=f"{name}-seed{self.seed}{how}",
            storage=str(self.folder),
            train=train.model_copy(update={"seed": self.seed}),
            **settings,
        )
        summary = run_study(config, console=self.console)
        folder = StudyFolder.of(config.storage, config.name)
        stored = folder.stored_config()
        assert stored is not None
        # Where it is may be told from here only.
        config = stored.model_copy(update={"storage": config.storage})
        return Studied(config, summary, read_ledger(folder.ledger), self.console)


@dataclass(frozen=True)
class Studied:
    """A study that has ended."""

    config: StudyConfig
    summary: Summary
    state: LedgerState
    console: Console | None

    def confirmed(self, seeds: int) -> Confirmation:
        """Confirm its best configuration on fresh seeds."""
        return run_confirm(self.config, ConfirmConfig(top=1, seeds=seeds), console=self.console)

    @property
    def winner(self) -> str:
        """The best trial's id."""
        return self.summary.first.trial_id if self.summary.first else "no trial"

    @property
    def claimed(self) -> bool:
        return claims_gain(self.config, self.summary)

    def fresh_differences(self, metric: str) -> list[float]:
        """The race's winner beside its baseline, on the seeds after its last selection."""
        race = race_of(self.config, self.state)
        if race is None or race.winner is None:
            return []
        numbers = seed_numbers(self.config)
        found = []
        for seed in (numbers[number] for number in race.fresh(race.winner)):
            record = self.state.trials.get(seeded_key(race.winner, seed))
            beside = self.state.trials.get(baseline_key(seed))
            # What diverged counts as a model that guesses, here as in the race.
            value = None if record is None else raced_difference((metric,), record, beside)
            if isinstance(value, float):
                found.append(value)
        return found

    def differences(self) -> list[float]:
        """Of the objective, of every run of every trial."""
        runs = [run for trial in self.summary.trials for run in trial.runs]
        return [r.paired_difference for r in runs if isinstance(r.paired_difference, float)]


@dataclass(frozen=True)
class Control:
    """A question whose answer is known; ``quick``: whether it takes a minute, not many."""

    name: str
    known: str
    judge: Callable[[Room], ControlFinding]
    quick: bool = True


def run_controls(room: Room, controls: Sequence[Control], console: Console) -> list[ControlOutcome]:
    """Run controls one after the other; what has ended is written as it ends."""
    outcomes: list[ControlOutcome] = []
    for number, control in enumerate(controls, start=1):
        console.print(f"[bold]{number}/{len(controls)} {control.name}[/]: {escape(control.known)}")
        began = time.monotonic()
        try:
            finding = control.judge(room)
        except (StudyFailedError, InputError) as error:
            finding = ControlFinding(f"its study failed: {error}", passed=False)
        seconds = round(time.monotonic() - began, 1)
        outcome = ControlOutcome(
            control.name,
            control.known,
            finding.found,
            finding.passed,
            seconds,
            room.seed,
            room.quick,
        )
        console.print(f"   {_word(outcome)}, {seconds:.0f} s: {escape(outcome.found)}")
        outcomes.append(outcome)
        _write(room.folder / RESULTS, outcomes)
    return outcomes


def _write(path: Path, outcomes: Sequence[ControlOutcome]) -> None:
    """Renew the entries of these controls; others, of earlier calls, seeds and sizes, stay."""
    new = {_room_of(entry): entry for entry in map(asdict, outcomes)}
    try:
        known = {_room_of(e): e for e in read_document(path)} if path.exists() else {}
    except (InputError, TypeError, KeyError, AttributeError):
        known = {}
    write_json(path, list({**known, **new}.values()))


def _room_of(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells entries apart; those of earlier versions say of neither seed nor size."""
    return entry["name"], entry.get("seed"), entry.get("quick")


def results_table(outcomes: Sequence[ControlOutcome]) -> Table:
    table = Table(title="controls", show_lines=True)
    for name in ("control", "known", "found", "passed", "s"):
        table.add_column(name, justify="right" if name == "s" else "left")
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            escape(outcome.known),
            escape(outcome.found),
            _word(outcome),
            f"{outcome.seconds:.0f}",
        )
    return table


def _word(outcome: ControlOutcome) -> str:
    return "[green]passed[/]" if outcome.passed else "[red]failed[/]"
