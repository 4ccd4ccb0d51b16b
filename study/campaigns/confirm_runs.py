"""The runs of a confirmation as recorded: found by role and seed, their controls, their values.

Everything is read from two ledgers, the search's and the confirmation's own. Nothing here imports
Ray or torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from study.campaigns.confirm_plan import CONTROLS, ConfirmConfig, run_key
from study.campaigns.dose import Doses, NoisePlan
from study.campaigns.matched_placebo import matched_placebos
from study.campaigns.placebo import clock_plan, own_plan, placebo_plan
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import Role
from study.records.summary import VALIDATION_IMAGES
from study.statistics.paired import Paired, pair
from trainables.config import TrainConfig
from trainables.settings import parse_config


@dataclass(frozen=True)
class ConfirmedRuns:
    """A confirmation at one moment, as the search's ledger and its own (``state``) say it is."""

    folder: StudyFolder
    study: StudyConfig
    search: LedgerState
    config: ConfirmConfig
    state: LedgerState

    def record(self, role: Role, trial: str, seed: int, draw: int = 1) -> TrialRecord | None:
        """The record of a run; of a clock that is the trial itself, the trial's."""
        if role == "clock" and self.is_own_clock(trial, seed):
            role = "confirm"
        return self.state.trials.get(run_key(role, trial, seed, draw))

    def records(self, role: Role, trial: str, seed: int) -> list[TrialRecord | None]:
        """The records of all the runs that a role has on a seed: a trial may have more placebos."""
        draws = len(self.plans(role, trial, seed)) if role == "placebo" else 1
        return [self.record(role, trial, seed, draw) for draw in range(1, max(1, draws) + 1)]

    def ended(self, role: Role, trial: str, seed: int) -> bool:
        records = self.records(role, trial, seed)
        return all(record is not None and record.finished for record in records)

    def complete(self, role: Role, trial: str, seed: int, draw: int = 1) -> TrialRecord | None:
        record = self.record(role, trial, seed, draw)
        return record if record is not None and record.state == "complete" else None

    def plans(self, role: Role, trial: str, seed: int) -> tuple[NoisePlan, ...]:
        """The noise of a trial's controls of one role on a seed, draw by draw.

        Empty if there are none: the trial is not complete on that seed, its noise could lie nowhere
        else, or this confirmation has no clocks.
        """
        record = self.complete("confirm", trial, seed)
        if record is None or role not in self.config.controls:
            return ()
        if (role, record.key) not in self._plans:
            self._plans[role, record.key] = self._planned(role, record)
        return self._plans[role, record.key]

    @cached_property
    def _plans(self) -> dict[tuple[Role, str], tuple[NoisePlan, ...]]:
        """Role and key of a trial's run → its controls' noise, as far as it was asked for."""
        return {}

    def _planned(self, role: Role, record: TrialRecord) -> tuple[NoisePlan, ...]:
        history, run = record.history, run_config(record)
        matched = self.config.placebo_rule == "matched"
        if role == "placebo" and matched:
            return matched_placebos(history, run, seed=run.seed, draws=self.config.placebo_draws)
        if role == "placebo":
            plan = placebo_plan(history, run.noise, run.epochs, run.seed)
        else:
            plan = clock_plan(
                history, run.noise, run.epochs, Doses.of(run, history) if matched else None
            )
        return () if plan is None else (plan,)

    def is_own_clock(self, trial: str, seed: int) -> bool:
        """Whether the trial began where its clock begins, or never: both are the identical run."""
        record, plans = self.complete("confirm", trial, seed), self.plans("clock", trial, seed)
        return record is not None and plans == (own_plan(record.history),)

    def own_clock(self, trial: str) -> tuple[int, ...]:
        """The seeds on which the trial is its own clock."""
        return tuple(s for s in self.config.fresh_seeds if self.is_own_clock(trial, s))

    def has_no(self, role: Role, trial: str) -> bool:
        """Whether the trial can have no such control on any seed that is complete."""
        complete = self.seeds_complete(trial)
        return bool(complete) and not any(self.plans(role, trial, seed) for seed in complete)

    def seeds_complete(self, trial: str) -> list[int]:
        return [s for s in self.config.fresh_seeds if self.complete("confirm", trial, s)]

    def used_seeds(self) -> tuple[int, ...]:
        """The fresh seeds whose baseline has begun."""
        return tuple(
            seed
            for seed in self.config.fresh_seeds
            if self.record("baseline", "", seed) is not None
        )

    # Their values.

    @property
    def validation_images(self) -> int | None:
        """How many images validation has; None where it was not recorded."""
        known = [state.study for state in (self.state, self.search) if state.study is not None]
        counts = [
            study.tags[VALIDATION_IMAGES] for study in known if VALIDATION_IMAGES in study.tags
        ]
        return int(counts[0]) if counts else None

    def samples(
        self, metric: str, of: Role = "confirm", against: Role = "baseline"
    ) -> dict[str, Paired]:
        """Trial → its paired differences in a metric, over the seeds on which both have ended."""
        return {trial: self._sample(trial, metric, of, against) for trial in self.config.trials}

    def _sample(self, trial: str, metric: str, of: Role, against: Role) -> Paired:
        # A trial that was lost on a seed must not beat its controls on the others alone.
        lost_count = self.config.judged == "by_answers" and "confirm" in (of, against)

        def over(role: Role, seed: int) -> bool:
            if self.ended(role, trial if role != "baseline" else "", seed):
                return True
            # What can't be trained any more counts as failed.
            if role == "confirm":
                return self._failed("baseline", "", seed)
            return lost_count and role in CONTROLS and self._failed("confirm", trial, seed)

        seeds = [s for s in self.config.fresh_seeds if over(of, s) and over(against, s)]
        return pair(
            {seed: self.value(of, trial, seed, metric) for seed in seeds},
            {seed: self.value(against, trial, seed, metric) for seed in seeds},
        )

    def _failed(self, role: Role, trial: str, seed: int) -> bool:
        return self.ended(role, trial, seed) and self.complete(role, trial, seed) is None

    def value(self, role: Role, trial: str, seed: int, metric: str) -> float | None:
        """A metric on a seed, of several placebos the mean; None where one lacks a finite number.

        A placebo that failed is not left out of the mean: the others might owe their place to it.
        """
        values = []
        for record in self.records(role, "" if role == "baseline" else trial, seed):
            complete = record is not None and record.state == "complete"
            value = record.values.get(metric) if record is not None and complete else None
            if value is None or not math.isfinite(value):
                return None
            values.append(value)
        return math.fsum(values) / len(values)


def run_config(record: TrialRecord) -> TrainConfig:
    """The configuration that a run was trained with."""
    return parse_config(TrainConfig, dict(record.config), where=record.key)


def first_noise(configs: Sequence[TrainConfig]) -> int | None:
    """The first epoch at which any trial's noise, or its controls', may begin.

    None if that is always the very first: then no baseline needs to keep a checkpoint.
    """
    noises = [config.noise for config in configs if config.noise.policy == "on_stagnation"]
    return min((max(noise.warmup_epochs, noise.window) for noise in noises), default=None)
