"""What happens to a study when something breaks: each fault is really made."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.api import run_study, sync_study
from study.commands.study import main
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from study.tune.connect import ray_session
from tests.support.faulty_models import (
    FAILS_LATER,
    IS_A_BUG,
    KILL_AT,
    KILLS_ITS_WORKER,
    KILLS_LATER,
    LATE,
    NEEDS_TOO_MUCH,
    recorded,
)
from tests.support.servers import free_port, full_disk, locked_database, small_disk
from tests.support.study_processes import (
    check_whole,
    count,
    mlflow_runs,
    optuna_states,
    steps_in_mlflow,
    study_process,
    summary_of,
    wait_until,
)
from trainables.checkpoint import load_state
from trainables.settings import parse_config

EPOCHS = 8
STEPS = 11
"""Training steps an epoch: 360 of the 400 images are trained on."""


def weight_noise(magnitude: float) -> dict[str, Any]:
    return {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": magnitude}


GIVEN = [weight_noise(magnitude) for magnitude in (0.02, 0.05, 0.1)]


def config(storage: Path, **fields: Any) -> StudyConfig:
    values: dict[str, Any] = {
        "name": "s",
        "storage": str(storage),
        "baseline_seeds": 1,
        "max_concurrent": 2,
        "race_seeds": 1,
        "objective": "best_val_accuracy",
        "space": "adaptive_noise",
        "train": {
            "data": {
                "dataset": "synthetic",
                "synthetic_train": 400,
                "synthetic_test": 100,
                "batch_size": 32,
            },
            "epochs": EPOCHS,
            "optimizer": {"lr": 1e-4, "lr_restart_period": EPOCHS},
        },
    }
    train = values["train"] | fields.pop("train", {})
    return parse_config(StudyConfig, values | {"train": train} | fields)


@pytest.fixture(scope="module")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray for all studies here, whose workers know where to record their faults."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FAULTS", str(tmp_path_factory.mktemp("faults")))
        with ray_session(StudyConfig()):
            yield


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_workers_that_die_and_bugs_and_a_locked_database(
    tmp_path: Path, empty_database: Path
) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(empty_database, database)
    study = config(
        tmp_path,
        train={"model": {"classifier": "tests.support.faulty_models:faulty"}},
        configs=[weight_noise(m) for m in (0.05, KILLS_ITS_WORKER, IS_A_BUG, NEEDS_TOO_MUCH, 0.1)],
    )
    with locked_database(database):
        summary = run_study(study)
    # The one that was killed took up its last checkpoint, and did not begin again.
    killed = summary.trials[1]
    assert killed.state == "complete"
    assert killed.epochs == EPOCHS
    assert EPOCHS * STEPS < recorded("step") < KILL_AT + EPOCHS * STEPS
    # Bounded retries, then a reason.
    assert (recorded("bug"), recorded("memory")) == (3, 3)
    bug, memory = summary.trials[2:4]
    assert (bug.state, memory.state) == ("failed", "failed")
    assert bug.reason == "ZeroDivisionError: a bug that is always there"
    assert memory.reason is not None
    assert "CUDA out of memory" in memory.reason
    assert [trial.state for trial in (summary.trials[0], summary.trials[4])] == ["complete"] * 2
    folder = tmp_path / "s"
    assert optuna_states(folder) == ["COMPLETE", "COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    # Nothing could be sent while the database was locked; all of it is, later.
    assert all(trial.run_id is None for trial in summary.trials)
    assert sync_study(tmp_path, "s").error is None
    runs = mlflow_runs(folder)
    statuses = [runs[f"trial-{number:04d}"].info.status for number in range(5)]
    assert statuses == ["FINISHED", "FINISHED", "FAILED", "FAILED", "FINISHED"]
    assert runs["trial-0002"].data.tags["reason"] == bug.reason
    assert steps_in_mlflow(folder, runs["trial-0001"].info.run_id) == list(range(1, EPOCHS + 1))
    check_whole(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_worker_that_dies_a_bug_and_ctrl_c_in_a_race(tmp_path: Path) -> None:
    # In the search each has three noisy epochs of eleven steps, in the race the fault comes.
    study = config(
        tmp_path,
        train={"model": {"classifier": "tests.support.faulty_models:faulty"}, "epochs": 3},
        configs=[weight_noise(KILLS_LATER), weight_noise(FAILS_LATER)],
        race_seeds=4,
        max_concurrent=1,
    )
    file = tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    folder = StudyFolder.of(tmp_path, "s")
    words = ["run", "--config", str(file), "--trust", "tests.support.faulty_models:faulty"]
    with study_process(words) as process:
        wait_until(lambda: count(folder.ledger, '"role":"race"') >= 1, process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=240)
    assert process.returncode == 130, out
    check_whole(folder.path, over=False)
    summary = run_study(study)
    assert summary.race_complete
    assert (recorded("late step") > LATE, recorded("late bug")) == (True, LATE + 3)
    killed, bug = summary.trials
    assert (killed.state, bug.state) == ("complete", "complete")
    assert summary.best == "trial-0000"
    assert [run.state for run in killed.runs] == ["complete"] * 4
    assert [run.state for run in bug.runs] == ["complete", "failed"]
    [failed] = [r for r in read_ledger(folder.ledger).by_role("race") if r.state == "failed"]
    assert failed.reason == "ZeroDivisionError: a bug that comes late"
    runs = mlflow_runs(folder.path)
    assert runs[failed.key].info.status == "FAILED"
    assert {run.info.status for key, run in runs.items() if key != failed.key} == {"FINISHED"}
    check_whole(folder.path)


@pytest.fixture(scope="module")
def untracked(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a finished study whose MLflow server was away all the time."""
    storage = tmp_path_factory.mktemp("untracked")
    study = config(
        storage,
        tracking_uri=f"http://127.0.0.1:{free_port()}",
        configs=GIVEN,
        max_concurrent=1,
    )
    run_study(study)
    return storage


@pytest.mark.slow
def test_a_study_without_its_server_is_whole_and_is_sent_later(
    untracked: Path, tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "studies"
    shutil.copytree(untracked, storage)
    trials = summary_of(storage / "s")["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 3
    assert [trial["run_id"] for trial in trials] == [None] * 3
    uri = f"sqlite:///{tmp_path}/later.db"
    shutil.copy(empty_database, tmp_path / "later.db")
    sync = ["sync", "s", "--storage", str(storage), "--tracking-uri", uri]
    for _ in range(2):
        assert main(sync) == 0
        assert "MLflow has everything" in capsys.readouterr().out
        runs = mlflow_runs(storage / "s", uri)
        assert len(runs) == 1 + 1 + 3
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        for trial in summary_of(storage / "s")["trials"]:
            assert trial["run_id"] == runs[trial["trial_id"]].info.run_id
            assert steps_in_mlflow(storage / "s", trial["run_id"], uri=uri) == list(
                range(1, EPOCHS + 1)
            )
        check_whole(storage / "s", uri)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_baseline_that_fails_ends_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = config(tmp_path, configs=GIVEN, max_concurrent=1, train={"optimizer": {"lr": 1e30}})
    file = tmp_path / "study.json"
    file.write_text(study.model_dump_json())
    for _ in range(2):
        assert main(["run", "--config", str(file)]) == 1
        said = capsys.readouterr().err
        assert "baseline" in said
        assert "a smaller --lr" in said
    state = read_ledger(StudyFolder.of(tmp_path, "s").ledger)
    [baseline] = state.trials.values()
    assert (baseline.role, baseline.state) == ("baseline", "failed")
    assert mlflow_runs(tmp_path / "s")[baseline.key].info.status == "FAILED"
    check_whole(tmp_path / "s", over=False)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_no_trial_is_added_to_a_space_that_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(
        config(tmp_path, space="static_noise", trials=1, max_concurrent=1, train={"epochs": 3})
    )
    space = StudyFolder.of(tmp_path, "s").space
    whole = space.read_bytes()
    resume = ["resume", "s", "--storage", str(tmp_path), "--trials", "+1"]
    for broken in (whole[: len(whole) // 2], b'{"space": "static_noise"}'):
        space.write_bytes(broken)
        assert main(resume) == 2
        assert f"{space}: " in capsys.readouterr().err
        assert len(read_ledger(StudyFolder.of(tmp_path, "s").ledger).by_role("trial")) == 1
    space.write_bytes(whole)
    assert main(resume) == 0
    assert len(summary_of(tmp_path / "s")["trials"]) == 2
    check_whole(tmp_path / "s")


def damage(path: Path, at: float = 0.5, of: bytes = b"") -> None:
    """Change one byte of a file: the first that is ``of`` from there on."""
    content = bytearray(path.read_bytes())
    content[content.index(of, int(len(content) * at))] ^= 0x55
    path.write_bytes(content)


def without_lines(path: Path, *texts: str) -> None:
    """Damage the lines of a ledger that hold all of these texts."""
    lines = path.read_text().splitlines(keepends=True)
    hits = [n for n, line in enumerate(lines) if all(text in line for text in texts)]
    assert hits
    for number in hits:
        lines[number] = lines[number].replace('"trial":', '"trail":')
    path.write_text("".join(lines))


@pytest.mark.slow
def test_damaged_files_are_noticed_and_made_good(
    untracked: Path, tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "studies"
    shutil.copytree(untracked, storage)
    folder = StudyFolder.of(storage, "s")
    before = summary_of(folder.path)["trials"]
    # An epoch of a finished trial: its checkpoint knows it.
    without_lines(folder.ledger, '"trial":"trial-0000","rows"', '"epoch":3')
    # The end of another, and its checkpoint: it is trained again.
    without_lines(folder.ledger, '"type":"end"', '"trial":"trial-0001"')
    damage(folder.checkpoints / "trial-0001" / "final.ckpt")
    # The beginning of the third: it is run again.
    without_lines(folder.ledger, '"type":"start"', '"trial":"trial-0002"')
    with folder.ledger.open("a") as file:
        file.write('{"crc":"0000')
    # No letter of a name: its entry would be read, and be another's.
    damage(folder.journal, 0.3, b"{")
    folder.summary.write_text('{"study": ')
    shutil.copy(empty_database, tmp_path / "later.db")
    resume = ["resume", "s", "--storage", str(storage)]
    assert main([*resume, "--tracking-uri", f"sqlite:///{tmp_path}/later.db"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    summary = summary_of(folder.path)
    for now, then in zip(summary["trials"], before, strict=True):
        for name in ("trial_id", "state", "value", "metrics", "epochs"):
            assert now[name] == then[name], (now["trial_id"], name)
    notes = " ".join(summary["notes"])
    assert "the ledger's line" in notes
    assert "is damaged" in notes
    assert "made anew from the study's ledger" in notes
    assert "the ledger's line" in output
    assert optuna_states(folder.path) == ["COMPLETE"] * 3
    assert list(folder.path.glob("optuna.journal.damaged-*"))
    runs = mlflow_runs(folder.path, f"sqlite:///{tmp_path}/later.db")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for trial in summary["trials"]:
        steps = steps_in_mlflow(folder.path, trial["run_id"], uri=f"sqlite:///{tmp_path}/later.db")
        assert steps == list(range(1, EPOCHS + 1))
    state = read_ledger(folder.ledger)
    assert not any(record.lost_epochs for record in state.trials.values())
    check_whole(folder.path, f"sqlite:///{tmp_path}/later.db")


@pytest.mark.slow
def test_checkpoints_that_find_no_room_are_done_without(untracked: Path, tmp_path: Path) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    folder.path.mkdir()
    elsewhere = f"http://127.0.0.1:{free_port()}"
    with small_disk(folder.checkpoints, 1):
        # One trial has room for a checkpoint before there is no more.
        first = folder.checkpoints / "trial-0000"
        with full_disk(folder.checkpoints, since=(first / "last.ckpt").exists):
            summary = run_study(config(tmp_path, tracking_uri=elsewhere, configs=GIVEN))
            for path in folder.checkpoints.rglob("*.ckpt"):
                load_state(path)
            assert not [*folder.checkpoints.rglob(".*")]
        # MLflow was away, too.
        check_whole(folder.path, over=False)
    calm = summary_of(untracked / "s")["trials"]
    assert [trial.value for trial in summary.trials] == [trial["value"] for trial in calm]
    notes = [trial.tags.get("note", "") for trial in read_ledger(folder.ledger).by_role("trial")]
    assert all("not written (No space left on device)" in note for note in notes[1:])


@pytest.mark.slow
def test_a_full_disk_costs_what_was_not_written_and_nothing_else(
    untracked: Path, tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, file = tmp_path / "disk", tmp_path / "study.json"
    with small_disk(disk, 16):
        shutil.copy(empty_database, disk / "mlflow.db")
        file.write_text(config(disk, configs=GIVEN).model_dump_json())
        folder = StudyFolder.of(disk, "s")
        # It is full while trials train, or, on a busy machine, when they have just ended.
        with full_disk(disk, since=lambda: count(folder.ledger, '"trial":"trial-0000"') > 0):
            assert main(["run", "--config", str(file)]) == 1
        message = capsys.readouterr().err
        assert "no space left on the disk" in message
        assert f"noise-study resume s --storage {disk}" in message
        # Whatever lies there is whole.
        state = read_ledger(folder.ledger)
        assert not state.damage
        assert not folder.summary.exists() or not folder.summary.read_text()
        for path in folder.checkpoints.rglob("*.ckpt"):
            load_state(path)
        # There is room again.
        assert main(["resume", "s", "--storage", str(disk)]) == 0
        summary, calm = summary_of(folder.path), summary_of(untracked / "s")
        for now, then in zip(summary["trials"], calm["trials"], strict=True):
            for name in ("trial_id", "state", "value", "metrics", "epochs"):
                assert now[name] == then[name], (now["trial_id"], name)
        assert optuna_states(folder.path) == ["COMPLETE"] * 3
        runs = mlflow_runs(folder.path)
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        for trial in summary["trials"]:
            assert steps_in_mlflow(folder.path, trial["run_id"]) == list(range(1, EPOCHS + 1))
        check_whole(folder.path)
