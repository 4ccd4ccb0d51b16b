"""The race: who enters which stage, what is missing, and what the luckiest shows without effect."""

import math

import numpy as np
import pytest

from study.statistics.race import (
    Gain,
    Results,
    Rung,
    by_gain,
    paired_spread,
    race,
    rungs,
    trainings,
    without_effect,
)


@pytest.mark.parametrize(
    ("entrants", "most", "stages"),
    [
        (40, 15, ((20, 1), (10, 2), (5, 4), (3, 9), (1, 14))),
        (24, 15, ((12, 1), (6, 2), (3, 4), (2, 9), (1, 14))),
        (5, 15, ((3, 1), (2, 2), (2, 4), (2, 9), (1, 14))),
        (2, 6, ((2, 1), (2, 2), (2, 3), (1, 5))),
        (40, 31, ((20, 1), (10, 2), (5, 4), (3, 9), (2, 19), (2, 20), (1, 30))),
        (40, 4, ((20, 1), (1, 3))),
        (40, 3, ((1, 2),)),
        (40, 2, ((1, 1),)),
        # A single configuration is selected by nothing: all its seeds are fresh.
        (1, 15, ((1, 14),)),
        (40, 1, ()),
        (0, 15, ()),
    ],
)
def test_the_field_is_halved_and_the_winner_has_seeds_of_its_own(
    entrants: int, most: int, stages: tuple[tuple[int, int], ...]
) -> None:
    found = rungs(entrants, most)
    assert found == tuple(Rung(*stage) for stage in stages)
    by_hand, before = 0, 0
    for field, seeds in stages:
        by_hand += field * (seeds - before)
        before = seeds
    assert trainings(found) == by_hand


def test_forty_trials_and_their_race_are_a_hundred_runs() -> None:
    assert 40 + trainings(rungs(40, 15)) == 100


FIELD = ("a", "b", "c", "d")
STAGES = (Rung(2, 1), Rung(1, 3))


def results(**gains: list[float | None]) -> Results:
    known: dict[str, dict[int, Gain | None]] = {
        name: {seed: None if value is None else (value,) for seed, value in enumerate(values)}
        for name, values in gains.items()
    }
    return Results(known)


@pytest.mark.parametrize(
    ("gains", "missing", "reached", "order"),
    [
        # After the search: the best two lack their first seed.
        ({"a": [4], "b": [3], "c": [2], "d": [1]}, [("a", 1), ("b", 1)], (1, 1, 0, 0), "abcd"),
        # One is still running.
        ({"a": [4, 0], "b": [3], "c": [2], "d": [1]}, [("b", 1)], (1, 1, 0, 0), "abcd"),
        # The second is better over both seeds: it gets the winner's own.
        (
            {"a": [4, 0], "b": [3, 2], "c": [2], "d": [1]},
            [("b", 2), ("b", 3)],
            (1, 2, 0, 0),
            "bacd",
        ),
        # What the winner's own seeds show selects nothing any more.
        ({"a": [4, 0], "b": [3, 2, -9, -9], "c": [2], "d": [1]}, [], (1, 2, 0, 0), "bacd"),
        # A run that is lost loses.
        ({"a": [4, None], "b": [3, -5, 0, 0], "c": [2], "d": [1]}, [], (1, 2, 0, 0), "bacd"),
        # Where both are lost the field's order stays.
        ({"a": [4, None, 1, 1], "b": [3, None], "c": [2], "d": [1]}, [], (2, 1, 0, 0), "abcd"),
    ],
)
def test_a_stage_begins_when_the_one_before_is_settled(
    gains: dict[str, list[float | None]],
    missing: list[tuple[str, int]],
    reached: tuple[int, ...],
    order: str,
) -> None:
    found = race(FIELD, STAGES, results(**gains))
    assert list(found.missing) == missing
    assert tuple(found.reached[name] for name in FIELD) == reached
    assert "".join(found.order) == order
    assert found.complete == (not missing)
    assert found.winner == (order[0] if not missing else None)


def test_what_is_shown_was_not_selected_by() -> None:
    found = race(FIELD, STAGES, results(a=[4, 0], b=[3, 2, 5, 7], c=[2], d=[1]))
    assert list(found.fresh("b")) == [2, 3]
    assert list(found.ranked_by("b")) == [0, 1]
    assert list(found.fresh("a")) == [1]
    assert list(found.ranked_by("a")) == [0, 1]
    assert list(found.fresh("c")) == list(found.ranked_by("c")) == [0]
    assert found.results.mean("b", found.fresh("b")) == (6,)


def test_a_seed_without_baseline_is_left_out_for_all() -> None:
    gains = results(a=[4], b=[3], c=[2], d=[1]).gains
    found = race(FIELD, STAGES, Results(gains, void=frozenset({1})))
    assert list(found.missing) == [("a", 2), ("a", 3)]


def test_later_trials_enter_without_a_run_being_repeated() -> None:
    known = results(a=[4, 0], b=[3, 2, 5, 7], c=[2], d=[1], late=[5])
    found = race(("late", *FIELD), (Rung(3, 1), Rung(1, 3)), known)
    assert list(found.missing) == [("late", 1)]
    assert found.reached["b"] == 1  # its own seeds count again when it is selected again


def test_ties_are_parted_by_the_further_entries_then_by_the_order() -> None:
    assert by_gain({"a": (0.0, 1.0), "b": (0.0, 2.0), "c": (1.0, -9.0)}) == ["c", "b", "a"]
    assert by_gain({"b": (0.0,), "a": (0.0,), "lost": (-math.inf,)}) == ["b", "a", "lost"]


def test_the_paired_spread_is_pooled_over_configurations() -> None:
    assert paired_spread([[1.0], []]) is None
    # Three degrees of freedom would be taken for more than they are.
    assert paired_spread([[1.0, 3.0], [10.0, 10.0, 10.0], [5.0]]) is None
    enough = [[1.0, 3.0], [10.0, 10.0, 10.0], [5.0], [0.0, 0.0, 0.0]]
    assert paired_spread(enough) == pytest.approx(math.sqrt(2.0 / 5))
    random = np.random.default_rng(0)
    samples = [(mean + 2.0 * random.standard_normal(5)).tolist() for mean in range(2000)]
    assert paired_spread(samples) == pytest.approx(2.0, rel=0.02)


def test_the_luckiest_without_effect_is_what_the_races_own_code_gives() -> None:
    stages = rungs(8, 6)
    found = without_effect(8, stages)
    random = np.random.default_rng(1)
    winners = []
    for _ in range(2000):
        # Eight trials and the baseline that all of them stand beside, each of variance ½.
        values = random.standard_normal((9, 6)) / math.sqrt(2)
        gains: dict[str, dict[int, Gain | None]] = {
            str(n): {seed: (values[n, seed] - values[8, seed],) for seed in range(6)}
            for n in range(8)
        }
        field = sorted(gains, key=lambda name: gains[name][0] or (), reverse=True)
        known = race(field, stages, Results(gains))
        assert known.winner is not None
        winners.append(known.results.mean(known.winner, known.ranked_by(known.winner))[0])
    error = np.std(winners) / math.sqrt(len(winners))
    assert abs(found.mean - float(np.mean(winners))) < 5 * error
    middle = float(np.median(winners))
    assert found.share_above(middle) == pytest.approx(0.5, abs=0.05)
    assert found.share_above(-math.inf) == 1
    assert found.share_above(math.inf) == 0


def test_without_a_race_the_luckiest_is_the_largest_of_many() -> None:
    # The expected largest of 24 standard normal numbers (Harter 1961), of half the variance: the
    # baseline's half is the same for all, and zero on average.
    largest = 1.9477 / math.sqrt(2)
    assert without_effect(24, (Rung(1, 1),)).mean == pytest.approx(largest, abs=0.03)
