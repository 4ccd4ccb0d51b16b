"""What a confirmation consists of: its trials, its fresh seeds, its runs, and how they are paired.

Everything is read from two ledgers, the search's and the confirmation's own, so that a confirmation
that runs, was interrupted or is finished is read by the same code. Nothing here imports Ray or
torch.
"""

import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from study.campaigns.confirm_evidence import Runs, evidence_of
from study.campaigns.confirm_plan import (
    CONTROLS,
    ROLES,
    TEST_IMAGES,
    ConfirmConfig,
    best_trials,
    confirm_folder,
    run_name,
    stored_confirmation,
)
from study.campaigns.confirm_runs import ConfirmedRuns, run_config
from study.campaigns.verdicts import Judge, Judgement, judge_of
from study.config import StudyConfig
from study.records.folder import StudyFolder, open_study
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.records.own_code import is_present
from study.records.planned_run import PlannedRun, Role, baseline_run
from study.records.storage import Storage, Where
from study.records.summary import TrialSummary
from study.search.own_space import space_of
from study.statistics.answers import collapse_bound
from study.statistics.comparison import Comparison, compare
from study.statistics.looks import Evidence
from study.statistics.paired import Paired
from study.statistics.pairing_gain import PairingGain, pairing_gain
from study.units import unit_of
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.frames import as_html, frame
from trainables.margin import Margin, effective_margin
from trainables.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Confirmation(ConfirmedRuns):
    """What is still to be trained of a confirmation, and what its runs say."""

    def __repr__(self) -> str:
        # All that was recorded would be pages.
        return f"{type(self).__name__}(study={self.study.name!r}, decide_by={self.decide_by!r})"

    def to_frame(self) -> "pd.DataFrame":
        return confirmation_frame(self)

    def _repr_html_(self) -> str:
        return as_html(f"{self.study.name}: confirmed by {self.decide_by}", self.to_frame())

    @property
    def decide_by(self) -> str:
        """The metric that the verdicts rest on, the only one that has any."""
        return self.config.decide_by or self.study.decide_by

    @property
    def deciding(self) -> Metric:
        return self.study.train.metrics[self.decide_by]

    @property
    def margin(self) -> Margin:
        """The smallest difference worth having in it."""
        wanted = self.study.margin if self.config.margin is None else self.config.margin
        return effective_margin(self.decide_by, wanted, self.test_images, self.study.train.metrics)

    @property
    def test_images(self) -> int | None:
        """How many images the test set has; None where it was not recorded."""
        known = self.state.study
        images = known.tags.get(TEST_IMAGES) if known else None
        return int(images) if images else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is compared: of the figures on the test set only those that any run has."""
        recorded = {name for record in self.state.trials.values() for name in record.values}
        return tuple(
            name
            for name, metric in self.study.train.metrics.items()
            if metric.weights is None or name in recorded or name == self.decide_by
        )

    # What is to be trained.

    def wanted_seeds(self) -> dict[str, tuple[int, ...]]:
        """Trial → the seeds that it needs, in a sequential design up to the next look."""
        seeds = self.config.fresh_seeds
        return {trial: seeds[:count] for trial, count in self._seeds_wanted.items()}

    @cached_property
    def _seeds_wanted(self) -> dict[str, int]:
        return self.judge.seeds_wanted(self._family("confirm", "baseline", whole=False))

    def missing(self, role: Role) -> list[PlannedRun]:
        """The runs of one role that can be trained now and have not ended."""
        wanted = self.wanted_seeds()
        if role == "baseline":
            seeds = sorted({seed for needed in wanted.values() for seed in needed})
            runs = [baseline_run(seed) for seed in seeds]
        else:
            policy = {"noise/policy": space_of(self.study).policy}
            runs = [
                PlannedRun(
                    role,
                    run_name(role, trial, draw),
                    seed,
                    {**policy, **self.search.trials[trial].overrides, **own},
                )
                for trial, needed in wanted.items()
                for seed in needed
                for draw in range(1, self.config.draws(role) + 1)
                if (own := self._noise(role, trial, seed, draw)) is not None
            ]
        ended = {key for key, record in self.state.trials.items() if record.finished}
        return [run for run in runs if run.key not in ended]

    def train_config(self, trial: str) -> TrainConfig:
        return run_config(self.search.trials[trial])

    def _noise(self, role: Role, trial: str, seed: int, draw: int) -> dict[str, Any] | None:
        """What a run changes in its trial's settings; None where it can't be trained, or need not.

        A trial waits for its baseline, a control for its trial. What can't be moved has no control,
        and a trial that is its own clock is not trained again.
        """
        if role == "confirm":
            return None if self.complete("baseline", "", seed) is None else {}
        plans = self.plans(role, trial, seed)
        if len(plans) < draw or (role == "clock" and self.is_own_clock(trial, seed)):
            return None
        plan = plans[draw - 1]
        if not plan:
            # What never injects has its baseline for a placebo.
            return {"noise/policy": "off"}
        return {"noise/policy": "planned", "noise/plan": [list(item) for item in plan]}

    def spared(self) -> int:
        """How many controls are known by now not to be trained."""
        return sum(
            self._noise(role, trial, seed, draw) is None
            for trial in self.config.trials
            for seed in self.seeds_complete(trial)
            for role in self.config.controls
            for draw in range(1, self.config.draws(role) + 1)
        )

    # What is compared.

    @property
    def judge(self) -> Judge:
        higher = self.deciding.mode == "max"
        unit = unit_of(self.decide_by, self.test_images, self.study.train.metrics)
        return judge_of(
            self.config, margin=self.margin.value, higher_is_better=higher, figures=unit
        )

    def verdicts(self) -> dict[str, Judgement]:
        """Trial → what is said of it beside its baseline."""
        return self.judged()

    def judged(self, of: Role = "confirm", against: Role = "baseline") -> dict[str, Judgement]:
        """Trial → what is said of one of its roles beside another, in the deciding metric.

        Only the trials beside their baselines decide how many seeds there are.
        """
        control = (of, against) != ("confirm", "baseline")
        family = self._family(of, against, whole=control and self.finished)
        return self.judge.judge(family, control=control)

    def evidence(self, trial: str) -> Evidence:
        """What a trial's seeds gave beside its baseline's."""
        return self._family("confirm", "baseline", whole=False)[trial]

    def _family(self, of: Role, against: Role, *, whole: bool) -> dict[str, Evidence]:
        def runs(role: Role, trial: str) -> Runs:
            return lambda seed: self.records(role, trial if role != "baseline" else "", seed)

        return {
            trial: evidence_of(
                sample,
                runs(of, trial),
                runs(against, trial),
                images=self.validation_images,
                whole=whole,
            )
            for trial, sample in self.comparable(self.decide_by, of, against).items()
        }

    def compared(
        self, metric: str, of: Role = "confirm", against: Role = "baseline"
    ) -> dict[str, Comparison]:
        """Trial → how it compares in a metric: figures, Holm-corrected over the trials."""
        deciding = (metric, of, against) == (self.decide_by, "confirm", "baseline")
        return compare(
            self.comparable(metric, of, against),
            higher_is_better=self.study.train.metrics[metric].mode == "max",
            design=self.config.earlier_design if deciding else None,
        )

    def comparable(self, metric: str, of: Role, against: Role) -> dict[str, Paired]:
        """The samples of those trials that have both roles.

        A trial is not compared with a control that it can't have, and none with clocks where there
        are none.
        """
        if "clock" in (of, against) and not self.config.clock:
            return {}
        samples = self.samples(metric, of, against)
        for role in {of, against} & set(CONTROLS):
            samples = {t: s for t, s in samples.items() if not self.has_no(role, t)}
        return samples

    def pairing_gain(self, trial: str) -> PairingGain:
        """What pairing a trial with its baseline by seed was worth, in the deciding metric."""
        seeds = self.samples(self.decide_by)[trial].seeds
        own, reference = (
            {seed: self.value(role, trial, seed, self.decide_by) for seed in seeds}
            for role in ("confirm", "baseline")
        )
        return pairing_gain(own, reference)

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
    check_same_code(folder, study)
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
    """The confirmation of a study that is read already.

    None if it has none, or one of trials that another source was trained with.
    """
    config = stored_confirmation(folder)
    if config is None or is_of_other_code(folder, study, config):
        return None
    check_confirmed(folder, study, search, config)
    return Confirmation(folder, study, search, config, read_ledger(confirm_folder(folder).ledger))


def is_of_other_code(folder: StudyFolder, study: StudyConfig, config: ConfirmConfig) -> bool:
    """Whether a confirmation was begun before the source of the study's classifier was changed."""
    if not study.code_changes:
        return False
    searched = read_ledger(folder.ledger).trials
    begun = read_ledger(confirm_folder(folder).ledger).trials.values()
    records = [searched[key] for key in config.trials if key in searched]
    return not all(is_present(study, record) for record in (*records, *begun))


def check_same_code(folder: StudyFolder, study: StudyConfig) -> None:
    """Refuse to go on with a confirmation of what was trained with another source."""
    stored = stored_confirmation(folder)
    if stored is not None and is_of_other_code(folder, study, stored):
        names = ", ".join(study.train.own_names.values())
        raise InputError(
            f"name = {study.name!r}: its confirmation was begun before the source of {names} was "
            f"changed; move {confirm_folder(folder).path} away to begin anew"
        )


def confirmation_frame(confirmation: Confirmation) -> "pd.DataFrame":
    """A row a trial, what is better first: its verdict, and what that rests on."""
    return frame(
        [
            {
                "trial": trial,
                "verdict": found.word,
                "reason": found.reason,
                "n": found.n,
                "mean_difference": found.mean_difference,
                "p": found.ruling.estimate.p_t if found.ruling else None,
                "collapse_bound": collapse_bound(confirmation.evidence(trial)),
                **confirmation.pairing_gain(trial).columns(),
                "sentence": found.sentence,
            }
            for trial, found in by_verdict(confirmation).items()
        ]
    )


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


def by_verdict(confirmation: Confirmation) -> dict[str, Judgement]:
    """What is said of the trials: what is better first."""
    found = confirmation.verdicts()
    return dict(sorted(found.items(), key=lambda item: item[1].place))
