"""The searcher: what it hands out, what it tells Optuna, and how it goes on after a crash."""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search_spaces.calibration import as_written
from search_spaces.conditions import to_overrides
from search_spaces.registry import get_space
from study.checks import check_study
from study.config import StudyConfig
from study.records.ledger_view import TrialRecord
from study.search.outcome import judge_failure, judge_result
from study.search.samplers import SAMPLERS, check_sampler, make_sampler
from study.search.searcher import StudySearcher, trial_key
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.metrics import EpochMetrics

optuna.logging.set_verbosity(optuna.logging.WARNING)

EPOCHS = 5
BASE = TrainConfig(epochs=EPOCHS)
SPACE = get_space("adaptive_noise").distributions(BASE)
POLICY = {"noise/policy": "on_stagnation"}


def make(folder: Path, **options: Any) -> StudySearcher:
    defaults: dict[str, Any] = {
        "objectives": ("best_val_accuracy",),
        "epochs": EPOCHS,
    }
    return StudySearcher("s", folder / "optuna.journal", SPACE, **defaults | options)


def stored(folder: Path) -> list[FrozenTrial]:
    """What is on the disk, read by stock Optuna."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    return study.get_trials()


def ended(folder: Path) -> int:
    """How many trials have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in stored(folder))


def take(searcher: StudySearcher, tune_id: str) -> tuple[str, dict[str, Any]]:
    """What the next trial gets: its key and its overrides."""
    config = searcher.suggest(tune_id)
    assert isinstance(config, dict)
    assert config["role"] == "trial"
    return config["key"], json.loads(config["overrides_json"])


def result(epochs_done: int, value: float, **more: Any) -> dict[str, Any]:
    return {"training_iteration": epochs_done, "best_val_accuracy": value, **more}


def run(searcher: StudySearcher, tune_id: str, curve: Mapping[int, float], **last: Any) -> str:
    """A trial as Tune conducts it: its last result is handed over at its completion only."""
    key, _ = take(searcher, tune_id)
    *reports, end = curve.items()
    for epochs_done, value in reports:
        searcher.on_trial_result(tune_id, result(epochs_done, value))
    searcher.on_trial_complete(tune_id, result(*end, **last))
    return key


FULL = {epoch: 0.5 + epoch / 100 for epoch in range(1, EPOCHS + 1)}
EARLY = {1: 0.1, 2: 0.2}


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (result(5, 0.9), (TrialState.COMPLETE, (0.9,), True)),
        (result(6, 0.9), (TrialState.COMPLETE, (0.9,), True)),
        (result(4, 0.9), (TrialState.PRUNED, None, True)),
        (result(5, 0.9, diverged=""), (TrialState.COMPLETE, (0.9,), True)),
        (result(5, 0.9, diverged="train_loss is nan"), (TrialState.PRUNED, None, False)),
        (result(5, math.nan), (TrialState.PRUNED, None, False)),
        (result(2, math.inf), (TrialState.PRUNED, None, False)),
        ({"training_iteration": 3}, None),
        ({}, None),
    ],
)
def test_outcome_on_a_result(last: dict[str, Any], expected: Any) -> None:
    outcome = judge_result(last, ["best_val_accuracy"], EPOCHS)
    got = None if outcome is None else (outcome.state, outcome.values, outcome.curve)
    assert got == expected


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("diverged: train_loss is nan in epoch 3", TrialState.PRUNED),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", TrialState.PRUNED),
        ("torch.cuda.OutOfMemoryError: oops", TrialState.PRUNED),
        ("RuntimeError: CUDA error: out of memory", TrialState.PRUNED),
        ("RuntimeError: MPS backend out of memory", TrialState.PRUNED),
        ("ZeroDivisionError: division by zero", TrialState.FAIL),
        ("ray.exceptions.OutOfMemoryError: Task was killed", TrialState.FAIL),
        ("", TrialState.FAIL),
    ],
)
def test_outcome_on_a_failure(reason: str, state: TrialState) -> None:
    outcome = judge_failure(reason)
    assert (outcome.state, outcome.values, outcome.curve) == (state, None, False)


def test_what_a_trial_gets(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    key, overrides = take(searcher, "tune-a")
    assert key == "trial-0000"
    assert overrides.keys() == SPACE.keys()
    assert apply_overrides(BASE, POLICY | overrides).noise.policy == "on_stagnation"
    assert take(searcher, "tune-b")[0] == "trial-0001"


def test_each_end_is_told_for_what_it_is(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    run(searcher, "complete", FULL)
    run(searcher, "stopped", EARLY)
    run(searcher, "diverged", EARLY, diverged="train_loss is nan in epoch 1")
    run(searcher, "nan", {1: 0.3, 2: math.nan})
    run(searcher, "never injected", {EPOCHS: 0.7})
    key, _ = take(searcher, "bug")
    searcher.on_trial_result("bug", result(1, 0.5))
    searcher.on_trial_complete("bug", error=True)
    key, _ = take(searcher, "memory")
    searcher.on_trial_complete("memory", error=True)
    searcher.note_error(key, "torch.OutOfMemoryError: CUDA out of memory")
    assert searcher.finalise() == 0

    state = TrialState
    assert [(t.state, t.value, t.intermediate_values) for t in stored(tmp_path)] == [
        (state.COMPLETE, FULL[EPOCHS], FULL),
        # Optuna itself takes the last intermediate value for a stopped trial's own.
        (state.PRUNED, 0.2, EARLY),
        (state.PRUNED, None, {}),
        (state.PRUNED, None, {}),
        (state.COMPLETE, 0.7, {EPOCHS: 0.7}),
        (state.FAIL, None, {}),
        (state.PRUNED, None, {}),
    ]
    assert ended(tmp_path) == 7


def test_an_end_is_told_after_the_ledger_had_its_turn(tmp_path: Path) -> None:
    """Tune calls the searcher first, then the callback that writes the ledger."""
    searcher = make(tmp_path)
    run(searcher, "a", FULL)
    assert stored(tmp_path)[0].state == TrialState.RUNNING
    take(searcher, "b")
    assert stored(tmp_path)[0].state == TrialState.COMPLETE


def test_a_repeated_epoch_counts_once(tmp_path: Path) -> None:
    """A trial that failed and was tried again reports some epochs again."""
    searcher = make(tmp_path)
    take(searcher, "a")
    for epochs_done in (1, 2, 1, 2, 3):
        searcher.on_trial_result("a", result(epochs_done, epochs_done / 10))
    searcher.on_trial_complete("a", result(5, 0.5))
    searcher.finalise()
    assert stored(tmp_path)[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 5: 0.5}


@pytest.mark.parametrize("curve", [{}, EARLY])
def test_what_a_person_ends_teaches_nothing(tmp_path: Path, curve: dict[int, float]) -> None:
    stopped: set[str] = set()
    searcher = make(tmp_path, stopped=stopped)
    for tune_id in ("0", "1"):
        take(searcher, tune_id)
    stopped |= {"trial-0000", "trial-0001"}
    last = result(*list(curve.items())[-1]) if curve else None
    searcher.on_trial_complete("0", last)
    # It came to its end before it was stopped.
    searcher.on_trial_complete("1", result(EPOCHS, 0.5))
    assert searcher.finalise() == 0
    assert [trial.state.name for trial in stored(tmp_path)] == ["FAIL", "COMPLETE"]


def test_two_objectives(tmp_path: Path) -> None:
    searcher = make(tmp_path, objectives=("best_val_accuracy", "generalization_gap"))
    for number, last in enumerate(
        [
            result(EPOCHS, 0.9, generalization_gap=0.1),
            result(EPOCHS, 0.8, generalization_gap=math.nan),
        ]
    ):
        take(searcher, str(number))
        searcher.on_trial_result(str(number), result(1, 0.5, generalization_gap=0.0))
        searcher.on_trial_complete(str(number), last)
    searcher.finalise()
    complete, diverged = stored(tmp_path)
    assert (complete.state, complete.values) == (TrialState.COMPLETE, [0.9, 0.1])
    assert (diverged.state, diverged.values) == (TrialState.PRUNED, None)
    study = searcher._study
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for number in range(2, 16):  # past the random start-up, the diverged one included
        take(searcher, str(number))
        last = result(EPOCHS, 0.9 - number / 100, generalization_gap=0.1)
        searcher.on_trial_complete(str(number), last)


# Going on.


def record(
    key: str, overrides: dict[str, Any], accuracies: list[float], state: Any = None, **fields: Any
) -> TrialRecord:
    rows = tuple(
        EpochMetrics(epoch, 1.0, 0.9, 1.0, accuracy, 1.0, 1.0, 0.01)
        for epoch, accuracy in enumerate(accuracies)
    )
    values = {"best_val_accuracy": max(accuracies)} if state in ("complete", "pruned") else {}
    return TrialRecord(
        key, "trial", 0, overrides, {}, "", history=rows, state=state, values=values, **fields
    )


def test_what_ran_when_the_driver_died_is_handed_out_first(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    run(searcher, "0", FULL)
    cut_off = [take(searcher, "1"), take(searcher, "2")]
    del searcher  # SIGKILL: nothing is said

    again = make(tmp_path)
    assert ended(tmp_path) == 1
    assert [take(again, "a"), take(again, "b")] == cut_off
    assert take(again, "c")[0] == "trial-0003"
    assert len(stored(tmp_path)) == 4


def test_a_crash_in_the_middle_of_asking(tmp_path: Path) -> None:
    """Asking writes the trial first and its parameters after it."""
    searcher = make(tmp_path)
    searcher._study.ask()
    del searcher
    again = make(tmp_path)
    key, overrides = take(again, "a")
    assert key == "trial-0000"
    assert overrides.keys() == SPACE.keys()
    assert stored(tmp_path)[0].params.keys() == SPACE.keys()


def test_values_from_before_the_crash_are_not_lost(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    key, overrides = take(searcher, "0")
    searcher.on_trial_result("0", result(2, 0.2))
    searcher.on_trial_result("0", result(3, 0.3))
    del searcher

    # The first epoch is the baseline's: the trial forked after it.
    records = {key: record(key, overrides, [0.1, 0.2, 0.3], shared_epochs=1)}
    again = make(tmp_path, records=records)
    take(again, "a")
    again.on_trial_result("a", result(4, 0.4))
    again.on_trial_complete("a", result(5, 0.5))
    again.finalise()
    assert stored(tmp_path)[0].intermediate_values == {2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}


def test_what_the_ledger_says_is_over_is_told(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    taken = [take(searcher, str(number)) for number in range(5)]
    del searcher
    # The value is told, never the difference to the baseline.
    beside = {"paired_difference": {"best_val_accuracy": 0.05}}
    ends: list[dict[str, Any]] = [
        {"accuracies": [0.1, 0.2, 0.3, 0.2, 0.4], "state": "complete", **beside},
        {"accuracies": [0.1, 0.2], "state": "pruned"},
        {"accuracies": [0.1], "state": "failed", "reason": "diverged: val_loss is nan in epoch 1"},
        {"accuracies": [0.1], "state": "failed", "reason": "KeyError: 'x'"},
        {"accuracies": [0.1], "state": None},
    ]
    records = {
        key: record(key, overrides, **end)
        for (key, overrides), end in zip(taken, ends, strict=True)
    }
    again = make(tmp_path, records=records)
    assert ended(tmp_path) == 4
    assert take(again, "a") == taken[4]
    again.finalise()
    assert [(t.state, t.value, t.intermediate_values) for t in stored(tmp_path)] == [
        (TrialState.COMPLETE, 0.4, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.3, 5: 0.4}),
        (TrialState.PRUNED, 0.2, {1: 0.1, 2: 0.2}),
        (TrialState.PRUNED, None, {}),
        (TrialState.FAIL, None, {}),
        (TrialState.WAITING, None, {}),
    ]


def test_interrupted_trials_wait_and_nothing_runs(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    run(searcher, "0", FULL)
    interrupted = [take(searcher, "1"), take(searcher, "2")]
    searcher.on_trial_complete("2", None)  # stopped before it had anything to report
    assert searcher.finalise() == 2
    states = [trial.state for trial in stored(tmp_path)]
    assert states == [TrialState.COMPLETE, TrialState.WAITING, TrialState.WAITING]

    again = make(tmp_path)
    assert ended(tmp_path) == 1
    assert [take(again, "a"), take(again, "b")] == interrupted
    assert [trial.params for trial in stored(tmp_path)][1:] == [
        {path: overrides[path] for path in SPACE} for _, overrides in interrupted
    ]


def test_finalise_tells_what_the_ledger_has_recorded_meanwhile(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    key, overrides = take(searcher, "0")
    pruned = record(key, overrides, [0.1, 0.2], state="pruned")
    assert searcher.finalise({key: pruned}) == 0
    assert stored(tmp_path)[0].state == TrialState.PRUNED


def test_a_journal_that_lost_trials_is_completed_from_the_ledger(tmp_path: Path) -> None:
    searcher = make(tmp_path)
    records = {}
    for number in range(4):
        key, overrides = take(searcher, str(number))
        accuracies = [0.1, 0.2, 0.3, 0.4, 0.5 + number / 100]
        records[key] = record(key, overrides, accuracies, "complete" if number != 2 else None)
    del searcher
    del records["trial-0001"]  # its line in the ledger is damaged
    (tmp_path / "optuna.journal").unlink()

    again = make(tmp_path, records=records)
    trials = stored(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "WAITING", "COMPLETE"]
    assert trials[3].value == 0.53
    for number in (0, 3):
        known = records[trial_key(number)].overrides
        assert trials[number].params == {path: known[path] for path in SPACE}
    assert take(again, "a") == ("trial-0002", dict(records["trial-0002"].overrides))
    assert take(again, "b")[0] == "trial-0004"


# A space with conditions, and an opening.

NOISE = get_space("noise")
NOISE_SPACE = as_written(NOISE, NOISE.distributions(BASE))


def make_noise(folder: Path, opening: int = 3, **options: Any) -> StudySearcher:
    return StudySearcher(
        "s",
        folder / "optuna.journal",
        NOISE_SPACE.distributions,
        objectives=("best_val_accuracy",),
        epochs=EPOCHS,
        conditions=NOISE_SPACE.conditions,
        opening=NOISE_SPACE.opening[:opening],
        **options,
    )


@pytest.mark.parametrize("sampler", [name for name, one in SAMPLERS.items() if one.conditional])
def test_a_space_with_conditions_opens_with_its_opening(tmp_path: Path, sampler: str) -> None:
    searcher = make_noise(tmp_path, sampler=sampler, seed=3)
    for number in range(12):
        key, overrides = take(searcher, str(number))
        assert key == trial_key(number)
        noise = apply_overrides(BASE, overrides).noise  # a valid one
        if number < 3:
            assert overrides == to_overrides(NOISE_SPACE.opening[number])
        else:
            assert ("noise/kind" in overrides) == (noise.policy == "always")
        searcher.on_trial_complete(str(number), result(EPOCHS, 0.1 + number / 100))
    searcher.finalise()
    trials = stored(tmp_path)
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    assert trials[0].params == NOISE_SPACE.opening[0]
    # Adaptive and static trials have other dimensions.
    assert len({frozenset(trial.params) for trial in trials}) > 2


def test_an_interrupted_opening_goes_on_where_it_was(tmp_path: Path) -> None:
    searcher = make_noise(tmp_path)
    searcher_took = take(searcher, "0")
    again = make_noise(tmp_path)
    assert len(stored(tmp_path)) == 3
    assert take(again, "a") == searcher_took
    taken = [take(again, name) for name in "bcd"]
    assert [key for key, _ in taken] == ["trial-0001", "trial-0002", "trial-0003"]
    assert [overrides for _, overrides in taken[:2]] == [
        to_overrides(point) for point in NOISE_SPACE.opening[1:3]
    ]


def test_a_lost_journal_of_an_opening_and_a_search_is_made_anew(tmp_path: Path) -> None:
    searcher = make_noise(tmp_path)
    records = {}
    for number in range(8):
        key, overrides = take(searcher, str(number))
        if number != 1:  # handed out, never recorded
            records[key] = record(key, overrides, [0.1, 0.2, 0.3, 0.4, 0.5], "complete")
    before = [trial.params for trial in stored(tmp_path)]
    (tmp_path / "optuna.journal").unlink()
    again = make_noise(tmp_path, opening=10, records=records)
    trials = stored(tmp_path)
    # Two more than were recorded: the opening is longer in a study that was extended.
    assert [trial.state.name for trial in trials] == [
        *("COMPLETE", "WAITING", *["COMPLETE"] * 6, "WAITING", "WAITING")
    ]
    for number in (0, 2, 3, 4, 5, 6, 7):
        assert trials[number].params == before[number]
    for name, number in zip("abc", (1, 8, 9), strict=True):
        expected = to_overrides(NOISE_SPACE.opening[number])
        assert take(again, name) == (trial_key(number), expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_are_seeded_and_go_on_without_repeating(tmp_path: Path, sampler: str) -> None:
    def ask(folder: Path, count: int, seed: int = 0) -> list[dict[str, Any]]:
        searcher = make(folder, sampler=sampler, seed=seed)
        points: list[dict[str, Any]] = []
        for number in range(count):
            _, overrides = take(searcher, str(number))
            searcher.on_trial_complete(str(number), result(EPOCHS, len(points) / 100))
            points.append(overrides)
        searcher.finalise()
        return points

    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    first = ask(folders[0], 4)
    assert ask(folders[1], 4) == first
    assert ask(folders[2], 4, seed=1) != first
    later = ask(folders[0], 4)
    assert not [point for point in later if point in first]


def test_a_study_that_is_extended_searches_with_what_it_has(tmp_path: Path) -> None:
    """The same points, seed and number of trials: only what came out of them differs."""
    suggested = []
    for sign in (1, -1):
        folder = tmp_path / str(sign)
        folder.mkdir()
        points = {}
        first = make(folder, sampler="random", seed=3)
        for number in range(12):
            _, points[number] = take(first, str(number))
            value = sign * number / 100
            first.on_trial_complete(str(number), result(EPOCHS, value))
        first.finalise()
        suggested.append((points, take(make(folder, seed=3), "more")[1]))
    (had, next_one), (had_too, next_other) = suggested
    assert had == had_too
    assert next_one != next_other


@pytest.mark.parametrize(
    ("sampler", "trials"),
    [
        ("tpe", 20),
        ("random", 5),
        ("cmaes", 20),
        ("qmc", 10),
        ("nsga2", 20),
        # A suggestion of the Gaussian process takes seconds, once its ten random ones are over.
        pytest.param("gp", 11, marks=pytest.mark.slow),
    ],
)
def test_a_batch_of_parameters_changes_no_suggestion(
    tmp_path: Path, sampler: str, trials: int
) -> None:
    """Against Optuna's own ``ask``, past the random start-up of the samplers."""
    searcher = make(tmp_path, sampler=sampler, seed=7)
    plain = optuna.create_study(sampler=make_sampler(sampler, 7, 0), direction="maximize")
    for number in range(trials):
        _, overrides = take(searcher, str(number))
        trial = plain.ask(SPACE)
        assert {path: overrides[path] for path in SPACE} == trial.params
        searcher.on_trial_complete(str(number), result(EPOCHS, number % 7 / 10))
        plain.tell(trial, number % 7 / 10)


def test_unfit_samplers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"sampler \(--sampler\) = 'cmaess': unknown sampler; did you mean 'cmaes'"
    ):
        make(tmp_path, sampler="cmaess")
    with pytest.raises(InputError, match="one objective only"):
        check_sampler("cmaes", 2)
    assert not (tmp_path / "optuna.journal").exists()
    for name in SAMPLERS:
        check_sampler(name, 1)


def test_samplers_that_would_search_a_part_of_a_space_are_refused_by_name() -> None:
    fit = {name for name, sampler in SAMPLERS.items() if sampler.conditional}
    for name in SAMPLERS:
        config = StudyConfig(space="noise", sampler=name, train=BASE)
        if name in fit:
            check_study(config)
            continue
        with pytest.raises(InputError, match=f"{name}.*space 'noise'.*take tpe or random, or ano"):
            check_study(config)
        check_study(config.model_copy(update={"space": "adaptive_noise"}))
        check_study(config.model_copy(update={"configs": ({"noise/policy": "always"},)}))


# Given configurations.

GIVEN: list[dict[str, Any]] = [
    {"noise/patience": 3},
    {"noise/signals": ["stuck", "overfitting"], "noise/magnitude_min": 7.5},
    {},
    {"noise/policy": "always", "noise/kind": "label"},
]


def test_given_configurations_come_in_order_as_they_are(tmp_path: Path) -> None:
    searcher = make(tmp_path, given=GIVEN)
    assert ended(tmp_path) == 0
    got = [take(searcher, str(number)) for number in range(4)]
    assert got == [(trial_key(n), entry) for n, entry in enumerate(GIVEN)]
    assert searcher.suggest("more") == Searcher.FINISHED
    assert [trial.user_attrs for trial in stored(tmp_path)] == [
        {"config_index": number} for number in range(4)
    ]


def test_given_configurations_are_enqueued_once(tmp_path: Path) -> None:
    searcher = make(tmp_path, given=GIVEN)
    run(searcher, "0", FULL)
    cut_off = take(searcher, "1")
    searcher.on_trial_result("1", result(1, 0.5))
    del searcher

    again = make(tmp_path, given=GIVEN)
    assert ended(tmp_path) == 1
    assert take(again, "a") == cut_off
    assert [take(again, name)[0] for name in "bc"] == ["trial-0002", "trial-0003"]
    assert again.suggest("more") == Searcher.FINISHED
    for name in "abc":
        again.on_trial_complete(name, result(EPOCHS, 0.5))
    again.finalise()
    assert [trial.state for trial in stored(tmp_path)] == [TrialState.COMPLETE] * 4


def test_a_lost_journal_of_given_configurations(tmp_path: Path) -> None:
    records = {
        "trial-0001": record("trial-0001", {}, [0.1, 0.2, 0.3, 0.4, 0.5], "complete"),
    }
    searcher = make(tmp_path, given=GIVEN, records=records)
    assert ended(tmp_path) == 1
    assert [take(searcher, name)[0] for name in "abc"] == ["trial-0000", "trial-0002", "trial-0003"]


def test_torn_by_a_crash_at_any_entry(tmp_path: Path) -> None:
    """However much of the journal reached the disk, the study goes on without doubles."""
    searcher = make(tmp_path)
    run(searcher, "0", EARLY)
    run(searcher, "1", FULL)
    take(searcher, "2")
    searcher.finalise()
    content = (tmp_path / "optuna.journal").read_bytes()
    ends = [index + 1 for index, byte in enumerate(content) if byte == ord("\n")]
    for size in [0, *ends[:: max(1, len(ends) // 12)], len(content)]:
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "optuna.journal").write_bytes(content[:size])
        again = make(folder)
        keys = [run(again, str(n), FULL) for n in range(3 - ended(folder))]
        assert len(keys) == len(set(keys))
        assert again.finalise() == 0
        assert [t.state.is_finished() for t in stored(folder)] == [True] * 3
        shutil.rmtree(folder)


def test_a_point_that_cannot_be_trained_is_told_as_pruned_and_is_not_taken_up_again(tmp_path):
    told: list[str] = []

    def odd(key: str, overrides: Mapping[str, Any]) -> bool:
        told.append(key)
        return int(key[-1]) % 2 == 1

    searcher = make(tmp_path, pass_over=odd)
    assert take(searcher, "a")[0] == trial_key(0)
    assert searcher.suggest("b") is None
    assert searcher.passed_over == 1
    assert take(searcher, "b")[0] == trial_key(2)
    assert told == [trial_key(0), trial_key(1), trial_key(2)]
    assert stored(tmp_path)[1].state == TrialState.PRUNED
    # After a crash those that ran come first; what was passed over is over.
    again = make(tmp_path, pass_over=odd)
    assert [take(again, name)[0] for name in "ab"] == [trial_key(0), trial_key(2)]
