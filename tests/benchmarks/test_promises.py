"""What a study promises is replayed on tables worked out by hand."""

import numpy as np
import pytest

from benchmarks.promises import WAYS, Way, compared, replayed
from study.statistics.race import rungs

SEEDS, SETTINGS = 12, 24


def test_each_way_has_as_many_trainings_as_settings_of_one_seed_and_its_baseline() -> None:
    assert {way.runs for way in WAYS} <= {24, 25}
    assert Way("", 8, rungs(8, 6)).runs == 8 + 10 + 6


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_vary_over_seeds_is_kept_as_promised(way: Way) -> None:
    table = np.tile(np.linspace(-1, 1, SETTINGS), (SEEDS, 1))
    before, after = replayed(table, way, np.random.default_rng(0))
    assert (before, after) == pytest.approx((0, 0))


def test_luck_promises_too_much_on_one_seed_and_nothing_after_a_race() -> None:
    table = np.random.default_rng(1).standard_normal((SEEDS, SETTINGS))
    before, after, ratio, too_much, still = compared(table, WAYS[1], 300)
    assert too_much > 1.5
    assert abs(still) < 0.2
    assert ratio == pytest.approx(after / before)
    assert ratio < 0.5
