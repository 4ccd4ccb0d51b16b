"""The shipped race picks a good configuration more often than as many trials of one seed do."""

from benchmarks.race import plans, top_tenth


def test_the_shipped_race_beats_one_seed_each_at_a_hundred_runs() -> None:
    single, _, shipped, *_ = plans()
    assert (single.runs, shipped.runs) == (100, 100)
    alone, flattered = top_tenth(single, 0.3, 400)
    raced, honest = top_tenth(shipped, 0.3, 400)
    # Standard errors of 0.023 and 0.025: the figures of the whole simulation are 28 and 53 %.
    assert alone < 0.36
    assert raced > 0.45
    # What a race shows was not selected by; five seeds of a spread of one, over 400 picks.
    assert flattered > 1
    assert abs(honest) < 5 * (1 / 5 / 400) ** 0.5
