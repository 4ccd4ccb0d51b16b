"""Placebo and clock: exactly the trial's injections, moved to other epochs after the warm-up."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.campaigns.placebo import (
    NoisePlan,
    bursts_of,
    clock_plan,
    own_plan,
    placebo_plan,
)
from tests.support.runs import EAGER, small_config
from trainables.metrics import EpochMetrics
from trainables.noise.controller import NoiseController
from trainables.noise_config import NoiseConfig

Noisy = dict[int, tuple[str, float]]


def history_of(noisy: Noisy, epochs: int) -> list[EpochMetrics]:
    """A history with these noisy epochs."""
    kinds = {epoch: noisy.get(epoch, ("none", 0.0)) for epoch in range(epochs)}
    return [
        EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.1, kind, magnitude)
        for epoch, (kind, magnitude) in kinds.items()
    ]


def settings_of(warm_up: int) -> NoiseConfig:
    return NoiseConfig(policy="on_stagnation", warmup_epochs=warm_up, window=2)


@st.composite
def trials(draw: st.DrawFn) -> tuple[Noisy, int, int]:
    """Any pattern of noisy epochs after any warm-up, tight ones included."""
    warm_up = draw(st.integers(2, 6))
    pattern = draw(st.lists(st.sampled_from([None, "gradient", "weight"]), max_size=25))
    noisy = {
        warm_up + offset: (kind, draw(st.sampled_from([0.1, 0.2, 0.3])))
        for offset, kind in enumerate(pattern)
        if kind is not None
    }
    return noisy, warm_up, warm_up + len(pattern)


def blocks(plan: NoisePlan) -> list[tuple[tuple[str, float], ...]]:
    """The plan's runs of consecutive epochs, in order."""
    noisy: Noisy = {item.epoch: (item.kind, item.magnitude) for item in plan}
    last = max(noisy, default=-1)
    return [run.injections for run in bursts_of(history_of(noisy, last + 1))]


@settings(max_examples=300)
@given(trials(), st.integers(0, 2**63 - 1))
def test_moves_whole_runs_and_changes_nothing_else(
    trial: tuple[Noisy, int, int], seed: int
) -> None:
    noisy, warm_up, epochs = trial
    history = history_of(noisy, epochs)
    plan = placebo_plan(history, settings_of(warm_up), epochs, seed)
    runs = bursts_of(history)
    free = epochs - warm_up - len(noisy) - max(0, len(runs) - 1)
    if runs and free == 0:
        assert plan is None
        return
    assert plan is not None
    assert blocks(plan) == [run.injections for run in runs]
    places = [item.epoch for item in plan]
    assert all(before < after for before, after in pairwise(places))
    assert all(warm_up <= place < epochs for place in places)
    assert not noisy or places != sorted(noisy)
    assert plan == placebo_plan(history, settings_of(warm_up), epochs, seed)


def test_hand_worked_runs() -> None:
    noisy: Noisy = {3: ("gradient", 0.1), 4: ("weight", 0.2), 7: ("gradient", 0.3)}
    first, second = bursts_of(history_of(noisy, 9))
    assert (first.start, first.injections) == (3, (("gradient", 0.1), ("weight", 0.2)))
    assert (second.start, len(second)) == (7, 1)


def test_every_other_placement_is_equally_likely() -> None:
    """Two runs, two spare epochs: C(4, 2) = 6 placements, one of them the trial's own."""
    noisy: Noisy = {2: ("gradient", 0.1), 3: ("gradient", 0.2), 5: ("weight", 0.3)}
    history = history_of(noisy, 8)
    plans = Counter(placebo_plan(history, settings_of(2), 8, seed) for seed in range(2000))
    assert len(plans) == 5
    assert stats.chisquare(list(plans.values())).pvalue > 0.001


def test_the_seed_decides_and_its_draw_stays_the_same() -> None:
    """A recorded plan: a stored study must find the same placebo again."""
    history = history_of(dict.fromkeys((10, 11, 20), ("gradient", 0.1)), 100)
    plans = [placebo_plan(history, settings_of(5), 100, seed) for seed in range(3)]
    assert [tuple(item.epoch for item in plan or ()) for plan in plans] == RECORDED


RECORDED = [(22, 23, 99), (11, 12, 52), (14, 15, 56)]


def test_a_trial_that_never_injected_has_its_baseline_as_placebo() -> None:
    assert placebo_plan(history_of({}, 9), settings_of(2), 9, 0) == ()


def test_there_is_no_control_where_noise_can_lie_nowhere_else() -> None:
    always: Noisy = dict.fromkeys(range(9), ("gradient", 0.1))
    assert placebo_plan(history_of(always, 9), NoiseConfig(policy="always"), 9, 0) is None
    assert clock_plan(history_of(always, 9), NoiseConfig(policy="always"), 9) is None
    # Static noise that ends early could be moved, but never looked at a signal.
    some = history_of({0: ("gradient", 0.1)}, 9)
    assert clock_plan(some, NoiseConfig(policy="always"), 9) is None
    after_warm_up: Noisy = dict.fromkeys(range(4, 9), ("gradient", 0.1))
    assert placebo_plan(history_of(after_warm_up, 9), settings_of(4), 9, 0) is None
    assert clock_plan(history_of(after_warm_up, 9), settings_of(4), 9) is None


def test_a_window_longer_than_the_warm_up_belongs_to_it() -> None:
    """No signal is heard before a whole window is complete."""
    noise = NoiseConfig(policy="on_stagnation", warmup_epochs=0, window=6)
    history = history_of({8: ("gradient", 0.1)}, 10)
    places = {(placebo_plan(history, noise, 10, seed) or ())[0].epoch for seed in range(100)}
    assert places == {6, 7, 9}


def test_noise_outside_the_epochs_it_may_lie_in_is_an_error() -> None:
    for epoch in (1, 9):
        with pytest.raises(ValueError, match=rf"noise in epochs {epoch} to {epoch}: outside"):
            placebo_plan(history_of({epoch: ("gradient", 0.1)}, 10), settings_of(2), 9, 0)
        with pytest.raises(ValueError, match=rf"noise in epochs {epoch} to {epoch}: outside"):
            clock_plan(history_of({epoch: ("gradient", 0.1)}, 10), settings_of(2), 9)


def test_the_controllers_own_decisions_can_be_moved() -> None:
    """The controller's warm-up and this one's agree: what it decides is accepted."""
    config = small_config(EAGER, epochs=12)
    controller = NoiseController(config.noise, config.epochs)
    history: list[EpochMetrics] = []
    for epoch in range(config.epochs):
        injection = controller.step(history)
        row = history_of({epoch: (injection.kind, injection.magnitude)}, epoch + 1)[epoch]
        history.append(row)
    assert bursts_of(history)[0].start == 2
    plan = placebo_plan(history, config.noise, config.epochs, 0)
    assert plan is None or blocks(plan) == [run.injections for run in bursts_of(history)]


# --- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noisy", "warm_up", "window", "epochs", "expected"),
    [
        # One burst, later than the warm-up's end.
        ([6, 7], 3, 2, 9, [3, 4]),
        # The last epochs of the budget.
        ([8], 3, 2, 9, [3]),
        # Two bursts, three: the clean epochs between them stay as many.
        ([5, 6, 9], 2, 2, 12, [2, 3, 6]),
        ([4, 6, 11, 12], 3, 2, 20, [3, 5, 10, 11]),
        # Begun at the warm-up's end: the trial's own epochs, later bursts included.
        ([3, 4, 8], 3, 2, 10, [3, 4, 8]),
        ([3], 3, 2, 10, [3]),
        # No signal is heard before a whole window is complete, nor before the warm-up's end.
        ([8, 9], 0, 6, 12, [6, 7]),
        ([8, 9], 6, 6, 12, [6, 7]),
        ([6, 8], 0, 6, 12, [6, 8]),
        # Nothing but the very last burst's place is spare.
        ([4, 5, 6, 7, 8], 3, 2, 9, [3, 4, 5, 6, 7]),
        # It never injected.
        ([], 3, 2, 9, []),
    ],
)
def test_a_clock_begins_when_signals_could_first_be_heard(
    noisy: list[int], warm_up: int, window: int, epochs: int, expected: list[int]
) -> None:
    drawn = [("weight" if n % 3 else "gradient", 0.1 * (n + 1)) for n in range(len(noisy))]
    history = history_of(dict(zip(noisy, drawn, strict=True)), epochs)
    noise = NoiseConfig(policy="on_stagnation", warmup_epochs=warm_up, window=window)
    plan = clock_plan(history, noise, epochs)
    assert plan is not None
    assert [item.epoch for item in plan] == expected
    # Kinds and magnitudes as recorded, in their order.
    assert [(item.kind, item.magnitude) for item in plan] == drawn
    assert (plan == own_plan(history)) == (noisy == expected)


@settings(max_examples=300)
@given(trials())
def test_a_clock_has_its_trials_bursts_and_gaps(trial: tuple[Noisy, int, int]) -> None:
    noisy, warm_up, epochs = trial
    history = history_of(noisy, epochs)
    plan = clock_plan(history, settings_of(warm_up), epochs)
    assert (plan is None) == (placebo_plan(history, settings_of(warm_up), epochs, 0) is None)
    if not plan:
        return
    places = [item.epoch for item in plan]
    assert places[0] == warm_up
    assert {epoch - place for epoch, place in zip(sorted(noisy), places, strict=True)} == {
        min(noisy) - warm_up
    }
    assert [(item.kind, item.magnitude) for item in plan] == [noisy[n] for n in sorted(noisy)]
