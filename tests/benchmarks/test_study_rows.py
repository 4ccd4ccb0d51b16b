"""A study of trials that do no work goes through all that a study does."""

import pytest

from benchmarks.child import call


@pytest.mark.slow
def test_trials_that_do_no_work_make_a_whole_study() -> None:
    found = call("benchmarks.study_rows:our_replay", trials=3, early_stopping=False)
    # That its trials ended is checked there.
    assert 0 < found["searcher"] < found["seconds"]
