"""The time left: as long as the runs to come take at the pace of those that ended."""

from study.campaigns.pace import Remaining, seconds_left
from study.records.ledger_view import LedgerState, TrialRecord
from trainables.metrics import EpochMetrics

EPOCHS = 10


def run(
    key: str,
    role: str = "trial",
    *,
    seconds: float | None = 20.0,
    shared: int = 0,
    done: int = EPOCHS,
) -> TrialRecord:
    """A run of ten epochs; ``seconds``: how long it took, None while it goes on."""
    rows = tuple(
        EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 0.1, "none", 0.0)
        for epoch in range(done)
    )
    number = int(key[-1])
    return TrialRecord(
        *(key, role, 0, {}, {}, ""),
        history=rows,
        shared_epochs=shared,
        epochs_trained=done - shared,
        state=None if seconds is None else "complete",
        started=1000 * number,
        ended=None if seconds is None else int(1000 * (number + seconds)),
    )


def left(runs: list[TrialRecord], noiseless: int, noisy: int, workers: int) -> float | None:
    state = LedgerState(None, {run.key: run for run in runs})
    return seconds_left(state, Remaining(EPOCHS, noiseless, noisy), workers)


def test_nothing_is_said_before_a_run_has_ended() -> None:
    assert left([], 1, 4, 2) is None
    assert left([run("baseline-0", "baseline", seconds=None, done=3)], 0, 4, 2) is None


def test_baselines_give_the_pace_until_trials_do() -> None:
    baseline = run("baseline-0", "baseline")
    assert left([baseline], 0, 4, 2) == 4 * 20 / 2
    # Noise costs time: a trial took 30 s.
    assert left([baseline, run("trial-1", seconds=30.0)], 0, 3, 2) == 3 * 30 / 2


def test_what_is_shared_with_the_baseline_takes_no_time() -> None:
    runs = [run("baseline-0", "baseline"), run("trial-1", seconds=5.0, shared=5)]
    # Five epochs each at a second an epoch.
    assert left(runs, 0, 6, 2) == 6 * 5 / 2
    # One that runs has four of its own to go.
    assert left([*runs, run("trial-2", seconds=None, shared=5, done=6)], 0, 6, 2) == (30 + 4) / 2


def test_no_more_workers_are_busy_than_there_are_runs() -> None:
    assert left([run("trial-1")], 0, 1, 8) == 20
    assert left([run("trial-1")], 1, 1, 8) == 20


def test_a_run_that_lay_idle_gives_no_pace() -> None:
    day = 24 * 3600.0
    idle, quick = run("trial-1", seconds=day), run("trial-2")
    state = LedgerState(None, {"a": idle, "b": quick})
    assert seconds_left(state, Remaining(EPOCHS, 0, 1), 1, since=2000) == 20
    state = LedgerState(None, {"a": idle})
    assert seconds_left(state, Remaining(EPOCHS, 0, 1), 1, since=2000) is None


def test_the_last_runs_count() -> None:
    slow = [run(f"trial-{n}", seconds=200.0) for n in range(2)]
    # What ended long ago does not: eight others ended later.
    later = [run(f"race-{n}{n}", seconds=1000.0 + n) for n in range(8)]
    pace = sum(1000.0 + n for n in range(8)) / (8 * EPOCHS)
    found = left([*slow, *later], 0, 1, 1)
    assert found is not None
    assert abs(found - pace * EPOCHS) < 1e-9
