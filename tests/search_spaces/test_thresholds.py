"""Thresholds from a baseline: limits and choices by hand, and whole ranges as they have been."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from search_spaces.calibration import calibrate
from search_spaces.registry import get_space
from search_spaces.thresholds import View, _at_least, _Table, _widest, learned_nothing
from tests.search_spaces.test_calibration import BASE, history
from trainables.noise.signals import SIGNALS


def table(
    forks: Sequence[Sequence[int]],
    never: Sequence[float] | None = None,
    at_first: Sequence[float] | None = None,
) -> _Table:
    """Rows of forks are timings, columns candidates."""
    nothing = [0.0] * len(forks[0])
    return _Table(
        np.array(forks),
        np.array(never or nothing),
        np.array(at_first or nothing),
        np.array(nothing),
    )


@pytest.mark.parametrize(
    ("never", "at_first", "allowed"),
    [
        ([0.08], [0.2], True),  # the limits themselves
        ([0.09], [0.0], False),
        ([0.0], [0.21], False),
        ([0.0, 0.12], [0.0, 0.36], True),  # their means count
        ([0.0, 0.2], [0.0, 0.0], False),
        ([0.0, 0.0], [0.0, 0.5], False),
    ],
)
def test_what_a_range_may_cost(never: list[float], at_first: list[float], allowed: bool) -> None:
    found = table([[5] * len(never)], never, at_first)
    assert found.allows(slice(0, len(never))) is allowed


@pytest.mark.parametrize(
    ("never", "at_first", "why"),
    [
        ([1.0, 1.0], [0.0, 0.0], "never raises it for long enough"),
        ([1.0, 0.0], [0.25, 0.5], "whatever the threshold, 25% or more of its settings inject"),
        ([1.0, 0.0], [1.0, 1.0], "whatever the threshold, all of its settings inject as soon"),
        ([0.5, 0.125], [0.0, 0.5], "whatever the threshold, 12% or more of its settings never"),
        ([0.08, 0.5], [0.2, 0.0], "mostly inject as soon as they may, or never"),
        ([0.08, 0.5], [0.2, 0.2], "mostly inject as soon as they may, or never"),
    ],
)
def test_why_a_signal_is_left_out(never: list[float], at_first: list[float], why: str) -> None:
    assert why in table([[5, 5]], never, at_first).why_not()


def test_shares_in_words() -> None:
    assert _at_least(np.array([1.0, 1.0])) == "all"
    assert _at_least(np.array([0.5, 1.0])) == "50% or more"


@pytest.mark.parametrize(
    ("tables", "chosen"),
    [
        # Of 10 epochs the first candidate begins after 2 and 4, the second after 6 and 8. Spread
        # between deciles + share of the candidates − 4 · (share trained − 0.3): the first
        # 0.16 + 0.5 − 1.6, the second 0.16 + 0.5, both 0.48 + 1 − 0.8.
        ([table([[2, 6], [4, 8]])], slice(0, 2)),
        # Two epochs earlier both train 0.7: 0.48 + 1 − 1.6; the second 0.16 + 0.5 − 0.8.
        ([table([[0, 4], [2, 6]])], slice(0, 2)),
        # Further apart: both 0.74 + 1 − 1.0 = 0.74; the second 0.08 + 0.5 = 0.58 …
        ([table([[0, 8], [1, 9]])], slice(0, 2)),
        # … unless the first trains too much: both 0.48 + 1 − 1.4, the second 0.56.
        ([table([[0, 7], [0, 7]])], slice(1, 2)),
        # The first alone is not allowed, nor are both.
        ([table([[2, 6], [4, 8]], never=[0.2, 0.0])], slice(1, 2)),
        ([table([[2, 6], [4, 8]], at_first=[0.9, 0.0])], slice(1, 2)),
        ([table([[2, 6], [4, 8]], never=[0.2, 0.2])], None),
        # Every signal that the range serves must allow it.
        ([table([[2, 6], [4, 8]]), table([[5, 5], [5, 5]], never=[0.0, 0.5])], slice(0, 1)),
        # Equal ones: the first.
        ([table([[7, 7, 7]], never=[0.0, 0.9, 0.0])], slice(0, 1)),
        # What never begins spreads nothing: of the first 0.08 + 1/3, of the last 1/3.
        ([table([[7, 5, 7], [8, 5, 10]], never=[0.0, 0.9, 0.08])], slice(0, 1)),
    ],
)
def test_the_range_that_spreads_the_forks_widest(
    tables: list[_Table], chosen: slice | None
) -> None:
    assert _widest(tables, 10) == chosen


def test_forks_are_the_first_streak_past_the_warm_up() -> None:
    box = {"noise/warmup_epochs": IntDistribution(4, 4), "noise/window": IntDistribution(2, 2)}
    losses = [1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4]
    rows = history(10, train_loss=lambda p: losses[round(10 * p)])
    for trigger, forks in ((1, [4, 4, 5, 6]), (2, [5, 5, 6, 10])):
        timings = {**box, "noise/trigger_epochs": IntDistribution(trigger, trigger)}
        view = View(timings, BASE.model_copy(update={"epochs": 10}), rows)
        [timing] = set(view._timings)
        # Before epochs 3, 4, 5, 6 there were 1, 2, 3, 4 without a best; 0, 1, 2, 3 are borne.
        found = view._forks("stuck", timing, -np.arange(4.0))
        assert found.tolist() == forks


RANGES: list[tuple[dict[str, Any], dict[str, tuple[float, float]], list[str]]] = [
    (
        {},
        {
            "noise/plateau_delta": (0.061331291430152625, 0.5939140180825923),
            "noise/weight_update_threshold": (0.05596298045646762, 0.9916004329895177),
        },
        [
            "signal grad_norm_plateau is left out: whatever the threshold, 33% or more of its "
            "settings inject as soon as they may",
            "signal low_weight_update: noise/weight_update_threshold from 0.056 to 0.992, by which "
            "the baseline raises it in 5% to 98% of the windows past the warm-up",
            "signal stuck is left out: the baseline never raises it for long enough",
            "signal val_loss_plateau: noise/plateau_delta from 0.0613 to 0.594, by which the "
            "baseline raises it in 25% to 95% of the windows past the warm-up",
            "signal overfitting is left out: the baseline never raises it for long enough",
        ],
    ),
    (
        {
            "grad_norm": lambda p: 2 - p,
            "val_loss": lambda p: 0.5 + p,
            "train_loss": lambda p: abs(p - 0.5) + 0.1,
        },
        {
            "noise/patience": (0, 6),
            "noise/plateau_delta": (0.0745513516164917, 0.28223410872572435),
            "noise/weight_update_threshold": (0.05596298045646762, 0.9916004329895177),
        },
        [
            "signal grad_norm_plateau is left out: its settings mostly inject as soon as they may, "
            "or never",
            "signal low_weight_update: noise/weight_update_threshold from 0.056 to 0.992, by which "
            "the baseline raises it in 5% to 98% of the windows past the warm-up",
            "signal stuck: noise/patience from 0 to 6, by which the baseline raises it in 27% to "
            "50% of the windows past the warm-up",
            "signal overfitting: noise/plateau_delta from 0.0746 to 0.282, by which the baseline "
            "raises it in 4% to 37% of the windows past the warm-up",
            "signal val_loss_plateau is left out: whatever the threshold, all of its settings "
            "inject as soon as they may",
        ],
    ),
]


@pytest.mark.parametrize(("course", "ranges", "notes"), RANGES, ids=["falling", "turning"])
def test_ranges_are_as_they_have_been(
    course: dict[str, Any], ranges: dict[str, tuple[float, float]], notes: list[str]
) -> None:
    found = calibrate(get_space("adaptive_noise"), BASE, history(**course))
    for path, ends in ranges.items():
        distribution = found.distributions[path]
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        assert (distribution.low, distribution.high) == pytest.approx(ends, rel=1e-9)
    assert list(found.notes) == notes


def test_what_counts_as_learning_nothing() -> None:
    losses = [2.0, 1.0, 0.995, 0.991, 0.5, 0.5]
    # From epoch 5 on 0.5 stays; before, all is compared with what comes later, and the last epochs
    # too. Epochs 0 and 6 have nothing before or after them.
    assert learned_nothing(losses, 6).tolist() == [False, False, False, False, False, True, False]
    # A fall of a hundredth in all is nothing, one of more is something.
    assert learned_nothing([1.0, 0.995, 0.99], 3)[1]
    assert not learned_nothing([1.0, 0.995, 0.989], 3)[1]
    assert not learned_nothing([1.0, math.nan, math.nan], 3)[1]


@pytest.mark.parametrize("falling", [False, True])
def test_a_signal_that_fires_at_once_is_kept_where_training_is_stuck(falling: bool) -> None:
    # A gradient norm that never changes by a tenth looks stuck whatever the threshold.
    course = history(
        grad_norm=lambda p: 1 + 0.01 * math.sin(40 * p),
        train_loss=lambda p: 2.0 - p if falling else 2.0 + 0.001 * math.sin(50 * p),
    )
    found = calibrate(get_space("adaptive_noise"), BASE, course)
    notes = [note for note in found.notes if note.startswith("signal grad_norm_plateau")]
    assert ("grad_norm_plateau" in found.dropped) is falling
    assert ("the baseline learns nothing from there on" in notes[0]) is not falling


@pytest.mark.parametrize("falling", [False, True])
def test_a_signal_without_thresholds_is_kept_where_training_is_stuck(falling: bool) -> None:
    course = history(
        grad_norm=lambda p: 1 + p, train_loss=lambda p: 2.0 - p if falling else 2.0, jitter=0
    )
    space = get_space("adaptive_noise")
    found = calibrate(space, BASE, course)
    path = "noise/grad_plateau_threshold"
    assert ("grad_norm_plateau" in found.dropped) is falling
    assert (path in found.distributions) is not falling
    if not falling:
        assert found.distributions[path] == space.distributions(BASE)[path]
        stays = f"signal grad_norm_plateau: {path} stays as it is; it injects as soon as it may"
        assert any(note.startswith(stays) for note in found.notes)


def test_a_setting_in_epochs_moves_the_first_epoch_with_it() -> None:
    space = get_space("adaptive_noise").distributions(BASE)
    view = View(space, BASE, history())
    timing = view._timings[0]
    start = max(timing.warmup, timing.window)
    firsts = view._first("stuck", timing, np.arange(0.0, 40.0, 10.0))
    assert firsts == [max(start, patience + 2) + timing.trigger - 1 for patience in (0, 10, 20, 30)]
    window = start + timing.trigger - 1
    assert view._first("grad_norm_plateau", timing, np.arange(3.0)) == [window] * 3


def test_a_shorter_history_than_the_budget_ends_with_itself() -> None:
    space = get_space("adaptive_noise").distributions(BASE)
    assert View(space, BASE, history(12))._epochs == 13
    assert View(space, BASE, history(30))._epochs == 30
    assert math.isinf(View(space, BASE, history(12))._score(2)["stuck"][1])


def test_the_first_epoch_may_stay_the_best() -> None:
    view = View({}, BASE, history(8, train_loss=lambda p: 0.1 + p))
    assert view._score(2)["stuck"].tolist() == [math.inf, math.inf, -1, -2, -3, -4, -5, -6, -7]


def test_windows_that_reach_into_the_warm_up_do_not_count() -> None:
    box = {"noise/warmup_epochs": IntDistribution(5, 9), "noise/window": IntDistribution(2, 2)}
    assert len(View(box, BASE, history(12))._pooled("low_weight_update")) == 13 - 5
    box = {"noise/warmup_epochs": IntDistribution(1, 1), "noise/window": IntDistribution(4, 4)}
    assert len(View(box, BASE, history(12))._pooled("low_weight_update")) == 13 - 4


@pytest.mark.parametrize(
    ("epochs", "grad_norm", "name", "why"),
    [
        (12, lambda p: 1 + p, "grad_norm_plateau", "raises it always, whatever the threshold"),
        (2, lambda p: 1 + p, "grad_norm_plateau", "raises it always, whatever the threshold"),
        (12, lambda p: 0.0, "grad_norm_plateau", "the baseline never raises it"),
        (12, lambda p: 1.0, "overfitting", "the baseline never raises it"),
    ],
)
def test_why_there_is_nothing_to_try(
    epochs: int, grad_norm: Callable[[float], float], name: str, why: str
) -> None:
    """A rising norm, even in a single window; one that vanishes; losses that never rise."""
    path = SIGNALS[name].path
    box = {path: FloatDistribution(1e-5, 1.0), "noise/window": IntDistribution(2, 2)}
    base = BASE.model_copy(
        update={"noise": BASE.noise.model_copy(update={"warmup_epochs": 0, "overfit_epochs": 1})}
    )
    rows = history(epochs, grad_norm=grad_norm, jitter=0)
    assert why in View(box, base, rows).find(path, [name]).dropped[name]


def test_a_signal_with_a_range_of_its_own_may_be_left_out() -> None:
    path = "noise/plateau_delta"
    view = View({path: FloatDistribution(1e-5, 1.0)}, BASE, history())
    allowed = table([[6, 7], [7, 8]])
    tables = {"val_loss_plateau": allowed, "overfitting": allowed}
    found = view._chosen(path, ("val_loss_plateau",), np.array([0.125, 0.25]), slice(0, 2), tables)
    assert found.dropped == {
        "overfitting": f"no range of {path} serves both it and val_loss_plateau"
    }
    assert found.ranges == {path: FloatDistribution(0.125, 0.25, log=True)}
