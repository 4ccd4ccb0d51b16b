"""Which trials a confirmation trains, on which seeds, and the runs that this means."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState
from study.records.planned_run import BASELINE, Role, seeded_key
from study.records.seeds import confirmation_start
from study.records.summary import TrialSummary, ranked, summarise
from study.statistics.design import SET_ASIDE, ConfirmationDesign
from study.statistics.sequential import SequentialDesign, look_schedule
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.margin import effective_margin
from trainables.settings import FrozenConfig, parse_config

TEST_IMAGES = "test_images"
"""The tag of a confirmation that says how many images its test set has."""

CONTROLS: tuple[Role, ...] = ("placebo", "clock")
"""The trial's own noise at other epochs: what its timing is held against."""

STEPS: tuple[tuple[Role, ...], ...] = (("baseline",), ("confirm",), CONTROLS)
"""The runs of a confirmation, in the order in which they are trained."""

ROLES: tuple[Role, ...] = tuple(role for step in STEPS for role in step)


class ConfirmConfig(FrozenConfig):
    """What a confirmation trains: ``DIR/NAME/confirm/confirm_config.json`` holds one.

    Attributes:
        top: how many of the search's best complete trials.
        seeds: fresh seeds, in a sequential design the most of them.
        first_look: seeds at the first look of a sequential design; None: all seeds at once.
        trials: the trials chosen; empty before the first start.
        first_seed: the first of the fresh seeds, which are consecutive.
        clock: whether each trial is held against its clock, too; confirmations of earlier versions
            were not, and what was begun without stays without.
        placebo_draws: placebos of a trial on each seed; a seed's value is the mean of theirs.
        placebo_rule: how controls are planned. ``matched``: in dose, at like learning rates;
            ``as_recorded``, by which earlier versions began: with the trial's magnitudes wherever
            they lie. What was begun by one rule goes on by it.
        judged: ``by_answers``, or ``as_before``, as earlier versions judged what they began.
        planned: seeds at the planned end, fixed at the first start; ``seeds`` may grow beyond.
        extendable: whether a share of the error is set aside for seeds beyond the planned end.
        futility: whether a sequential design ends early where ``better`` is out of reach.
        decide_by, margin: the metric that decides and, in its unit, the largest difference that is
            not worth having; fixed at the first start, None before it.
    """

    top: int = 3
    seeds: int = 6
    first_look: int | None = None
    trials: tuple[str, ...] = ()
    first_seed: int = 0
    clock: bool = True
    placebo_draws: int = 2
    placebo_rule: Literal["matched", "as_recorded"] = "matched"
    judged: Literal["by_answers", "as_before"] = "by_answers"
    planned: int | None = None
    extendable: bool = False
    futility: bool = True
    decide_by: str | None = None
    margin: float | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.top < 1:
            raise ValueError(f"top (--top) = {self.top}: confirm at least one configuration")
        if self.seeds < 2:
            raise ValueError(
                f"seeds (--seeds) = {self.seeds}: differences over seeds need at least 2 of them"
            )
        if self.placebo_draws < 1:
            raise ValueError(
                f"placebo_draws = {self.placebo_draws}: a trial has at least 1 placebo on a seed"
            )
        if self.placebo_draws > 1 and self.placebo_rule == "as_recorded":
            raise ValueError(
                f"placebo_draws = {self.placebo_draws}: the placebo_rule as_recorded has 1 only"
            )
        if not 2 <= self.planned_seeds <= self.seeds:
            raise ValueError(f"planned = {self.planned}: must be from 2 to seeds = {self.seeds}")
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"margin = {self.margin}: must be above 0")
        if self.first_look is not None:
            look_schedule(self.first_look, self.planned_seeds)
        return self

    @property
    def controls(self) -> tuple[Role, ...]:
        """What each trial's timing is held against."""
        return CONTROLS if self.clock else ("placebo",)

    def draws(self, role: Role) -> int:
        """How many runs of a role each trial has on a seed, at most."""
        return self.placebo_draws if role == "placebo" else 1

    @property
    def runs_a_seed(self) -> int:
        """How many runs each trial has on a seed at most, its own and its controls'."""
        return 1 + sum(map(self.draws, self.controls))

    @property
    def planned_seeds(self) -> int:
        return self.seeds if self.planned is None else self.planned

    @property
    def extended(self) -> bool:
        """Whether seeds were added to those planned; never of what an earlier version began."""
        return self.judged == "by_answers" and self.seeds > self.planned_seeds

    @property
    def looks(self) -> tuple[int, ...] | None:
        """Numbers of seeds at the looks of a sequential design; None: all seeds at once."""
        if self.first_look is None:
            return None
        return look_schedule(self.first_look, self.planned_seeds)

    @property
    def design(self) -> ConfirmationDesign:
        return ConfirmationDesign(
            self.looks or (self.planned_seeds,),
            set_aside=SET_ASIDE if self.extendable else 0.0,
            futility=self.futility,
            extended_to=self.seeds if self.extended else 0,
        )

    @property
    def earlier_design(self) -> SequentialDesign | None:
        """When a sequential confirmation looks that an earlier version began."""
        if self.judged == "by_answers" or self.looks is None:
            return None
        return SequentialDesign(self.looks)

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """All seeds that may be used, in their order."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))


def parse_seeds(text: str, *, sequential: bool) -> tuple[int, int | None]:
    """Read ``--seeds``, ``5`` or ``5..20``: the most, and those at a sequential first look."""
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


def run_name(role: Role, trial: str, draw: int = 1) -> str:
    """What a confirmation trains on each seed: ``baseline``, a trial, or a trial's control.

    Of several controls of a role all but the first have their number, e.g. ``TRIAL-placebo-2``.
    """
    number = "" if draw == 1 else f"-{draw}"
    return {"baseline": BASELINE, "confirm": trial}.get(role, f"{trial}-{role}{number}")


def run_key(role: Role, trial: str, seed: int, draw: int = 1) -> str:
    return seeded_key(run_name(role, trial, draw), seed)


def confirm_folder(folder: StudyFolder) -> StudyFolder:
    """Where a study's confirmation has its ledger, its checkpoints and its lock."""
    return folder.subfolder("confirm")


def config_file(folder: StudyFolder) -> Path:
    return confirm_folder(folder).path / "confirm_config.json"


def stored_confirmation(folder: StudyFolder) -> ConfirmConfig | None:
    """The configuration of a confirmation that was begun; None if there is none."""
    path = config_file(folder)
    if not path.exists():
        return None
    # A file that does not say was written before there were clocks, matched placebos, or answers.
    before = {
        "clock": False,
        "placebo_draws": 1,
        "placebo_rule": "as_recorded",
        "judged": "as_before",
    }
    values = {**before, **read_mapping(path)}
    stored = parse_config(ConfirmConfig, values, where=str(path))
    if not stored.trials:
        raise InputError(
            f"{path}: trials = (): it names none that are confirmed, so it is damaged; take it "
            f"from a copy, or begin anew without {path.parent}"
        )
    return stored


_FIXED = (
    *("first_seed", "clock", "placebo_draws", "placebo_rule"),
    *("judged", "planned", "extendable", "decide_by", "margin"),
)
"""What is fixed when a confirmation begins."""


def planned_confirmation(
    study: StudyConfig, search: LedgerState, wanted: ConfirmConfig, stored: ConfirmConfig | None
) -> ConfirmConfig:
    """The confirmation to be run: its trials chosen, its seeds fresh, what was begun kept."""
    best = [trial.trial_id for trial in best_trials(study, search)]
    if not best:
        raise InputError(
            f"name = {study.name!r}: no trial is complete, there is nothing to confirm"
        )
    if stored is None:
        first_seed = confirmation_start(study.train.seed)
        chosen = {"trials": tuple(best[: wanted.top]), "first_seed": first_seed}
        return wanted.model_copy(update={**chosen, "planned": wanted.seeds})
    _check_goes_on(wanted, stored)
    trials = list(stored.trials)
    if stored.first_look is None and stored.judged == "as_before":
        trials += [trial for trial in best[: wanted.top] if trial not in trials]
    kept = {name: getattr(stored, name) for name in _FIXED}
    # To go on where it was not worth it changes no error level, and is not taken back.
    kept["futility"] = stored.futility and wanted.futility
    return wanted.model_copy(update={"trials": tuple(trials), **kept})


def better_since(study: StudyConfig, search: LedgerState, confirm: ConfirmConfig) -> str | None:
    """The best trial, if the study was extended since and it is none of those confirmed."""
    best = best_trials(study, search)[0].trial_id
    return None if best in confirm.trials else best


def with_margin(
    confirm: ConfirmConfig, study: StudyConfig, test_images: int | None
) -> ConfirmConfig:
    """The margin and the metric that decides, fixed at the first start."""
    if confirm.judged == "as_before" or confirm.margin is not None:
        return confirm
    margin = effective_margin(study.decide_by, study.margin, test_images, study.train.metrics)
    return confirm.model_copy(update={"decide_by": study.decide_by, "margin": margin.value})


def margin_note(study: StudyConfig, test_images: int | None) -> str:
    """What ``equivalent`` will mean, said before the first run; a finer wish is not met."""
    found = effective_margin(study.decide_by, study.margin, test_images, study.train.metrics)
    wanted = study.margin
    finer = "" if wanted in (None, found.value) else f", not {wanted:.4g}: images tell no finer"
    metric = study.train.metrics[study.decide_by].words
    return f"equivalent means: {metric} within ±{found.words} of the baseline's{finer}"


def _check_goes_on(wanted: ConfirmConfig, stored: ConfirmConfig) -> None:
    """Refuse what would make the verdict depend on what has been seen."""
    same = "; go on with the same options, or remove the folder confirm to begin anew"
    if wanted.extendable and not stored.extendable:
        raise InputError(
            "extendable (--extendable): begun without; the share of the error that further seeds "
            f"may use is set aside before the first one{same}"
        )
    before = stored.judged == "as_before"
    looks = stored.first_look is not None
    more = wanted.top != stored.top and (looks or not before)
    fixed = more or (looks and before and wanted.seeds != stored.seeds)
    if wanted.first_look != stored.first_look or fixed:
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
