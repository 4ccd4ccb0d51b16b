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
from typing import Any

from search_spaces.registry import get_space
from study.campaigns.confirm_plan import (
    CONTROLS,
    DECIDING,
    METRICS,
    ROLES,
    ConfirmConfig,
    best_trials,
    confirm_folder,
    run_key,
    run_name,
    stored_confirmation,
)
from study.campaigns.placebo import NoisePlan, clock_plan, own_plan, placebo_plan
from study.config import StudyConfig
from study.records.folder import StudyFolder, open_study
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.planned_run import PlannedRun, Role, baseline_run
from study.records.storage import Storage, Where
from study.records.summary import TrialSummary
from study.statistics.comparison import Comparison, Verdict, compare
from study.statistics.paired import Paired, pair
from study.statistics.sequential import decide
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.noise_config import NoiseConfig
from trainables.settings import parse_config


@dataclass(frozen=True)
class Confirmation:
    """A confirmation at one moment, as the search's ledger and its own (``state``) say it is."""

    folder: StudyFolder
    study: StudyConfig
    search: LedgerState
    config: ConfirmConfig
    state: LedgerState

    def record(self, role: Role, trial: str, seed: int) -> TrialRecord | None:
        """The record of a run; of a clock that is the trial itself, the trial's."""
        if role == "clock" and self.is_own_clock(trial, seed):
            role = "confirm"
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

    def missing(self, role: Role) -> list[PlannedRun]:
        """The runs of one role that can be trained now and have not ended."""
        wanted = self.wanted_seeds()
        if role == "baseline":
            seeds = sorted({seed for needed in wanted.values() for seed in needed})
            runs = [baseline_run(seed) for seed in seeds]
        else:
            policy = {"noise/policy": get_space(self.study.space).policy}
            runs = [
                PlannedRun(
                    role,
                    run_name(role, trial),
                    seed,
                    {**policy, **self.search.trials[trial].overrides, **own},
                )
                for trial, needed in wanted.items()
                for seed in needed
                if (own := self._noise(role, trial, seed)) is not None
            ]
        ended = {key for key, record in self.state.trials.items() if record.finished}
        return [run for run in runs if run.key not in ended]

    def train_config(self, trial: str) -> TrainConfig:
        return parse_config(TrainConfig, dict(self.search.trials[trial].config), where=trial)

    def _noise(self, role: Role, trial: str, seed: int) -> dict[str, Any] | None:
        """What a run changes in its trial's settings; None where it can't be trained, or need not.

        A trial waits for its baseline, a control for its trial. What can't be moved has no control,
        and a trial that is its own clock is not trained again.
        """
        if role == "confirm":
            return None if self._complete("baseline", "", seed) is None else {}
        plan = self._plan(role, trial, seed)
        if plan is None or (role == "clock" and self.is_own_clock(trial, seed)):
            return None
        if not plan:
            # What never injects has its baseline for a placebo.
            return {"noise/policy": "off"}
        return {"noise/policy": "planned", "noise/plan": [list(item) for item in plan]}

    def _plan(self, role: Role, trial: str, seed: int) -> NoisePlan | None:
        """The noise of a trial's control on a seed.

        None if there is none: the trial is not complete on that seed, its noise could lie nowhere
        else, or this confirmation has no clocks.
        """
        record = self._complete("confirm", trial, seed)
        if record is None or role not in self.config.controls:
            return None
        noise = NoiseConfig.model_validate(record.config["noise"])
        epochs = int(record.config["epochs"])
        if role == "clock":
            return clock_plan(record.history, noise, epochs)
        return placebo_plan(record.history, noise, epochs, seed)

    def is_own_clock(self, trial: str, seed: int) -> bool:
        """Whether the trial began where its clock begins, or never: both are the identical run."""
        record, plan = self._complete("confirm", trial, seed), self._plan("clock", trial, seed)
        return record is not None and plan is not None and plan == own_plan(record.history)

    def own_clock(self, trial: str) -> tuple[int, ...]:
        """The seeds on which the trial is its own clock."""
        return tuple(s for s in self.config.fresh_seeds if self.is_own_clock(trial, s))

    def has_no_placebo(self, trial: str) -> bool:
        """Whether the trial's noise could not lie elsewhere on any seed that is complete."""
        complete = self._seeds_complete(trial)
        return bool(complete) and all(self._plan("placebo", trial, s) is None for s in complete)

    def _seeds_complete(self, trial: str) -> list[int]:
        return [s for s in self.config.fresh_seeds if self._complete("confirm", trial, s)]

    def spared(self) -> int:
        """How many controls are known by now not to be trained."""
        return sum(
            self._noise(role, trial, seed) is None
            for trial in self.config.trials
            for seed in self._seeds_complete(trial)
            for role in self.config.controls
        )

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
        that can have no placebo is compared with no control, and none with clocks where there are
        none.
        """
        deciding = (metric, of, against) == (DECIDING, "confirm", "baseline")
        if "clock" in (of, against) and not self.config.clock:
            return {}
        samples = self.samples(metric, of, against)
        if of in CONTROLS or against in CONTROLS:
            samples = {t: s for t, s in samples.items() if not self.has_no_placebo(t)}
        return compare(
            samples,
            higher_is_better=METRICS[metric] == "max",
            design=self.config.design if deciding else None,
        )

    def timing_shown(self, trial: str) -> bool:
        """Whether a trial beats both its controls: when its noise came mattered then."""
        beside = [self.compared(DECIDING, against=role).get(trial) for role in CONTROLS]
        return all(c is not None and c.verdict is Verdict.BETTER for c in beside)

    @cached_property
    def promised(self) -> dict[str, TrialSummary]:
        return {t.trial_id: t for t in best_trials(self.study, self.search)}

    @property
    def finished(self) -> bool:
        return not any(self.missing(role) for role in ROLES)

    def failed(self) -> list[TrialRecord]:
        return [record for record in self.state.trials.values() if record.state == "failed"]


def load_confirmation(storage: Where, name: str) -> Confirmation:
    """Read a study's confirmation, whatever state it is in."""
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
    """The confirmation of a study that is read already; None if it has none."""
    config = stored_confirmation(folder)
    if config is None:
        return None
    check_confirmed(folder, study, search, config)
    return Confirmation(folder, study, search, config, read_ledger(confirm_folder(folder).ledger))


def check_confirmed(
    folder: StudyFolder, study: StudyConfig, search: LedgerState, config: ConfirmConfig
) -> None:
    """Refuse a confirmation of trials that the search's ledger has lost, or their end."""
    complete = {trial.trial_id for trial in best_trials(study, search)}
    lost = [trial for trial in config.trials if trial not in complete]
    if lost:
        raise InputError(
            f"{lost[0]}: was confirmed, but is not complete in {folder.ledger}, which has lost "
            f"lines. Restore it from a copy; or remove {confirm_folder(folder).path} to confirm "
            "anew"
        )


def first_noise(configs: Sequence[TrainConfig]) -> int | None:
    """The first epoch at which any trial's noise, or its controls', may begin.

    None if that is always the very first: then no baseline needs to keep a checkpoint.
    """
    noises = [config.noise for config in configs if config.noise.policy == "on_stagnation"]
    return min((max(noise.warmup_epochs, noise.window) for noise in noises), default=None)


def by_verdict(confirmation: Confirmation) -> dict[str, Comparison]:
    """The comparisons in the deciding metric: what is better first."""
    order = list(Verdict)
    found = confirmation.verdicts()
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].verdict)))
