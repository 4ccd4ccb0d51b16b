"""The summary of a ledger, by hand: differences, the best, Pareto fronts, cost."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from study.config import StudyConfig
from study.records.indistinct import sharing_best
from study.records.ledger_view import LedgerState, StudyInfo, TrialRecord
from study.records.summary import (
    Summary,
    TrialSummary,
    best_trial,
    cost_of,
    pareto_front,
    ranked,
    study_notes,
    summarise,
    winner_config,
)
from study.records.values import differences_to_baseline, final_metrics, value_of
from tests.support.ledgers import CONFIG, epoch
from trainables.metrics import EpochMetrics

ACCURACY = StudyConfig(name="made-up", train=CONFIG, objective=("best_val_accuracy",))
LOSS = ACCURACY.model_copy(update={"objective": ("best_val_loss",)})
GAP = ("best_val_accuracy", "generalization_gap")
BOTH = ACCURACY.model_copy(update={"objective": GAP})
"""One objective up, one down."""


def rows(*accuracies: float, loss: float = 0.5, **changes: object) -> tuple[EpochMetrics, ...]:
    """Epochs with these validation accuracies; the training accuracy is 0.75 in all."""
    fields = {"train_accuracy": 0.75, "val_loss": loss, **changes}
    return tuple(epoch(n, val_accuracy=value, **fields) for n, value in enumerate(accuracies))


def record(key: str, history: Sequence[EpochMetrics], **changes: Any) -> TrialRecord:
    fields: dict[str, Any] = {
        "role": "baseline" if key.startswith("baseline") else "trial",
        "seed": 0,
        "overrides": {},
        "config": CONFIG.model_dump(mode="json"),
        "baseline": "digest",
        "state": "complete",
    }
    return TrialRecord(key=key, history=tuple(history), **{**fields, **changes})


def trial(
    key: str, value: Any, *, loss: float | None = None, state: str = "complete"
) -> TrialSummary:
    """A trial of which only the objective's value and the loss of its last epochs matter."""
    history = rows(0.5)
    [found] = summarise(ACCURACY, ledger(record(key, history))).trials
    metrics = {**found.metrics, "tail_val_loss": loss}
    return found.model_copy(update={"value": value, "metrics": metrics, "state": state})


def ledger(*records: TrialRecord, tags: dict[str, str] | None = None) -> LedgerState:
    study = None
    if tags is not None:
        study = StudyInfo(
            name="made-up",
            uid="uid",
            config={},
            asked="",
            tags=tags,
            started=0,
            state=None,
            best=None,
            resumed=0,
        )
    return LedgerState(study, {r.key: r for r in records})


BASELINE = record("baseline-seed0", rows(0.5, 0.25, 0.625))


@pytest.mark.parametrize(
    ("config", "history", "expected"),
    [
        # After three epochs the best is 0.875 beside 0.625, the last one 0.125 beside 0.625.
        (ACCURACY, rows(0.5, 0.875, 0.125), (0.25, -0.5)),
        # After two epochs the baseline's best was 0.5, its last one 0.25.
        (ACCURACY, rows(0.5, 0.25), (0.0, 0.0)),
        (ACCURACY, rows(0.25, 0.375), (-0.125, 0.125)),
        (LOSS, rows(0.5, 0.25, 0.625, loss=0.125), (-0.375, 0.0)),
        # The gap's mean is 0.75 − 1.375 / 3 at the baseline, and 0.5 here.
        (BOTH, rows(0.25, 0.25, 0.25), ([-0.375, pytest.approx(0.5 - (0.75 - 1.375 / 3))], -0.375)),
        # Nothing to compare: no epoch, or one that the baseline does not have.
        (ACCURACY, (), (None, None)),
        (ACCURACY, rows(0.5, 0.25, 0.625, 0.75), (None, None)),
        # A figure that is no number spoils its own difference only.
        (LOSS, rows(0.5, 0.75, loss=math.inf), (None, 0.5)),
        (ACCURACY, rows(0.75, math.inf), (None, None)),
    ],
)
def test_differences_are_trial_minus_baseline_after_as_many_epochs(
    config: StudyConfig, history: Sequence[EpochMetrics], expected: Any
) -> None:
    assert (
        differences_to_baseline(config.objective, record("trial-0000", history), BASELINE)
        == expected
    )


def test_without_a_baseline_there_is_no_difference() -> None:
    assert differences_to_baseline(ACCURACY.objective, record("t", rows(0.5)), None) == (None, None)


@pytest.mark.parametrize(
    ("config", "history", "value"),
    [
        (ACCURACY, rows(0.5, 0.75, 0.25), 0.75),
        (LOSS, rows(0.5, loss=0.375), 0.375),
        (BOTH, rows(0.5, 0.5), [0.5, 0.25]),
        (ACCURACY, (), None),
        (LOSS, rows(0.5, loss=math.inf), None),
        (BOTH, rows(0.5, train_accuracy=math.nan), None),
    ],
)
def test_the_objectives_value(
    config: StudyConfig, history: Sequence[EpochMetrics], value: Any
) -> None:
    assert value_of(config.objective, history) == value


def test_metrics_are_the_last_epochs_and_the_objectives() -> None:
    found = final_metrics(rows(0.75, 0.5, grad_norm=math.inf, lr=0.125))
    assert (found["val_accuracy"], found["best_val_accuracy"]) == (0.5, 0.75)
    assert (found["lr"], found["grad_norm"]) == (0.125, None)
    assert found["generalization_gap"] == 0.125
    assert final_metrics(()) == {}


@pytest.mark.parametrize(
    ("config", "order"),
    [(ACCURACY, ["high", "low", "none"]), (LOSS, ["low", "high", "none"])],
)
def test_ranked_from_best_to_worst_those_without_a_value_last(
    config: StudyConfig, order: list[str]
) -> None:
    trials = [trial("none", None), trial("low", 0.25), trial("high", 0.5)]
    assert [t.trial_id for t in ranked(config, trials)] == order
    lists = [t.model_copy(update={"value": t.value and [t.value, 0.0]}) for t in trials]
    assert [t.trial_id for t in ranked(config, lists)] == order


def test_ties_go_to_the_lower_loss_then_to_the_earlier_name() -> None:
    trials = [
        trial("d", 0.5),
        trial("c", 0.5, loss=0.25),
        trial("b", 0.5, loss=0.25),
        trial("a", 0.5, loss=0.75),
    ]
    assert [t.trial_id for t in ranked(ACCURACY, trials)] == ["b", "c", "a", "d"]


def test_values_that_differ_by_rounding_alone_are_equal() -> None:
    """Means of as many images in another order differ in the last bit; an image is far more."""
    trials = [
        trial("c", 0.3, loss=0.25),
        trial("b", 0.1 + 0.2, loss=0.75),
        trial("a", 0.3 - 1e-9, loss=0.125),
    ]
    assert [t.trial_id for t in ranked(ACCURACY, trials)] == ["c", "b", "a"]
    assert [t.trial_id for t in sharing_best(ACCURACY, trials)] == ["c", "b"]


def test_who_shares_the_best_value() -> None:
    trials = [
        trial("d", 0.5, loss=0.25),
        trial("c", 0.5, loss=0.125),
        trial("cut", 0.5, state="pruned"),
        trial("none", None),
        trial("b", 0.25),
    ]
    assert [t.trial_id for t in sharing_best(ACCURACY, trials)] == ["c", "d"]
    assert sharing_best(ACCURACY, trials[1:]) == []
    assert sharing_best(ACCURACY, []) == []
    assert sharing_best(LOSS, trials) == []
    selected = [t.model_copy(update={"stages": n}) for n, t in enumerate(trials)]
    assert [t.trial_id for t in sharing_best(ACCURACY, selected)] == ["c", "d"]
    front = [t.model_copy(update={"value": [0.5, 0.5]}) for t in trials]
    assert sharing_best(BOTH, front) == []


def raced(key: str, difference: float, place: int, stages: int = 2) -> TrialSummary:
    """A trial of a race; its value on the search's seed decides nothing any more."""
    changes = {"ranked_by": difference, "place": place, "stages": stages}
    return trial(key, 0.5).model_copy(update=changes)


def test_in_a_race_the_difference_is_shared_and_not_the_value() -> None:
    first, second = raced("b", 0.25, 1), raced("a", 0.25, 2)
    trials = [second, trial("c", 0.5), raced("d", 0.25, 3, stages=1), first, raced("e", 0.125, 4)]
    assert [t.trial_id for t in sharing_best(ACCURACY, trials)] == ["b", "a"]
    assert sharing_best(ACCURACY, trials[1:]) == []


@pytest.mark.parametrize(
    ("tags", "images"), [(None, None), ({}, None), ({"validation_images": "180"}, 180)]
)
def test_how_many_images_were_validated_on(tags: dict[str, str] | None, images: int | None) -> None:
    assert summarise(ACCURACY, ledger(BASELINE, tags=tags)).validation_images == images


@pytest.mark.parametrize(
    ("values", "front"),
    [
        # Accuracy up, gap down.
        ({"a": (0.5, 0.25), "b": (0.75, 0.125)}, ["b"]),
        ({"a": (0.5, 0.125), "b": (0.75, 0.25)}, ["b", "a"]),
        ({"a": (0.5, 0.25), "b": (0.5, 0.125)}, ["b"]),
        ({"a": (0.5, 0.25), "b": (0.75, 0.25)}, ["b"]),
        ({"a": (0.5, 0.25), "b": (0.5, 0.25)}, ["a", "b"]),
        ({"a": (0.5, 0.25), "b": (0.25, 0.125), "c": (0.25, 0.25)}, ["a", "b"]),
        ({}, []),
    ],
)
def test_a_pareto_front_is_what_nothing_beats(
    values: dict[str, tuple[float, float]], front: list[str]
) -> None:
    trials = [trial(key, list(value)) for key, value in values.items()]
    assert [t.trial_id for t in pareto_front(BOTH, trials)] == front
    assert best_trial(BOTH, trials) == front


def test_the_best_is_complete_and_has_a_value() -> None:
    trials = [trial("cut", 0.75, state="stopped"), trial("none", None), trial("whole", 0.25)]
    assert best_trial(ACCURACY, trials) == "whole"
    assert best_trial(ACCURACY, trials[:2]) is None
    cut = trial("cut", [0.75, 0.0], state="stopped")
    assert best_trial(BOTH, [cut, trial("none", None), trial("whole", [0.25, 0.5])]) == ["whole"]


def test_cost_counts_what_was_trained_apart_from_what_was_shared() -> None:
    records = [
        record("a", rows(0.5, 0.5, 0.5, 0.5), shared_epochs=3, seconds=1.25),
        record("b", rows(0.5, 0.5, 0.5, 0.5), seconds=0.0004),
        record("c", (), seconds=None),
    ]
    found = cost_of(records)
    assert (found.epochs_reported, found.epochs_trained, found.trained_share) == (8, 5, 0.625)
    assert found.seconds == 1.25
    assert cost_of([record("a", (), seconds=0.0006)]).seconds == 0.001
    nothing = cost_of([record("c", ())])
    assert (nothing.epochs_reported, nothing.trained_share, nothing.seconds) == (0, None, 0)


def whole_state() -> LedgerState:
    noisy = [*rows(0.5, 0.75)[:1], *rows(0.5, 0.75, noise_kind="weight")[1:]]
    return ledger(
        record("trial-0001", noisy, shared_epochs=1, overrides={"noise/patience": 3}),
        record("baseline-seed1", rows(0.25), seed=1, baseline="other"),
        BASELINE,
        record("trial-0000", rows(0.25), reason="too slow", state="stopped"),
        record("trial-0002", rows(0.875), state=None),
        record("trial-0003", rows(0.25), seed=1, baseline="other"),
        record("baseline-seed2", rows(0.25), seed=2, state="failed", baseline="third"),
        record("placebo", rows(0.25), role="placebo"),
        tags={"note.10": "last", "note.9": "first", "pinned": "true"},
    )


def test_a_summary_has_what_ended_beside_its_baseline() -> None:
    found = summarise(ACCURACY, whole_state(), {"trial-0001": "run", "baseline-seed0": "pinned"})
    assert [(b.seed, b.value, b.run_id) for b in found.baseline] == [
        (0, 0.625, "pinned"),
        (1, 0.25, None),
    ]
    assert found.baseline[0].metrics["val_accuracy"] == 0.625
    cut, noisy, other = found.trials
    assert [t.trial_id for t in found.trials] == ["trial-0000", "trial-0001", "trial-0003"]
    assert (noisy.run_id, noisy.state, noisy.reason) == ("run", "complete", None)
    assert (noisy.value, noisy.paired_difference) == (0.75, 0.25)
    assert noisy.final_val_accuracy_difference == 0.5
    assert (noisy.epochs, noisy.epochs_trained, noisy.forked_from) == (2, 1, 1)
    assert (noisy.first_injection_epoch, noisy.never_injected) == (1, False)
    assert noisy.overrides == {"noise/patience": 3}
    assert noisy.metrics["best_val_accuracy"] == 0.75
    assert (cut.run_id, cut.state, cut.reason) == (None, "stopped", "too slow")
    assert (cut.never_injected, cut.forked_from) == (False, None)
    assert (other.seed, other.paired_difference, other.never_injected) == (1, 0.0, True)
    assert found.best == "trial-0001"
    assert (found.cost.epochs_reported, found.cost.epochs_trained) == (4, 3)
    assert found.notes == ["first", "last"]
    assert found.objective.model_dump() == {"metric": "best_val_accuracy", "mode": "max"}


def test_two_objectives_are_summarised_as_lists() -> None:
    found = summarise(BOTH, whole_state())
    assert found.objective.metric == list(GAP)
    assert found.objective.mode == ["max", "min"]
    assert found.best == ["trial-0001"]
    assert found.trials[1].value == [0.75, 0.125]
    assert found.baseline[0].run_id is None


def test_nothing_recorded_is_an_empty_summary() -> None:
    found = summarise(ACCURACY, ledger())
    assert (found.baseline, found.trials, found.best, found.notes) == ([], [], None, [])
    assert study_notes(ledger()) == []
    assert winner_config(found, ledger()) is None


def test_the_winners_configuration() -> None:
    other = CONFIG.model_copy(update={"seed": 7})
    best = record("trial-0001", rows(0.75), config=other.model_dump(mode="json"))
    state = ledger(record("trial-0000", rows(0.5)), best)
    assert winner_config(summarise(ACCURACY, state), state) == other
    assert winner_config(summarise(BOTH, state), state) == other
    nobody = ledger(record("trial-0000", rows(0.5), state="failed"))
    for config in (ACCURACY, BOTH):
        assert winner_config(summarise(config, nobody), nobody) is None


def test_of_a_front_the_first_is_the_winner() -> None:
    """The gap of the more accurate one is wider: both are in the front, and it comes first."""
    configs = [CONFIG.model_copy(update={"seed": seed}) for seed in (1, 2)]
    histories = (rows(0.5, train_accuracy=0.5), rows(0.75, train_accuracy=1.0))
    records = [
        record(f"trial-{n}", history, config=config.model_dump(mode="json"))
        for n, (history, config) in enumerate(zip(histories, configs, strict=True))
    ]
    state = ledger(*records)
    found = summarise(BOTH, state)
    assert found.best == ["trial-1", "trial-0"]
    assert winner_config(found, state) == configs[1]


def test_a_summary_is_not_changed_by_accident() -> None:
    found: Summary = summarise(ACCURACY, ledger())
    with pytest.raises(ValidationError):
        found.best = "another"  # type: ignore[misc]
