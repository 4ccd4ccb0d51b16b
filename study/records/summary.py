"""The result of a study, computed from its ledger alone: ``summary.json`` and the winner.

Everything here is a function of what was recorded, so an interrupted study, a running one and a
finished one are summarised by the same code. Nothing in ``metrics`` depends on the clock.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.records.frames import summary_frame, summary_html
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.own_code import EXCLUDED, OTHER_CODE, is_present, present
from study.records.race import RaceEntry, RunSummary, entries, race_of
from study.records.race_summary import YardstickSummary, raced_figures, yardstick
from study.records.values import (
    ResultPart,
    Value,
    by_objective,
    differences_to_baseline,
    final_metrics,
    value_of,
)
from study.statistics.pareto import front
from trainables.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd

VALIDATION_IMAGES = "validation_images"
"""The tag by which a study records how many images its accuracies are counted on."""

_DIGITS = 12


class ObjectiveSummary(ResultPart):
    metric: str | list[str]
    mode: str | list[str]


class BaselineSummary(ResultPart):
    seed: int
    value: Value
    metrics: dict[str, float | None]
    run_id: str | None


class TrialSummary(ResultPart):
    """One trial, beside the baseline of its seed.

    Attributes:
        runs: all trainings of its configuration, on the search's seed and on those of the race.
        n, mean_difference, interval: of the paired differences after its last selection, which it
            was not selected by; the interval is Student's, at 95 %.
        ranked_by: the mean difference that the race ranked it by, which flatters it.
        stages: how many stages of the race it entered.
        place: its place in the race, from 1.
        state: how it ended; ``excluded`` if it was trained with another source (``present``).
    """

    trial_id: str
    run_id: str | None
    state: str
    reason: str | None
    seed: int
    value: Value
    paired_difference: Value
    final_val_accuracy_difference: float | None
    epochs: int
    epochs_trained: int
    first_injection_epoch: int | None
    forked_from: int | None
    never_injected: bool
    overrides: dict[str, Any]
    metrics: dict[str, float | None]
    runs: tuple[RunSummary, ...] = ()
    n: int = 0
    mean_difference: Value = None
    interval: list[float] | list[list[float]] | None = None
    ranked_by: Value = None
    stages: int = 0
    place: int | None = None

    @property
    def shown_difference(self) -> Value:
        """What is said of it: of a trial that raced the mean that did not select it."""
        raced = self.place is not None and self.mean_difference is not None
        return self.mean_difference if raced else self.paired_difference

    @property
    def seeds_without_noise(self) -> list[int]:
        """The seeds on which its noise never began: such a run equals its baseline."""
        return [run.seed for run in self.runs if run.without_noise]

    @property
    def first_interval(self) -> tuple[float, float] | None:
        """The interval of the first objective."""
        match self.interval:
            case [[float() as low, float() as high], *_] | [float() as low, float() as high]:
                return low, high
        return None


class CostSummary(ResultPart):
    """Epochs that trials reported, and those of them that were trained rather than shared."""

    epochs_reported: int
    epochs_trained: int
    trained_share: float | None
    seconds: float


class TuningSummary(ResultPart):
    """What tuning the baseline cost, and what it chose; None before that is settled."""

    runs: int
    epochs_trained: int
    learning_rate: float | None
    weight_decay: float | None


class Summary(ResultPart):
    study: str
    objective: ObjectiveSummary
    baseline: list[BaselineSummary]
    trials: list[TrialSummary]
    best: str | list[str] | None
    cost: CostSummary
    notes: list[str]
    tuning: TuningSummary | None = None
    race_complete: bool | None = None
    yardstick: YardstickSummary | None = None
    validation_images: int | None = None

    @property
    def best_ids(self) -> list[str]:
        """The best trial's id, or those of the Pareto front, in order."""
        return [self.best] if isinstance(self.best, str) else self.best or []

    @property
    def first(self) -> TrialSummary | None:
        """The best trial; of a Pareto front its first."""
        by_id = {trial.trial_id: trial for trial in self.trials}
        return next((by_id[name] for name in self.best_ids), None)

    def to_frame(self) -> "pd.DataFrame":
        """A row a trial: how it ended, its figures beside the baseline, and its settings.

        Those that raced come first, by their place. Epochs count from 1; a column a setting.
        """
        return summary_frame(self)

    def _repr_html_(self) -> str:
        return summary_html(self)


def summarise(
    config: StudyConfig,
    state: LedgerState,
    run_ids: Mapping[str, str] | None = None,
) -> Summary:
    """The summary of a ledger; ``run_ids``: MLflow's run id by trial key, as far as known."""
    runs = run_ids or {}
    here = present(config, state)
    records = sorted(state.trials.values(), key=lambda record: record.key)
    baselines = [r for r in records if r.role == "baseline" and r.state == "complete"]
    by_digest = {r.baseline: r for r in baselines}
    ended = [r for r in records if r.role == "trial" and r.state is not None]
    race = race_of(config, here)
    raced = entries(config, state, race)
    trials = [
        _trial(config, r, by_digest.get(r.baseline), runs.get(r.key), raced[r.key]) for r in ended
    ]
    single = not config.multi_objective
    return Summary(
        study=config.name,
        objective=ObjectiveSummary(
            metric=config.objective[0] if single else list(config.objective),
            mode=config.modes[0] if single else list(config.modes),
        ),
        baseline=[
            BaselineSummary(
                seed=r.seed,
                value=value_of(config.objective, r.history),
                metrics=final_metrics(r.history),
                run_id=runs.get(r.key),
            )
            for r in sorted(baselines, key=lambda r: r.seed)
            if r.seed in config.seeds and r.key in here.trials
        ],
        trials=trials,
        best=best_trial(config, trials),
        cost=cost_of([*ended, *(r for r in records if r.role == "race" and r.finished)]),
        notes=study_notes(state),
        tuning=tuning_summary(config, state),
        race_complete=None if race is None or not race.field else race.complete,
        yardstick=yardstick(config, race, raced),
        validation_images=_validation_images(state),
    )


def _validation_images(state: LedgerState) -> int | None:
    """None in a study that was recorded before their number was."""
    tags = state.study.tags if state.study else {}
    return int(tags[VALIDATION_IMAGES]) if VALIDATION_IMAGES in tags else None


def tuning_summary(config: StudyConfig, state: LedgerState) -> TuningSummary | None:
    """None where no run has tuned the baseline."""
    records = state.by_role("tuning")
    if not records:
        return None
    optimizer = config.train.optimizer if config.untuned is not None else None
    return TuningSummary(
        runs=len(records),
        epochs_trained=sum(len(record.history) for record in records),
        learning_rate=optimizer.lr if optimizer else None,
        weight_decay=optimizer.weight_decay if optimizer else None,
    )


def study_notes(state: LedgerState) -> list[str]:
    """The sentences that the reader of the result needs, as the study recorded them."""
    tags = state.study.tags if state.study else {}
    numbers = sorted(int(k.removeprefix("note.")) for k in tags if k.startswith("note."))
    return [tags[f"note.{number}"] for number in numbers]


def _trial(
    config: StudyConfig,
    record: TrialRecord,
    baseline: TrialRecord | None,
    run_id: str | None,
    raced: RaceEntry,
) -> TrialSummary:
    value = value_of(config.objective, record.history)
    paired, final = differences_to_baseline(config.objective, record, baseline)
    injected = next((row.epoch for row in record.history if row.injected), None)
    ranks = is_present(config, record)
    return TrialSummary(
        trial_id=record.key,
        run_id=run_id,
        state=str(record.state) if ranks else EXCLUDED,
        reason=(record.reason or None) if ranks else OTHER_CODE,
        seed=record.seed,
        value=value,
        paired_difference=paired,
        final_val_accuracy_difference=final,
        epochs=len(record.history),
        epochs_trained=len(record.history) - record.shared_epochs,
        first_injection_epoch=injected,
        forked_from=record.shared_epochs or None,
        never_injected=record.state == "complete" and injected is None,
        overrides=dict(record.overrides),
        metrics=final_metrics(record.history),
        **raced_figures(config, raced),
    )


def best_trial(config: StudyConfig, trials: Sequence[TrialSummary]) -> str | list[str] | None:
    """The best complete trial, or the Pareto front of a multi-objective study.

    Ties are broken by the validation loss of the last epochs, then by the id
    (``study.records.indistinct`` names them).
    """
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    if config.multi_objective:
        raced = [t for t in complete if t.place is not None]
        last = max((t.stages for t in raced), default=0)
        # What raced is compared by its differences, what did not by its values: never both.
        finalists = [t for t in raced if t.stages >= last - 1]
        return [t.trial_id for t in pareto_front(config, finalists or complete)]
    return ranked(config, complete)[0].trial_id if complete else None


def ranked(config: StudyConfig, trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Trials from best to worst; those without a value come last.

    Those that raced come first, in the race's order, then the others by the first objective.
    """
    sign = -1.0 if config.modes[0] == "max" else 1.0

    def key(trial: TrialSummary) -> tuple[float, float, float, str]:
        value = rounded(trial.value)
        loss = trial.metrics.get("tail_val_loss")
        return (
            math.inf if trial.place is None else trial.place,
            math.inf if value is None else sign * value,
            math.inf if loss is None else loss,
            trial.trial_id,
        )

    return sorted(trials, key=key)


def rounded(value: Value) -> float | None:
    # Means of as many images rightly classified may differ in their last bit.
    first = by_objective(value)[0]
    return None if first is None else round(first, _DIGITS)


def pareto_front(config: StudyConfig, trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """The trials that no other trial beats in one objective without losing in the other."""
    signs = [1.0 if mode == "max" else -1.0 for mode in config.modes]

    def gains(trial: TrialSummary) -> list[float]:
        found = trial.value if trial.place is None else trial.ranked_by
        assert isinstance(found, list)
        return [sign * value for sign, value in zip(signs, found, strict=True)]

    best = front(dict(enumerate(map(gains, trials))))
    return ranked(config, [trials[index] for index in best])


def winner_config(summary: Summary, state: LedgerState) -> TrainConfig | None:
    """The run configuration of the best trial (of a Pareto front: its first)."""
    best = summary.first
    if best is None:
        return None
    return TrainConfig.model_validate(state.trials[best.trial_id].config)


def cost_of(records: Collection[TrialRecord]) -> CostSummary:
    """Epochs that runs reported and trained, and the seconds they took."""
    reported = sum(len(r.history) for r in records)
    trained = sum(len(r.history) - r.shared_epochs for r in records)
    return CostSummary(
        epochs_reported=reported,
        epochs_trained=trained,
        trained_share=trained / reported if reported else None,
        seconds=round(sum(r.seconds or 0.0 for r in records), 3),
    )
