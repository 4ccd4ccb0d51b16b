"""What a confirmation consists of: its trials, its fresh seeds, its runs, and how they are paired.

Everything is read from two ledgers, the search's and the confirmation's own, so that a confirmation
that runs, was interrupted or is finished is read by the same code. Nothing here imports Ray or
torch.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from search_spaces.registry import get_space
from study.config import StudyConfig
from study.placebo import placebo_plan
from study.records.folder import StudyFolder, open_study
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.storage import Storage, Where
from study.records.summary import TrialSummary, ranked, summarise
from study.statistics.comparison import Comparison, compare
from study.statistics.paired import Paired, pair
from study.statistics.sequential import SequentialDesign, decide, look_schedule
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.metrics import Mode
from trainables.noise_config import NoiseConfig
from trainables.settings import FrozenConfig, parse_config, read_mapping

DECIDING = "test_accuracy"
"""The metric that the verdict rests on."""

METRICS: dict[str, Mode] = {
    "test_accuracy": "max",
    "best_val_accuracy": "max",
    "final_val_accuracy": "max",
    "test_loss": "min",
    "best_val_loss": "min",
    "generalization_gap": "min",
}
"""What is compared → whether more or less of it is better. Test figures are those of the weights
with the best validation accuracy."""

Role = Literal["baseline", "confirm", "placebo"]
ROLES: tuple[Role, ...] = ("baseline", "confirm", "placebo")
"""The runs of a confirmation, in the order in which they are trained."""


class ConfirmConfig(FrozenConfig):
    """What a confirmation trains: ``DIR/NAME/confirm/confirm_config.json`` holds one.

    Attributes:
        top: how many of the search's best complete trials.
        seeds: fresh seeds, in a sequential design the most of them.
        first_look: seeds at the first look of a sequential design; None: no such design.
        trials: the trials chosen; empty before the first start.
        first_seed: the first of the fresh seeds, which are consecutive.
    """

    top: int = 3
    seeds: int = 5
    first_look: int | None = None
    trials: tuple[str, ...] = ()
    first_seed: int = 0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.top < 1:
            raise ValueError(f"top (--top) = {self.top}: confirm at least one configuration")
        if self.seeds < 2:
            raise ValueError(
                f"seeds (--seeds) = {self.seeds}: differences over seeds need at least 2 of them"
            )
        if self.first_look is not None:
            look_schedule(self.first_look, self.seeds)
        return self

    @property
    def design(self) -> SequentialDesign | None:
        """When a sequential confirmation looks at the data."""
        if self.first_look is None:
            return None
        return SequentialDesign(look_schedule(self.first_look, self.seeds))

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """All seeds that may be used, in their order."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))


def parse_seeds(text: str, *, sequential: bool) -> tuple[int, int | None]:
    """Read ``--seeds``: ``5``, or ``5..20`` for a sequential design.

    Returns:
        The most seeds, and those at the first look (None without a sequential design).

    Raises:
        InputError: if it is neither, or does not go with ``--sequential``.
    """
    first, dots, last = text.partition("..")
    numbers = [first, last] if dots else [first]
    if not all(number.strip().isdecimal() for number in numbers):
        raise InputError(f"--seeds = {text!r}: a number, or FIRST..LAST with --sequential")
    if sequential != bool(dots):
        remedy = (
            f"with --sequential give FIRST..LAST, e.g. {first}..{4 * int(first)}"
            if sequential
            else "a range needs --sequential, which says when to stop with the error level kept"
        )
        raise InputError(f"--seeds = {text}: {remedy}")
    if not sequential:
        return int(first), None
    look_schedule(int(first), int(last))
    return int(last), int(first)


@dataclass(frozen=True)
class ConfirmRun:
    """One run of a confirmation: its stable key, and what it changes in the base configuration."""

    role: Role
    seed: int
    overrides: dict[str, Any]
    trial: str = ""

    @property
    def key(self) -> str:
        """``baseline-seed2``, ``trial-0007-seed2`` or ``trial-0007-placebo-seed2``."""
        return run_key(self.role, self.trial, self.seed)


def run_key(role: Role, trial: str, seed: int) -> str:
    """The key of a run of a confirmation."""
    name = {"baseline": "baseline", "confirm": trial, "placebo": f"{trial}-placebo"}[role]
    return f"{name}-seed{seed}"


def confirm_folder(folder: StudyFolder) -> StudyFolder:
    """Where a study's confirmation has its ledger, its checkpoints and its lock."""
    return folder.subfolder("confirm")


def config_file(folder: StudyFolder) -> Path:
    """The stored configuration of a study's confirmation."""
    return confirm_folder(folder).path / "confirm_config.json"


def stored_confirmation(folder: StudyFolder) -> ConfirmConfig | None:
    """The configuration of a confirmation that was begun; None if there is none.

    Raises:
        InputError: if it is damaged.
    """
    path = config_file(folder)
    return (
        parse_config(ConfirmConfig, read_mapping(path), where=str(path)) if path.exists() else None
    )


def planned_confirmation(
    study: StudyConfig, search: LedgerState, wanted: ConfirmConfig, stored: ConfirmConfig | None
) -> ConfirmConfig:
    """The confirmation to be run: its trials chosen, its seeds fresh, what was begun kept.

    Args:
        study: the study's configuration.
        search: its ledger.
        wanted: how many trials and seeds.
        stored: the confirmation as it was begun earlier, if it was.

    Raises:
        InputError: if there is no complete trial, or ``wanted`` contradicts what was begun.
    """
    best = [trial.trial_id for trial in best_trials(study, search)]
    if not best:
        raise InputError(
            f"name = {study.name!r}: no trial is complete, there is nothing to confirm"
        )
    if stored is None:
        used = {*study.seeds, *(record.seed for record in search.trials.values())}
        chosen = {"trials": tuple(best[: wanted.top]), "first_seed": max(used) + 1}
        return wanted.model_copy(update=chosen)
    _check_goes_on(wanted, stored)
    trials = list(stored.trials)
    if stored.first_look is None:
        trials += [trial for trial in best[: wanted.top] if trial not in trials]
    return wanted.model_copy(update={"trials": tuple(trials), "first_seed": stored.first_seed})


def _check_goes_on(wanted: ConfirmConfig, stored: ConfirmConfig) -> None:
    """Refuse what would make the verdict depend on what has been seen."""
    same = "; go on with the same options, or remove the folder confirm to begin anew"
    if wanted.first_look != stored.first_look or (
        stored.first_look is not None and (wanted.seeds, wanted.top) != (stored.seeds, stored.top)
    ):
        raise InputError(
            f"{_design_words(wanted)}: begun as {_design_words(stored)}; a design is fixed before "
            f"its first look{same}"
        )
    for name in ("top", "seeds"):
        now, before = getattr(wanted, name), getattr(stored, name)
        if now < before:
            raise InputError(
                f"{name} (--{name}) = {now}: begun with {before}; more may be added, but what was "
                f"seen can't be taken away{same}"
            )


def _design_words(config: ConfirmConfig) -> str:
    if config.first_look is None:
        return f"--top {config.top} --seeds {config.seeds}"
    return f"--top {config.top} --sequential --seeds {config.first_look}..{config.seeds}"


def best_trials(study: StudyConfig, search: LedgerState) -> list[TrialSummary]:
    """The complete trials with a value from best to worst, by the (first) objective."""
    trials = summarise(study, search).trials
    return ranked(study, [t for t in trials if t.state == "complete" and t.value is not None])


@dataclass(frozen=True)
class Confirmation:
    """A confirmation as the ledgers say it is, at one moment.

    Attributes:
        folder: the study's files.
        study: the study's configuration.
        search: what the search's ledger says.
        config: what is confirmed.
        state: what the confirmation's own ledger says.
    """

    folder: StudyFolder
    study: StudyConfig
    search: LedgerState
    config: ConfirmConfig
    state: LedgerState

    def record(self, role: Role, trial: str, seed: int) -> TrialRecord | None:
        """A run, if it has begun."""
        return self.state.trials.get(run_key(role, trial, seed))

    def _ended(self, role: Role, trial: str, seed: int) -> bool:
        record = self.record(role, trial, seed)
        return record is not None and record.finished

    def _complete(self, role: Role, trial: str, seed: int) -> TrialRecord | None:
        record = self.record(role, trial, seed)
        return record if record is not None and record.state == "complete" else None

    # What is to be trained.

    def wanted_seeds(self) -> dict[str, tuple[int, ...]]:
        """Trial → the seeds that it needs, in a sequential design up to the next look."""
        seeds = self.config.fresh_seeds
        design = self.config.design
        if design is None:
            return dict.fromkeys(self.config.trials, seeds)
        state = decide(self.samples(DECIDING), design)
        counts = {name: how.seeds for name, how in state.decided.items()}
        last = state.next_seeds or design.looks[-1]
        return {name: seeds[: counts.get(name, last)] for name in self.config.trials}

    def missing(self, role: Role) -> list[ConfirmRun]:
        """The runs of one role that can be trained now and have not ended."""
        wanted = self.wanted_seeds()
        if role == "baseline":
            seeds = sorted({seed for needed in wanted.values() for seed in needed})
            runs = [ConfirmRun(role, seed, {"noise/policy": "off", "seed": seed}) for seed in seeds]
        else:
            make = self._confirm_run if role == "confirm" else self._placebo_run
            pairs = ((trial, seed) for trial, needed in wanted.items() for seed in needed)
            runs = [run for trial, seed in pairs if (run := make(trial, seed)) is not None]
        return [run for run in runs if not self._ended(role, run.trial, run.seed)]

    def overrides(self, trial: str, seed: int) -> dict[str, Any]:
        """What a trial changes in the base configuration, on another seed."""
        policy = {"noise/policy": get_space(self.study.space).policy}
        return {**policy, **self.search.trials[trial].overrides, "seed": seed}

    def train_config(self, trial: str) -> TrainConfig:
        """The configuration of a trial, as it was in the search."""
        return parse_config(TrainConfig, dict(self.search.trials[trial].config), where=trial)

    def _confirm_run(self, trial: str, seed: int) -> ConfirmRun | None:
        if self._complete("baseline", "", seed) is None:
            return None
        return ConfirmRun("confirm", seed, self.overrides(trial, seed), trial)

    def _placebo_run(self, trial: str, seed: int) -> ConfirmRun | None:
        noise = self.placebo_noise(trial, seed)
        if noise is None:
            return None
        return ConfirmRun("placebo", seed, {**self.overrides(trial, seed), **noise}, trial)

    def placebo_noise(self, trial: str, seed: int) -> dict[str, Any] | None:
        """The overrides that make a trial's placebo on a seed.

        None if there is no placebo: the trial is not complete on that seed, or its noise could lie
        nowhere else.
        """
        record = self._complete("confirm", trial, seed)
        if record is None:
            return None
        noise = NoiseConfig.model_validate(record.config["noise"])
        plan = placebo_plan(record.history, noise, int(record.config["epochs"]), seed)
        if plan is None:
            return None
        if not plan:
            # What never injects has its baseline for a placebo.
            return {"noise/policy": "off"}
        return {"noise/policy": "planned", "noise/plan": [list(item) for item in plan]}

    def has_no_placebo(self, trial: str) -> bool:
        """Whether the trial's noise could not lie elsewhere on any seed that is complete."""
        complete = [s for s in self.config.fresh_seeds if self._complete("confirm", trial, s)]
        return bool(complete) and all(self.placebo_noise(trial, s) is None for s in complete)

    # What is compared.

    def samples(
        self, metric: str, of: Role = "confirm", against: Role = "baseline"
    ) -> dict[str, Paired]:
        """Trial → its paired differences in a metric, over the seeds on which both have ended."""
        return {trial: self._sample(trial, metric, of, against) for trial in self.config.trials}

    def _sample(self, trial: str, metric: str, of: Role, against: Role) -> Paired:
        def over(role: Role, seed: int) -> bool:
            if self._ended(role, trial if role != "baseline" else "", seed):
                return True
            # What can't be trained any more counts as failed.
            return role == "confirm" and self._failed("baseline", "", seed)

        seeds = [s for s in self.config.fresh_seeds if over(of, s) and over(against, s)]
        return pair(
            {seed: self.value(of, trial, seed, metric) for seed in seeds},
            {seed: self.value(against, trial, seed, metric) for seed in seeds},
        )

    def _failed(self, role: Role, trial: str, seed: int) -> bool:
        return self._ended(role, trial, seed) and self._complete(role, trial, seed) is None

    def value(self, role: Role, trial: str, seed: int, metric: str) -> float | None:
        """A metric of a complete run; None where there is none, or it is no finite number."""
        record = self._complete(role, "" if role == "baseline" else trial, seed)
        value = None if record is None else record.values.get(metric)
        return value if value is not None and math.isfinite(value) else None

    def verdicts(self) -> dict[str, Comparison]:
        """Trial → how it compares with its baseline in the deciding metric."""
        return self.compared(DECIDING)

    def compared(
        self, metric: str, of: Role = "confirm", against: Role = "baseline"
    ) -> dict[str, Comparison]:
        """Trial → how it compares in a metric, Holm-corrected over the trials.

        A sequential design decides the deciding metric against the baseline, nothing else. A trial
        that can have no placebo is not compared with one.
        """
        deciding = (metric, of, against) == (DECIDING, "confirm", "baseline")
        samples = self.samples(metric, of, against)
        if "placebo" in (of, against):
            samples = {t: s for t, s in samples.items() if not self.has_no_placebo(t)}
        return compare(
            samples,
            higher_is_better=METRICS[metric] == "max",
            design=self.config.design if deciding else None,
        )

    @cached_property
    def promised(self) -> dict[str, TrialSummary]:
        """Trial → what the search said of it."""
        return {t.trial_id: t for t in best_trials(self.study, self.search)}

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return not any(self.missing(role) for role in ROLES)

    def failed(self) -> list[TrialRecord]:
        """The runs that failed."""
        return [record for record in self.state.trials.values() if record.state == "failed"]


def load_confirmation(storage: Where, name: str) -> Confirmation:
    """Read a study's confirmation, whatever state it is in.

    Raises:
        InputError: if there is no such study, or it has not been confirmed.
    """
    where = Storage.of(storage)
    folder = open_study(where, name)
    study = folder.stored_config()
    assert study is not None
    found = confirmation_of(folder, study, read_ledger(folder.ledger))
    if found is None:
        command = shlex.join(["noise-study", "confirm", name, *where.words])
        raise InputError(
            f"name = {name!r}: has not been confirmed; train its best configurations on fresh "
            f"seeds with: {command}"
        )
    return found


def confirmation_of(
    folder: StudyFolder, study: StudyConfig, search: LedgerState
) -> Confirmation | None:
    """The confirmation of a study that is read already; None if it has none.

    Raises:
        InputError: if it is damaged, or another study's.
    """
    config = stored_confirmation(folder)
    if config is None:
        return None
    lost = [trial for trial in config.trials if trial not in search.trials]
    if lost:
        raise InputError(
            f"{lost[0]}: was confirmed, but is not in {folder.ledger}; remove "
            f"{confirm_folder(folder).path} to begin anew"
        )
    return Confirmation(folder, study, search, config, read_ledger(confirm_folder(folder).ledger))


def first_noise(configs: Sequence[TrainConfig]) -> int | None:
    """The first epoch at which any trial's noise, or its placebo's, may begin.

    None if that is always the very first: then no baseline needs to keep a checkpoint.
    """
    earliest: list[int] = []
    for config in configs:
        noise = config.noise
        if noise.policy == "on_stagnation":
            earliest.append(max(noise.warmup_epochs, noise.window))
    return min(earliest, default=None)
