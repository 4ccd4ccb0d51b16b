"""The callback: what Tune reports is in the ledger, once; nothing it meets disturbs Tune."""

import dataclasses
import json
import logging
import math
import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import ray
from ray import tune

from study.records.events import StartEvent, StudyEvent, new_uid
from study.records.ledger_view import TrialRecord, read_ledger
from study.tune.connect import leave_ray
from study.tune.failures import failure_reason
from study.tune.ledger_callback import LedgerCallback
from tests.support.ledgers import CONFIG, DIGEST, epoch, write
from trainables.config import TrainConfig, apply_overrides
from trainables.metrics import EpochMetrics, objective_values
from trainables.noise.controller import fork_epoch
from trainables.noise.fork import annotate

BUDGET = 12
BASE = apply_overrides(CONFIG, {"epochs": BUDGET, "noise/warmup_epochs": 3})
FLAT = {
    "noise/warmup_epochs": 3,
    "noise/window": 2,
    "noise/patience": None,
    "noise/trigger_epochs": 1,
    "noise/signals": ["val_loss_plateau"],
    "noise/plateau_delta": 0.2,
}


@dataclasses.dataclass
class Trial:
    """As much of Tune's trial as the callback looks at."""

    config: dict[str, Any]
    error_file: str | None = None


def trial(key: str = "trial-0000", **overrides: Any) -> Trial:
    return Trial({"key": key, "overrides_json": json.dumps(overrides)})


def describe(config: Mapping[str, Any]) -> StartEvent:
    overrides = json.loads(config["overrides_json"])
    whole = apply_overrides(BASE, overrides)
    role = "baseline" if config["key"].startswith("baseline") else "trial"
    return StartEvent(
        key=config["key"],
        role=role,
        seed=whole.seed,
        overrides=overrides,
        config=whole.model_dump(mode="json"),
        baseline=DIGEST,
    )


def result(row: EpochMetrics, **extras: Any) -> dict[str, Any]:
    """What the Trainable reports for an epoch, with what Tune adds."""
    return {
        **row.to_dict(),
        **objective_values([row]),
        "training_iteration": row.epoch + 1,
        "start_epoch": 0,
        "time_total_s": 0.5 * (row.epoch + 1),
        "trial_id": "abc",
        "config": {"key": "trial-0000"},
        **extras,
    }


class Tune:
    """Calls the callback as Tune does."""

    def __init__(self, callback: LedgerCallback) -> None:
        self.callback = callback
        callback.setup(stop=None, num_samples=1, total_num_samples=1)

    def start(self, trial: Trial) -> None:
        self.callback.on_trial_start(0, [], trial)

    def report(self, trial: Trial, *rows: EpochMetrics, **extras: Any) -> None:
        for row in rows:
            self.callback.on_trial_result(0, [], trial, result(row, **extras))

    def complete(self, trial: Trial) -> None:
        self.callback.on_trial_complete(0, [], trial)

    def error(self, trial: Trial) -> None:
        self.callback.on_trial_error(0, [], trial)

    def end(self) -> None:
        self.callback.on_experiment_end([])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    ledger = tmp_path / "ledger.jsonl"
    write(ledger, [StudyEvent("s", new_uid(), {}, ("best_val_accuracy",))])
    return ledger


def record(path: Path, key: str = "trial-0000") -> TrialRecord:
    return read_ledger(path).trials[key]


BASELINE = [epoch(number) for number in range(BUDGET)]


def test_the_trial_schedulers_reason_is_recorded(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    tuning.callback.reasons = {"trial-0000": "beyond hope"}
    one = trial(**{"noise/patience": 3})
    tuning.start(one)
    tuning.report(one, *[epoch(number, 1) for number in range(2)])
    tuning.complete(one)
    tuning.end()
    found = record(path)
    assert (found.state, found.reason) == ("pruned", "stopped early after 2 epochs: beyond hope")


def test_a_whole_trial(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    one = trial(**{"noise/patience": 3})
    rows = [epoch(number, 1) for number in range(BUDGET)]
    tuning.start(one)
    assert record(path).state is None
    tuning.report(one, *rows)
    tuning.complete(one)
    tuning.end()
    found = record(path)
    assert found.state == "complete"
    assert found.history == tuple(rows)
    assert found.overrides == {"noise/patience": 3}
    assert TrainConfig.model_validate(found.config).noise.patience == 3
    assert found.values == objective_values(rows)
    assert found.paired_difference["best_val_accuracy"] == pytest.approx(0.001)
    assert (found.epochs_trained, found.shared_epochs, found.fork_epoch) == (BUDGET, 0, None)
    assert found.seconds == 0.5 * BUDGET
    assert tuning.callback.error is None


def test_a_trial_that_tune_ends_early_is_pruned(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    one = trial()
    tuning.start(one)
    tuning.report(one, *(epoch(number, 1) for number in range(4)))
    tuning.complete(one)
    found = record(path)
    assert found.state == "pruned"
    assert "4 epochs" in found.reason
    # Compared with the baseline after as many epochs, not with its end.
    expected = epoch(3, 1).val_accuracy - BASELINE[3].val_accuracy
    assert found.paired_difference["final_val_accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("epochs", [0, 3, BUDGET])
def test_a_trial_that_a_person_ends_is_failed_if_it_had_not_ended(path: Path, epochs: int) -> None:
    stopped: set[str] = set()
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}, stopped=stopped))
    one = trial()
    tuning.start(one)
    tuning.report(one, *(epoch(number, 1) for number in range(epochs)))
    stopped.add("trial-0000")
    tuning.complete(one)
    found = record(path)
    assert len(found.history) == epochs
    if epochs == BUDGET:
        assert (found.state, found.reason) == ("complete", "")
    else:
        assert found.state == "failed"
        assert found.reason == f"stopped by hand after {epochs} epochs"
        assert found.values == {}


@pytest.mark.parametrize("said", ["diverged: train_loss is nan in epoch 2", ""])
def test_a_trial_that_diverged_is_failed(path: Path, said: str) -> None:
    tuning = Tune(LedgerCallback(path, describe))
    one = trial()
    tuning.start(one)
    tuning.report(one, epoch(0), epoch(1))
    tuning.report(one, epoch(2, train_loss=math.nan), diverged=said)
    tuning.complete(one)
    found = record(path)
    assert found.state == "failed"
    assert found.reason == (said or "diverged in epoch 3")
    assert found.values == {}
    assert math.isnan(found.history[2].train_loss)


def test_a_baseline_has_no_difference_to_itself(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    one = trial("baseline-seed0", **{"noise/policy": "off"})
    tuning.start(one)
    tuning.report(one, *BASELINE)
    tuning.complete(one)
    assert record(path, "baseline-seed0").paired_difference == {}


def test_a_forked_trial_has_the_shared_epochs_as_its_own(path: Path) -> None:
    write_baseline(path)
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    one = trial(**FLAT)
    noise = apply_overrides(BASE, FLAT).noise
    fork = fork_epoch(BASELINE, noise, BUDGET)
    assert fork is not None
    assert fork > 3
    start = fork - 2  # the checkpoint before it
    rows = list(annotate(BASELINE, noise, BUDGET))[: fork + 1]
    tuning.start(one)
    lines = len(path.read_bytes().splitlines())
    tuning.report(one, *rows[start:], start_epoch=start)
    assert len(path.read_bytes().splitlines()) == lines + 2 + len(rows) - start
    found = record(path)
    assert found.history == tuple(rows)
    assert (found.shared_epochs, found.epochs_trained) == (start, len(rows) - start)
    assert found.tags == {"forked_from": "baseline-seed0", "fork_epoch": str(fork)}
    assert found.first_injection_epoch == fork
    tuning.complete(one)
    assert record(path).fork_epoch == fork


def test_a_trial_that_never_injects_is_the_baseline(path: Path) -> None:
    write_baseline(path)
    tuning = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    one = trial(**{**FLAT, "noise/plateau_delta": 1e-9})
    noise = apply_overrides(BASE, json.loads(one.config["overrides_json"])).noise
    assert fork_epoch(BASELINE, noise, BUDGET) is None
    rows = annotate(BASELINE, noise, BUDGET)
    tuning.start(one)
    tuning.report(one, rows[-1], start_epoch=BUDGET, done=True)
    tuning.complete(one)
    found = record(path)
    assert found.state == "complete"
    assert found.history == rows
    assert (found.shared_epochs, found.epochs_trained) == (BUDGET, 0)
    assert found.tags == {"forked_from": "baseline-seed0", "never_injected": "true"}
    assert set(found.paired_difference.values()) == {0.0}


def write_baseline(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe))
    one = trial("baseline-seed0", **{"noise/policy": "off"})
    tuning.start(one)
    tuning.report(one, *BASELINE)
    tuning.complete(one)
    tuning.end()


def test_a_resumed_trial_is_one_run_with_each_epoch_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_baseline(path)
    one = trial(**FLAT)
    noise = apply_overrides(BASE, FLAT).noise
    rows = list(annotate(BASELINE, noise, BUDGET))
    first = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    first.start(one)
    first.report(one, *rows[3:6], start_epoch=3)
    del first  # killed: nothing is ended or closed

    second = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    second.start(one)
    second.report(one, *rows[4:], start_epoch=3)
    second.complete(one)
    second.end()
    text = path.read_text()
    assert text.count('"type":"start","trial":"trial-0000"') == 1
    assert text.count('"shared":true') == 1
    found = record(path)
    assert found.history == tuple(rows)
    assert found.shared_epochs == 3
    assert found.fork_epoch == fork_epoch(BASELINE, noise, BUDGET)
    assert not caplog.records

    third = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    other = trial("trial-0001")
    third.start(other)
    third.report(other, epoch(0))
    third.report(other, epoch(0, val_loss=7.0))
    assert "epoch 1 came out differently" in caplog.text
    assert record(path, "trial-0001").history == (epoch(0),)


def test_a_kill_between_any_two_lines_loses_nothing_of_a_fork(path: Path) -> None:
    write_baseline(path)
    began = len(path.read_bytes().splitlines())
    one = trial(**FLAT)
    noise = apply_overrides(BASE, FLAT).noise
    rows = list(annotate(BASELINE, noise, BUDGET))
    first = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
    first.start(one)
    first.report(one, *rows[3:5], start_epoch=3)
    del first
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == began + 5  # the start, the fork's note, the shared epochs, two epochs

    for left in range(began, len(lines) + 1):
        path.write_bytes(b"".join(lines[:left]))
        again = Tune(LedgerCallback(path, describe, {DIGEST: BASELINE}))
        again.start(one)
        again.report(one, *rows[3:], start_epoch=3)
        again.complete(one)
        again.end()
        found = record(path)
        assert found.history == tuple(rows)
        assert found.shared_epochs == 3
        assert found.fork_epoch == fork_epoch(BASELINE, noise, BUDGET)
        assert found.tags["forked_from"] == "baseline-seed0"


def test_a_failed_trial_may_be_run_again(path: Path, tmp_path: Path) -> None:
    first = Tune(LedgerCallback(path, describe))
    one = trial()
    one.error_file = str(tmp_path / "error.txt")
    Path(one.error_file).write_text("Failure # 1\nTraceback\n  …\nMemoryError: CUDA, simulated\n\n")
    first.start(one)
    first.report(one, epoch(0))
    first.error(one)
    first.complete(one)
    assert (record(path).state, record(path).reason) == ("failed", "MemoryError: CUDA, simulated")
    first.end()
    second = Tune(LedgerCallback(path, describe))
    second.start(one)
    assert record(path).state is None
    second.report(one, *(epoch(number) for number in range(BUDGET)))
    second.complete(one)
    assert record(path).state == "complete"
    assert len(record(path).history) == BUDGET


def test_a_trial_that_fails_before_it_starts_is_on_record(path: Path) -> None:
    tuning = Tune(LedgerCallback(path, describe))
    tuning.error(trial())
    assert record(path).state == "failed"
    assert "no reason" in record(path).reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Failure # 1 (occurred at x)\nray::A\n  File y\nValueError: z\n", "ValueError: z"),
        (
            "Failure # 1 (x)\nValueError: old\nFailure # 2 (x)\n  File y\na.b.TypeError: c\n  d\n",
            "a.b.TypeError: c d",
        ),
        (
            "Failure # 1 (x)\nThe actor died unexpectedly before finishing this task.\n\tpid: 4\n",
            "The actor died unexpectedly before finishing this task.",
        ),
        ("", "failed; Tune kept no reason"),
    ],
)
def test_the_reason_is_the_error_itself(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "error.txt"
    file.write_text(text)
    assert failure_reason(Trial({}, str(file))) == reason


def test_a_missing_error_file_is_said() -> None:
    assert "can't be read" in failure_reason(Trial({}, "/nowhere/error.txt"))


def test_what_goes_wrong_is_said_once_and_never_raised(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuning = Tune(LedgerCallback(path, describe))
    one = trial()
    tuning.start(one)
    with caplog.at_level(logging.ERROR):
        # It says that it shares epochs with a baseline that nobody knows.
        tuning.report(one, epoch(5), epoch(6), start_epoch=5)
    assert isinstance(tuning.callback.error, LookupError)
    assert len(caplog.records) == 1
    tuning.report(one, epoch(0))
    assert [row.epoch for row in record(path).history] == [0]


def test_a_callback_without_a_ledger_stops_the_study_at_once(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(OSError, match="file"):
        Tune(LedgerCallback(blocked / "ledger.jsonl", describe))


def test_the_callback_pickles_before_and_after_setup(path: Path) -> None:
    callback = LedgerCallback(path, describe, {DIGEST: BASELINE})
    assert pickle.loads(pickle.dumps(callback)).path == path
    tuning = Tune(callback)
    tuning.start(trial())
    copy = pickle.loads(cloudpickle.dumps(callback))
    Tune(copy).report(trial(), epoch(0))
    assert len(record(path).history) == 1


class Rehearsed(tune.Trainable):
    """Reports made-up epochs; fails or diverges where its configuration says so."""

    def setup(self, config: dict[str, Any]) -> None:
        self.key = config["key"]
        self.epoch = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        number, self.epoch = self.epoch, self.epoch + 1
        if self.key == "trial-0001" and number == 2:
            raise RuntimeError("a bug\nin two lines")
        bad = self.key == "trial-0002" and number == 3
        row = epoch(number, val_loss=math.nan) if bad else epoch(number)
        return {**row.to_dict(), "start_epoch": 0, "done": bad or self.epoch == BUDGET}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None


class StopAfter(tune.schedulers.FIFOScheduler):  # type: ignore[misc]
    """Stops one trial early."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stop = trial.config["key"] == "trial-0003" and result["training_iteration"] == 5
        return str(self.STOP if stop else self.CONTINUE)


@pytest.fixture
def local_ray(tmp_path: Path) -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    leave_ray()
    shutil.rmtree(tmp_path / "tune", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_with_tune_itself(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    callback = LedgerCallback(path, describe)
    keys = [f"trial-{number:04d}" for number in range(4)]
    tune.Tuner(
        Rehearsed,
        param_space={"key": tune.grid_search(keys), "overrides_json": "{}"},
        tune_config=tune.TuneConfig(reuse_actors=True, scheduler=StopAfter()),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(tmp_path),
            callbacks=[callback],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
        ),
    ).fit()
    assert callback.error is None
    trials = read_ledger(path).trials
    found = {key: (trials[key].state, len(trials[key].history)) for key in keys}
    assert found == {
        "trial-0000": ("complete", BUDGET),
        "trial-0001": ("failed", 2),
        "trial-0002": ("failed", 4),
        "trial-0003": ("pruned", 5),
    }
    assert trials["trial-0001"].reason == "RuntimeError: a bug in two lines"
    assert trials["trial-0002"].reason == "diverged in epoch 4"
    assert path.read_text().count('"type":"start"') == 4
    seconds = trials["trial-0000"].seconds
    assert seconds is not None
    assert seconds > 0
