"""The result of a study, computed from its ledger alone: ``summary.json`` and the winner.

Everything here is a function of what was recorded, so an interrupted study, a running one and a
finished one are summarised by the same code. Nothing in ``metrics`` depends on the clock.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from study.config import StudyConfig
from study.records.ledger_view import LedgerState, TrialRecord
from study.statistics.paired import paired_differences
from trainables.config import TrainConfig
from trainables.metrics import OBJECTIVES, STATISTICS, EpochMetrics, objective_values

Value = float | list[float] | None


def by_objective(value: Value, objectives: int = 1) -> list[float | None]:
    """A value as a list, an entry for each objective."""
    if value is None:
        return [None] * objectives
    return list(value) if isinstance(value, list) else [value]


class ResultPart(BaseModel):
    """A part of a result that is written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectiveSummary(ResultPart):
    metric: str | list[str]
    mode: str | list[str]


class BaselineSummary(ResultPart):
    seed: int
    value: Value
    metrics: dict[str, float | None]
    run_id: str | None


class TrialSummary(ResultPart):
    """One trial, beside the baseline of its seed."""

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


def summarise(
    config: StudyConfig,
    state: LedgerState,
    run_ids: Mapping[str, str] | None = None,
) -> Summary:
    """The summary of a ledger; ``run_ids``: MLflow's run id by trial key, as far as known."""
    runs = run_ids or {}
    records = sorted(state.trials.values(), key=lambda record: record.key)
    baselines = [r for r in records if r.role == "baseline" and r.state == "complete"]
    by_digest = {r.baseline: r for r in baselines}
    ended = [r for r in records if r.role == "trial" and r.state is not None]
    trials = [_trial(config, r, by_digest.get(r.baseline), runs.get(r.key)) for r in ended]
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
        ],
        trials=trials,
        best=best_trial(config, trials),
        cost=cost_of(ended),
        notes=study_notes(state),
        tuning=tuning_summary(config, state),
    )


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
    config: StudyConfig, record: TrialRecord, baseline: TrialRecord | None, run_id: str | None
) -> TrialSummary:
    value = value_of(config.objective, record.history)
    paired, final = differences_to_baseline(config.objective, record, baseline)
    injected = next((row.epoch for row in record.history if row.injected), None)
    return TrialSummary(
        trial_id=record.key,
        run_id=run_id,
        state=str(record.state),
        reason=record.reason or None,
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
    )


def differences_to_baseline(
    objectives: Sequence[str], record: TrialRecord, baseline: TrialRecord | None
) -> tuple[Value, float | None]:
    """Trial − baseline of the same seed: of the objectives, and of the final validation accuracy.

    A trial that ended early is compared with the baseline after as many epochs. None where there
    is nothing to compare, or a figure is no finite number.
    """
    if baseline is None or not record.history:
        return None, None
    same = baseline.history[: len(record.history)]
    if len(same) < len(record.history):
        return None, None
    found = paired_differences(objective_values(record.history), objective_values(same))
    return _searched(objectives, found), _finite(found["final_val_accuracy"])


def value_of(objectives: Sequence[str], history: Sequence[EpochMetrics]) -> Value:
    """The objective's value, a list of them where there are several; None without epochs."""
    return _searched(objectives, objective_values(history)) if history else None


def _searched(objectives: Sequence[str], figures: Mapping[str, float]) -> Value:
    known = [figures[name] for name in objectives]
    if not all(map(math.isfinite, known)):
        return None
    return known if len(objectives) > 1 else known[0]


def final_metrics(history: Sequence[EpochMetrics]) -> dict[str, float | None]:
    """The last epoch's statistics and the objectives; None where a figure is not finite."""
    if not history:
        return {}
    last = history[-1]
    row: dict[str, float | None] = {name: _finite(getattr(last, name)) for name in STATISTICS}
    return row | {name: _finite(value) for name, value in objective_values(history).items()}


def best_trial(config: StudyConfig, trials: Sequence[TrialSummary]) -> str | list[str] | None:
    """The best complete trial, or the Pareto front of a multi-objective study.

    Ties are broken by the best validation loss, then by the id.
    """
    complete = [t for t in trials if t.state == "complete" and t.value is not None]
    if config.multi_objective:
        return [t.trial_id for t in pareto_front(config, complete)]
    return ranked(config, complete)[0].trial_id if complete else None


def ranked(config: StudyConfig, trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Trials from best to worst by the first objective; those without a value come last."""
    sign = -1.0 if OBJECTIVES[config.objective[0]] == "max" else 1.0

    def key(trial: TrialSummary) -> tuple[float, float, str]:
        value = trial.value[0] if isinstance(trial.value, list) else trial.value
        loss = trial.metrics.get("best_val_loss")
        return (
            math.inf if value is None else sign * value,
            math.inf if loss is None else loss,
            trial.trial_id,
        )

    return sorted(trials, key=key)


def pareto_front(config: StudyConfig, trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """The trials that no other trial beats in one objective without losing in the other."""
    signs = [-1.0 if mode == "max" else 1.0 for mode in config.modes]

    def costs(trial: TrialSummary) -> list[float]:
        assert isinstance(trial.value, list)
        return [sign * value for sign, value in zip(signs, trial.value, strict=True)]

    def dominated(trial: TrialSummary) -> bool:
        mine = costs(trial)
        return any(
            all(a <= b for a, b in zip(costs(other), mine, strict=True)) and costs(other) != mine
            for other in trials
        )

    return ranked(config, [trial for trial in trials if not dominated(trial)])


def winner_config(summary: Summary, state: LedgerState) -> TrainConfig | None:
    """The run configuration of the best trial (of a Pareto front: its first)."""
    best = summary.best[0] if isinstance(summary.best, list) and summary.best else summary.best
    if not isinstance(best, str):
        return None
    return TrainConfig.model_validate(state.trials[best].config)


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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
