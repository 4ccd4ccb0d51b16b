"""A study goes on: by name, extended, after Ctrl-C, after kills. Real processes, real signals."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from study.campaigns.resume import resumed
from study.checks import check_study
from study.commands.run import resumed_config
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.tune.connect import ray_session
from tests.support.study_processes import (
    PATIENCE,
    ROOT,
    alive,
    check_whole,
    count,
    family,
    mlflow_runs,
    optuna_states,
    study_process,
    summary_of,
    wait_until,
)
from trainables.errors import InputError
from trainables.settings import parse_config

EPOCHS = 10
TELL = 6  # Optuna's journal: a trial's state and values are set
BASE = (
    *("--dataset", "synthetic", "--synthetic-train", "2000", "--synthetic-test", "100"),
    *("--synthetic-noise", "8", "--batch-size", "32", "--lr", "0.02", "--epochs", str(EPOCHS)),
    # Which trials are stopped early depends on their order, which kills change.
    *("--baseline-seeds", "1", "--max-concurrent", "1", "--no-early-stopping"),
    *("--race-seeds", "1", "--objective", "best_val_accuracy"),
)
TWO_AT_ONCE = ("--max-concurrent", "2")
EAGER = {"noise/window": 2, "noise/trigger_epochs": 1, "noise/grad_plateau_threshold": 10.0}
GIVEN: tuple[dict[str, Any], ...] = (
    {**EAGER, "noise/warmup_epochs": 3, "noise/magnitude_min": 0.5},
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.05},
    # Needs more epochs without progress than there are: it is the baseline.
    {"noise/window": 2, "noise/trigger_epochs": 1, "noise/signals": ["stuck"],
     "noise/patience": 7, "noise/warmup_epochs": 0},
    {**EAGER, "noise/warmup_epochs": 6, "noise/magnitude_min": 1.0},
)  # fmt: skip


def run_words(storage: Path, name: str) -> list[str]:
    """The command that runs the given configurations."""
    configs = storage / "configs.json"
    configs.write_text(json.dumps(GIVEN))
    return ["run", "--name", name, "--storage", str(storage), "--configs", str(configs), *BASE]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """One Ray for all studies in this process: starting it takes longest."""
    with ray_session(StudyConfig()):
        yield


@pytest.fixture(scope="module")
def undisturbed(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The trials of the given configurations when nothing happens to their study."""
    storage = tmp_path_factory.mktemp("undisturbed")
    assert main(run_words(storage, "calm")) == 0
    return comparable(summary_of(storage / "calm"))


def comparable(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What does not depend on how often a study was interrupted."""
    kept = ("trial_id", "state", "seed", "value", "paired_difference", "epochs", "overrides",
            "first_injection_epoch", "never_injected", "metrics")  # fmt: skip
    return [{name: trial[name] for name in kept} for trial in summary["trials"]]


def check_consistent(folder: Path, undisturbed: list[dict[str, Any]]) -> None:
    """Every trial is there once, with its values, in the summary, in Optuna and in MLflow."""
    assert comparable(summary_of(folder)) == undisturbed
    assert optuna_states(folder) == ["COMPLETE"] * len(GIVEN)
    check_whole(folder)
    keys = [f"trial-{number:04d}" for number in range(len(GIVEN))]
    assert sorted(mlflow_runs(folder)) == ["", "baseline-seed0", *keys]


def in_flight(folder: Path) -> list[Path]:
    """The newest checkpoint of each trial that was begun and has not ended, if it has one."""
    trials = read_ledger(folder / "ledger.jsonl").by_role("trial")
    newest = [folder / "checkpoints" / t.key / "last.ckpt" for t in trials if not t.finished]
    return [path for path in newest if path.exists()]


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    """Leave the last bytes of a file away."""
    content = path.read_bytes()
    path.write_bytes(content[:-size])


@pytest.mark.slow
def test_killed_five_times_it_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    words, folder = [*run_words(tmp_path, "hunted"), *TWO_AT_ONCE], tmp_path / "hunted"
    moments, kills = random.Random(1), 0
    # The last time, while a trial is on its way and has a checkpoint.
    while kills < 5 or not in_flight(folder):
        began = count(folder / "ledger.jsonl", '"type":"study"')
        with study_process(words) as process:
            wait_until(
                lambda: count(folder / "ledger.jsonl", '"type":"study"') > began,  # noqa: B023
                process,
            )
            epochs = count(folder / "ledger.jsonl", '"type":"epochs"') + moments.randint(0, 6)
            wait_until(
                lambda: count(folder / "ledger.jsonl", '"type":"epochs"') >= epochs,  # noqa: B023
                process,
            )
            time.sleep(moments.uniform(0, 0.3))
            everyone = family(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        wait_until(lambda: not alive(everyone))  # noqa: B023
        kills += 1
    # And what a power failure may leave besides.
    damaged = in_flight(folder)[0]
    flip_a_byte(damaged)
    for name in ("optuna.journal", "ledger.jsonl"):
        cut(folder / name, 7)
    assert main(["resume", "hunted", "--storage", str(tmp_path)]) == 0
    check_consistent(folder, undisturbed)
    state = read_ledger(folder / "ledger.jsonl")
    assert state.study is not None
    assert state.study.resumed == kills
    assert f"{damaged}: damaged" in state.trials[damaged.parent.name].tags["note"]
    assert any("an unfinished last entry" in note for note in summary_of(folder)["notes"])
    assert not any(record.lost_epochs for record in state.trials.values())


def one_by_one(
    storage: Path, magnitudes: Sequence[float], *words: str
) -> Callable[[str], list[str]]:
    """A study's name → its command: static weight noise on easy images, one trial at a time."""
    noise = {"noise/policy": "always", "noise/kind": "weight"}
    configs = storage / "static.json"
    configs.write_text(json.dumps([noise | {"noise/magnitude": m} for m in magnitudes]))
    easy = ("--synthetic-noise", "1", "--synthetic-train", "1000")
    where = ("--storage", str(storage), "--configs", str(configs))
    return lambda name: ["run", "--name", name, *where, *words, *easy]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_early_stopping_goes_on_where_it_was(tmp_path: Path) -> None:
    """One trial at a time: which ones are stopped early then depends on the rungs alone."""
    asha = ("--early-stopping", "--grace-epochs", "2", "--reduction-factor", "2")
    words = one_by_one(tmp_path, (0.01, 0.6, 0.7, 0.8, 0.05), *BASE, *asha)
    assert main(words("calm")) == 0
    calm = summary_of(tmp_path / "calm")["trials"]
    stopped = [trial["trial_id"] for trial in calm if trial["state"] == "pruned"]
    assert stopped == ["trial-0003"]
    ledger = tmp_path / "killed" / "ledger.jsonl"
    with study_process(words("killed")) as process:
        # Past the rung at which the next one will be stopped, by what the first three did there.
        wait_until(lambda: count(ledger, '"trial":"trial-0002","rows"') > 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert "trial-0003" not in read_ledger(ledger).trials
    assert main(["resume", "killed", "--storage", str(tmp_path)]) == 0
    assert comparable(summary_of(tmp_path / "killed")) == comparable(summary_of(tmp_path / "calm"))
    check_whole(tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_trials_beyond_hope_stop_before_a_kill_and_after_it(tmp_path: Path) -> None:
    """Destroying noise is given up in its first epoch once five trials are complete.

    The second is complete: nothing was known then, and its exploded loss counts as a guess.
    """
    strong, weak = (3.0, 2.0, 1.0), (0.01, 0.02, 0.03, 0.04)
    order = (weak[0], strong[0], *weak[1:], strong[1], 0.2, strong[2])
    paired = ("--early-stopping", "--early-stopping-rule", "paired", "--race-seeds", "2")
    base = tuple("tail_val_loss" if word == "best_val_accuracy" else word for word in BASE)
    words = one_by_one(tmp_path, order, *base, *paired)
    assert main(words("calm")) == 0
    summary = summary_of(tmp_path / "calm")
    stopped = {t["trial_id"]: t["epochs"] for t in summary["trials"] if t["state"] == "pruned"}
    assert stopped == {"trial-0005": 1, "trial-0007": 1}
    # The best of the search comes after the first that was stopped, and is kept.
    complete = [trial for trial in summary["trials"] if trial["state"] == "complete"]
    assert min(complete, key=lambda trial: trial["value"])["trial_id"] == "trial-0006"
    state = read_ledger(tmp_path / "calm" / "ledger.jsonl")
    # One that was stopped does not race; none of the others' runs was stopped.
    raced = {record.key.rpartition("-seed")[0]: record.state for record in state.by_role("race")}
    assert set(raced.values()) == {"complete"}
    assert not raced.keys() & stopped.keys()
    for key in stopped:
        assert "still to gain by" in state.trials[key].reason
    assert optuna_states(tmp_path / "calm") == [
        "PRUNED" if f"trial-{number:04d}" in stopped else "COMPLETE" for number in range(8)
    ]

    ledger = tmp_path / "killed" / "ledger.jsonl"
    with study_process(words("killed")) as process:
        # One has been stopped, and another will be, by what the ledger has of the first five.
        wait_until(lambda: count(ledger, '"trial":"trial-0006","rows"') > 3, process)
        os.killpg(process.pid, signal.SIGKILL)
    assert "trial-0007" not in read_ledger(ledger).trials
    assert main(["resume", "killed", "--storage", str(tmp_path)]) == 0
    assert comparable(summary_of(tmp_path / "killed")) == comparable(summary)
    again = read_ledger(ledger)
    assert {k: again.trials[k].reason for k in stopped} == {
        k: state.trials[k].reason for k in stopped
    }
    check_whole(tmp_path / "killed")


TURNED = """
import os, time

real, real_ns = time.time, time.time_ns

def back():
    return 3600 if os.path.exists(os.environ["CLOCK_IS_BACK"]) else 0

time.time = lambda: real() - back()
time.time_ns = lambda: real_ns() - back() * 10**9
"""
"""Each Python process imports it as it starts: from a moment on its clock is an hour slow."""


@pytest.mark.slow
def test_a_clock_that_is_set_back_by_an_hour_changes_nothing(
    tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    words, folder, turned = run_words(tmp_path, "turned"), tmp_path / "turned", tmp_path / "back"
    (tmp_path / "sitecustomize.py").write_text(TURNED)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "CLOCK_IS_BACK": str(turned)}
    with study_process(words, environment) as process:
        wait_until(
            lambda: count(folder / "ledger.jsonl", '"trial":"trial-0000","rows"') >= 3, process
        )
        turned.touch()
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    times = [json.loads(x)["time"] for x in (folder / "ledger.jsonl").read_text().splitlines()]
    assert min(b - a for a, b in pairwise(times)) < -3_000_000
    check_consistent(folder, undisturbed)
    assert all(r.info.start_time <= r.info.end_time for r in mlflow_runs(folder).values())
    with StudyFolder.of(tmp_path, "turned").locked():
        pass


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_twice_at_once_and_a_second_process_is_refused(
    tmp_path: Path, undisturbed: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words, folder = [*run_words(tmp_path, "stopped"), *TWO_AT_ONCE], tmp_path / "stopped"
    ledger = folder / "ledger.jsonl"
    with study_process(words) as process:
        # The second process is refused early on: it takes a while, and trials are to be left.
        wait_until(lambda: count(ledger, '"type":"study"') > 0, process)
        assert main(words) == 2
        message = capsys.readouterr().err
        assert f"is being run by process {process.pid} on" in message
        wait_until(lambda: count(ledger, '"trial":"trial-0000","rows"') >= 3, process)
        everyone = family(process.pid)
        # As a terminal does: the signal goes to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
    assert f"noise-study resume stopped --storage {tmp_path}" in output
    assert "Traceback" not in output
    wait_until(lambda: not alive(everyone))
    assert set(optuna_states(folder)) <= {"COMPLETE", "WAITING"}
    assert "WAITING" in optuna_states(folder)
    statuses = {key: run.info.status for key, run in mlflow_runs(folder).items()}
    assert set(statuses.values()) <= {"FINISHED", "KILLED"}
    assert statuses[""] == "KILLED"
    epochs = count(ledger, '"trial":"trial-')
    assert (folder / "summary.json").exists()

    with study_process(["resume", "stopped", "--storage", str(tmp_path)]) as process:
        wait_until(lambda: count(ledger, '"trial":"trial-') > epochs, process)
        everyone = family(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
    wait_until(lambda: not alive(everyone))

    assert main(["resume", "stopped", "--storage", str(tmp_path)]) == 0
    check_consistent(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_finished_study_is_complete_and_can_be_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [*BASE, "--synthetic-train", "400", "--space", "static_noise"]
    words = ["run", "--name", "grows", "--storage", str(tmp_path), *tiny]
    assert main([*words, "--trials", "2"]) == 0
    folder = tmp_path / "grows"
    first = summary_of(folder)["trials"]
    assert main(["resume", "grows", "--storage", str(tmp_path)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert summary_of(folder)["trials"] == first

    # Killed between the ledger's last line of a trial and Optuna: a resume tells it, and trains
    # nothing.
    journal = folder / "optuna.journal"
    before = journal.read_bytes().splitlines(keepends=True)
    told = [number for number, line in enumerate(before) if json.loads(line)["op_code"] == TELL]
    journal.write_bytes(b"".join(before[: told[-1]]))
    assert "RUNNING" in optuna_states(folder)
    assert main(["resume", "grows", "--storage", str(tmp_path)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert "RUNNING" not in optuna_states(folder)
    check_whole(folder)

    assert main(["resume", "grows", "--storage", str(tmp_path), "--trials", "+2"]) == 0
    assert main([*words, "--trials", "5"]) == 0
    trials = summary_of(folder)["trials"]
    assert trials[:2] == first
    assert [trial["trial_id"] for trial in trials] == [f"trial-{n:04d}" for n in range(5)]
    assert len({json.dumps(trial["overrides"]) for trial in trials}) == 5
    assert set(optuna_states(folder)) <= {"COMPLETE", "PRUNED"}
    assert len(mlflow_runs(folder)) == 1 + 1 + 5
    assert resumed(tmp_path, "grows", {}).trials == 5
    check_whole(folder)


def stored(storage: Path, **fields: Any) -> StudyConfig:
    """A study of which only the configuration is there."""
    config = check_study(
        parse_config(StudyConfig, {"name": "kept", "storage": str(storage), **fields})
    )
    folder = StudyFolder.of(storage, "kept")
    folder.path.mkdir(parents=True)
    folder.write_config(config)
    return config


def words_of(storage: Path, *more: str) -> Sequence[str]:
    return ["kept", "--storage", str(storage), *more]


def test_resume_takes_the_stored_settings_and_those_that_may_change(tmp_path: Path) -> None:
    config = stored(tmp_path, trials=16, max_failures=1)
    assert resumed_config(words_of(tmp_path)) == config
    changed = resumed_config(words_of(tmp_path, "--trials", "+50", "--max-concurrent", "1"))
    assert (changed.trials, changed.max_concurrent, changed.max_failures) == (66, 1, 1)
    assert resumed_config(words_of(tmp_path, "--trials", "20", "--time-budget", "9")).trials == 20


def test_a_folder_that_was_moved_goes_on_where_it_is(tmp_path: Path) -> None:
    stored(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert resumed_config(words_of(tmp_path / "new")).storage == str(tmp_path / "new")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trials", "+many"], "trials (--trials) = '+many'"),
        (["--trials", "0"], "trials = '0'"),
        (["--lr", "0.1"], "--lr: no such option"),
        (["--threads", "2"], "--threads: no such option"),
    ],
)
def test_resume_refuses(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    assert main(["resume", *words_of(tmp_path, *more)]) == 2
    assert said in capsys.readouterr().err


def test_resume_names_the_nearest_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path)
    assert main(["resume", "kebt", "--storage", str(tmp_path)]) == 2
    assert "did you mean 'kept'" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["train/threads", "train/device", "train/precision", "sampler"])
def test_what_changes_numbers_may_not_change(path: str, tmp_path: Path) -> None:
    stored(tmp_path)
    value = {"threads": 2, "device": "mps", "precision": "bf16", "sampler": "random"}[
        path.rpartition("/")[2]
    ]
    with pytest.raises(InputError, match=path):
        resumed(tmp_path, "kept", {path: value})


def test_given_configurations_have_an_end(tmp_path: Path) -> None:
    stored(tmp_path, configs=GIVEN, train={"epochs": EPOCHS})
    with pytest.raises(InputError, match="a list of 4 given configurations"):
        resumed(tmp_path, "kept", {}, more_trials=5)


def test_a_secret_is_not_stored_and_is_asked_for_again(tmp_path: Path) -> None:
    stored(tmp_path, tracking_uri="https://me:hidden@tracker.example/x")
    assert "hidden" not in (tmp_path / "kept" / "study.json").read_text()
    with pytest.raises(InputError, match="--tracking-uri"):
        resumed(tmp_path, "kept", {})
    again = resumed(tmp_path, "kept", {"tracking_uri": "https://me:hidden@tracker.example/x"})
    assert again.tracking_uri == "https://me:hidden@tracker.example/x"


def test_run_does_not_add_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--storage", str(tmp_path), "--trials", "+5"]) == 2
    assert "resume NAME --trials +N" in capsys.readouterr().err


def test_a_damaged_study_file_is_replaced_by_what_the_ledger_has(tmp_path: Path) -> None:
    from study.records.events import StudyEvent
    from study.records.ledger import Ledger

    config = stored(tmp_path)
    folder = StudyFolder.of(tmp_path, "kept")
    folder.config.write_text('{"name": "ke')
    with pytest.raises(InputError, match="not valid JSON"):
        resumed(tmp_path, "kept", {})
    with Ledger(folder.ledger) as ledger:
        ledger.append(StudyEvent("kept", "uid", config.model_dump(mode="json")))
    assert resumed(tmp_path, "kept", {}) == config


def test_a_dead_holders_lock_is_taken_over(tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "kept")
    folder.path.mkdir()
    folder.lock.write_text("process 4711 on elsewhere, which was killed, and had a long name")
    with folder.locked():
        assert folder.lock.read_text().startswith(f"process {os.getpid()} on")
        with pytest.raises(InputError, match=f"process {os.getpid()} on"), folder.locked():
            pass
    with folder.locked():
        pass
