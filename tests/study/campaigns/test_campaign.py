"""What the skeleton decides between phases, and what the live view says meanwhile."""

import io
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from study.campaigns import live
from study.campaigns.baseline import waiting_note
from study.campaigns.live import (
    Clock,
    Counted,
    best_so_far,
    ended_line,
    headline,
    progress,
    render,
)
from study.campaigns.notebook import in_notebook
from study.campaigns.phase import Phase, fatal_failure, fatal_message
from study.config import StudyConfig
from study.records.ledger_view import LedgerState, TrialRecord, recorded
from study.records.planned_run import PlannedRun, baseline_key, baseline_run
from trainables.metrics import EpochMetrics

EPOCHS = 4


def record(key: str, state: Any, epochs: int = EPOCHS, role: str = "baseline") -> TrialRecord:
    """A run that took a second an epoch."""
    rows = tuple(
        EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 0.1, "none", 0.0)
        for epoch in range(epochs)
    )
    config = {"epochs": EPOCHS}
    return TrialRecord(
        *(key, role, 0, {}, config, "digest"),
        history=rows,
        state=state,
        reason="why",
        epochs_trained=epochs,
        started=0,
        ended=1000 * epochs if state else None,
    )


def ledger(records: Sequence[TrialRecord]) -> LedgerState:
    return LedgerState(None, {record.key: record for record in records})


def test_a_notebook_has_one_output_that_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[dict[str, Any]] = []
    drawn_twice = threading.Event()

    def publish(data: dict[str, str], **how: Any) -> None:
        published.append({"data": data, **how})
        if len(published) > 1:
            drawn_twice.set()

    monkeypatch.setattr("IPython.display.publish_display_data", publish)
    monkeypatch.setattr(live, "_NOTEBOOK_SECONDS", 0.01)
    said = iter(["<at first>"])
    counted = Counted("mine", "best_val_loss", EPOCHS, 1, 1, lambda _: next(said, "later"))
    console = Console(file=io.StringIO(), force_jupyter=True)
    with live.live_view(console, lambda: counted, tmp_path / "ledger.jsonl"):
        assert drawn_twice.wait(60)
    first, *others = published
    assert first["update"] is False
    assert all(each["update"] is True for each in others)
    assert len({each["transient"]["display_id"] for each in published}) == 1
    assert "&lt;at first&gt;" in first["data"]["text/html"]
    assert "mine  baseline 0/1" in first["data"]["text/plain"]
    assert "later" in others[-1]["data"]["text/html"]
    # Nothing is shown besides: what rich prints in a notebook goes through IPython, too.
    assert console.file.getvalue() == ""


def test_outside_of_a_notebook_ipython_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook(Console(file=io.StringIO(), force_jupyter=False))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook(Console(file=io.StringIO(), force_jupyter=True))


@pytest.mark.parametrize(
    ("needed", "states", "fatal"),
    [
        ("all", ["complete", "complete"], None),
        ("all", ["complete", "failed"], 1),
        ("all", ["failed", "failed"], 0),
        ("any", ["complete", "failed"], None),
        ("any", ["failed", "failed"], 0),
        ("any", ["failed"], 0),
        (None, ["failed", "failed"], None),
        ("any", [], None),
        ("all", [], None),
    ],
)
def test_failures_that_end_a_campaign(
    needed: Any, states: Sequence[str], fatal: int | None
) -> None:
    runs = [baseline_run(seed) for seed in range(len(states))]
    records = [record(run.key, state) for run, state in zip(runs, states, strict=True)]
    # Runs of other phases do not count.
    others = [record("trial-0000", "failed"), record("baseline-seed9", "failed")]
    found = fatal_failure(Phase(runs, needed=needed), ledger([*others, *records]))
    assert found == (None if fatal is None else records[fatal])


@pytest.mark.parametrize(
    ("reason", "advised"),
    [
        ("diverged: train_loss is nan in epoch 1", True),
        ("trainables.errors.InputError: optimizer = 'mine:sgd': in step(), it raised", False),
        ("stopped by hand after 2 epochs", False),
    ],
)
def test_a_smaller_rate_is_advised_where_the_baseline_diverged(reason: str, advised: bool) -> None:
    failed = replace(record("baseline-seed0", "failed"), reason=reason)
    said = fatal_message(Phase(remedy="give a smaller --lr"), failed)
    assert f"baseline-seed0: {reason}." in said
    assert said.endswith(": give a smaller --lr") is advised
    assert fatal_message(Phase(), failed).endswith("compared")


@pytest.mark.parametrize(
    ("state", "epochs", "expected"),
    [
        ("complete", EPOCHS, True),
        ("complete", EPOCHS - 1, False),
        ("failed", 0, True),
        ("pruned", 2, True),
        (None, EPOCHS, False),
    ],
)
def test_what_is_recorded_has_an_end_and_all_its_epochs(
    state: Any, epochs: int, expected: bool
) -> None:
    assert recorded(record("baseline-seed0", state, epochs)) is expected
    assert not recorded(None)


def test_a_planned_run_has_a_key_and_its_seed_among_its_overrides() -> None:
    run = PlannedRun("placebo", "trial-0007-placebo", 2, {"noise/policy": "off"})
    assert run.key == "trial-0007-placebo-seed2"
    assert run.overrides == {"noise/policy": "off", "seed": 2}
    assert baseline_run(3).key == baseline_key(3) == "baseline-seed3"


@pytest.mark.parametrize(
    ("count", "concurrent", "start"),
    [(0, 4, ""), (4, 4, ""), (1, 2, "1 of 2 workers waits"), (5, 3, "1 of 3 workers waits for the "
    "baseline's 5 runs (2 in a row)"), (1, 3, "2 of 3 workers wait for the baseline's run;")],
)  # fmt: skip
def test_workers_that_wait_for_the_baseline(count: int, concurrent: int, start: str) -> None:
    note = waiting_note(count, concurrent)
    assert note.startswith(start)
    assert bool(note) == bool(start)


def test_the_live_view_counts_what_it_is_given() -> None:
    counted = Counted(
        name="grid",
        objective="final_val_accuracy",
        epochs=EPOCHS,
        trials=3,
        baselines=2,
        standing=lambda state: f"{len(state.trials)} runs have begun",
        time_budget=30.0,
    )
    state = ledger(
        [
            record("baseline-seed0", "complete"),
            record("trial-0000", "failed", 1, role="trial"),
            record("trial-0001", None, 2, role="trial"),
        ]
    )
    out = io.StringIO()
    Console(file=out, width=120).print(render(counted, state, 10.0, Clock(since=0)))
    text = out.getvalue()
    assert "grid  baseline 1/2 · 1 running · 0 done · 1 failed · 1 waiting" in text
    # A baseline, a run and the rest of another are to come, on one worker.
    assert "10s so far · about 10s left" in text
    assert "3 runs have begun" in text
    # One of the three is known by now not to be trained.
    fewer = replace(counted, spared=lambda state: len(state.trials) - 2)
    out = io.StringIO()
    Console(file=out, width=120).print(render(fewer, state, 10.0, Clock(since=0)))
    assert "1 failed · 0 waiting" in out.getvalue()
    assert "10s so far · about 6s left" in out.getvalue()
    [line] = [line for line in text.splitlines() if line.startswith("trial-0001")]
    assert line.split()[:3] == ["trial-0001", f"2/{EPOCHS}", "0.2500"]
    assert ended_line("final_val_accuracy", record("baseline-seed0", "failed", 1)) == (
        "baseline-seed0 failed: why, 1 epochs final_val_accuracy 0.2500"
    )


def test_the_live_view_says_when_workers_start_and_keeps_to_the_time_budget() -> None:
    counted = Counted("s", "final_val_accuracy", EPOCHS, 3, 1, lambda state: "", time_budget=30.0)
    clock = Clock(since=0)
    assert clock.left(counted, ledger([]), 1.0) == " · starting workers"
    first = record("baseline-seed0", None, 2)
    # Nothing has ended yet by which to judge.
    assert clock.left(counted, ledger([first]), 2.0) == ""
    done = record("baseline-seed0", "complete")
    assert clock.left(counted, ledger([done]), 4.0) == " · starting workers"
    trials = [record(f"trial-000{n}", None, 0, role="trial") for n in range(2)]
    # Three trials of four epochs on the two workers there are.
    assert clock.left(counted, ledger([done, *trials]), 5.0) == " · about 6s left"
    assert clock.left(counted, ledger([done, *trials]), 27.0) == " · about 3s left"
    assert clock.left(counted, ledger([done, *trials]), 31.0) == " · about 0s left"


@pytest.mark.parametrize("width", [80, 130])
def test_the_time_left_has_a_line_of_its_own(width: int) -> None:
    """As a terminal of that width draws it, whose bar is as wide as what is to come."""
    counted = Counted("s", "final_val_accuracy", EPOCHS, 3, 1, lambda state: "as it stands")
    trials = [record(f"trial-000{n}", None, 0, role="trial") for n in range(2)]
    state = ledger([record("baseline-seed0", "complete"), *trials])
    out = io.StringIO()
    console = Console(file=out, width=width, height=24, force_terminal=True)
    console.print(render(counted, state, 3600.0, Clock(since=0)))
    lines = [Text.from_ansi(line).plain.rstrip() for line in out.getvalue().splitlines()]
    assert "1h00m so far · about 6s left" in lines
    assert "as it stands" in lines
    assert max(map(len, lines)) <= width


def test_the_live_view_counts_the_tuning_of_the_baseline_apart() -> None:
    counted = Counted(
        name="s",
        objective="final_val_accuracy",
        epochs=EPOCHS,
        trials=1,
        baselines=1,
        standing=lambda state: "",
        tunings=4,
    )
    tuned = [
        record("tuning-000-seed30000000", "failed", 1, role="tuning"),
        record("tuning-001-seed30000000", "complete", role="tuning"),
        record("tuning-002-seed30000000", None, 2, role="tuning"),
    ]
    now = progress(counted, ledger(tuned))
    assert headline(counted, now) == ("tuning 2/4 · baseline 0/1 · 1 running · 0 done · 1 waiting")
    assert (now.epochs_done, now.epochs_wanted) == (2 * EPOCHS + 2, 6 * EPOCHS)
    more = [record(f"tuning-01{n}-seed30000000", "failed", 1, role="tuning") for n in range(3)]
    assert progress(counted, ledger([*tuned, *more])).epochs_wanted == 8 * EPOCHS
    config = StudyConfig(tune_baseline=4)
    assert best_so_far(config, ledger(tuned)) == "the baseline is being tuned"
    begun = ledger([*tuned, record("baseline-seed0", None, 1)])
    assert best_so_far(config, begun) == "the pinned baseline is being trained"
