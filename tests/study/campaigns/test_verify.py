"""``noise-study verify``: what is missing, doubled, different or damaged in a study's records."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as noise_analysis
from study.campaigns.confirmation import confirmation_of
from study.commands.study import main
from study.records.events import (
    EndEvent,
    EpochsEvent,
    NoteEvent,
    StartEvent,
    StudyEndEvent,
    StudyEvent,
)
from study.records.findings import checkpoint_findings
from study.records.folder import StudyFolder
from study.records.ledger import Ledger
from study.records.ledger_view import read_ledger
from study.records.race import CUT_SHORT
from tests.support.trained_studies import copied_study, write_grid, write_whole_study


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A finished study with everything that belongs to it, and its confirmation."""
    storage = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_database, storage / "mlflow.db")
    write_whole_study(storage, "whole")
    return storage


@pytest.fixture
def storage(recorded: Path, tmp_path: Path) -> Path:
    return copied_study(recorded, tmp_path / "studies")


def verify(storage: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["verify", "whole", "--storage", str(storage)])
    told = capsys.readouterr()
    assert told.err == ""
    return code, told.out.splitlines()


def test_a_whole_study_is_whole_and_stays_as_it_is(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def files() -> dict[Path, bytes]:
        paths = (path for path in (storage / "whole").rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in paths}

    before = files()
    code, lines = verify(storage, capsys)
    assert (code, lines) == (0, ["whole: whole: 12 runs, nothing missing, doubled or different"])
    assert files() == before


def study(storage: Path) -> StudyFolder:
    return StudyFolder.of(storage, "whole")


def test_damaged_settings_of_a_confirmation_hide_nothing_else(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study(storage).path / "confirm" / "confirm_config.json").write_text("{")
    study(storage).best_config.unlink()
    code, lines = verify(storage, capsys)
    assert code == 1
    assert lines[0] == "missing: best_config.json: is not there"
    assert lines[1].startswith("damaged: ")
    assert "confirm_config.json" in lines[1]


def test_a_run_that_began_after_the_ledger_was_read_is_known(storage: Path) -> None:
    before = read_ledger(study(storage).ledger, 0)
    assert before.trials == {}
    assert list(checkpoint_findings(study(storage), before, set())) == []


def database(storage: Path, text: str) -> None:
    with sqlite3.connect(storage / "mlflow.db") as connection:
        assert connection.execute(text).rowcount > 0


RUN = "(select run_uuid from runs where name = 'trial-0001')"


def drop_lines(storage: Path, text: str) -> None:
    """Take the ledger's lines that hold a text away."""
    ledger = study(storage).ledger
    lines = ledger.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if text.encode() not in line]
    assert len(kept) < len(lines)
    ledger.write_bytes(b"".join(kept))


def flip(path: Path, at: int = -40) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)


def add(storage: Path, *events: Any) -> None:
    with Ledger(study(storage).ledger) as ledger:
        for event in events:
            ledger.append(event)


def epoch_again(storage: Path, **changes: Any) -> None:
    row = read_ledger(study(storage).ledger).trials["trial-0001"].history[8]
    add(storage, EpochsEvent("trial-0001", (replace(row, **changes),)))


def end_again(storage: Path) -> None:
    record = read_ledger(study(storage).ledger).trials["trial-0001"]
    add(storage, EndEvent("trial-0001", "complete", values={**record.values, "best_val_loss": 7.0}))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def told_otherwise(storage: Path) -> None:
    journal = study(storage).journal
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    told = next(line for line in lines if line.get("trial_id") == 1 and line.get("values"))
    told["values"] = [0.123]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a byte of the ledger": (
        lambda s: flip(study(s).ledger, 4000),
        ["damaged: ledger.jsonl: the ledger's line"],
    ),
    "an epoch's line lost": (
        lambda s: drop_lines(s, '"trial":"trial-0001","rows":[{"epoch":8'),
        ["missing: trial-0001: the ledger lacks 1 epochs, from 9 on"],
    ),
    "the last epoch's line lost": (
        lambda s: drop_lines(s, '"trial":"trial-0001","rows":[{"epoch":11'),
        ["missing: trial-0001: complete, but with 11 of 12 epochs"],
    ),
    "an end lost": (
        lambda s: drop_lines(s, '"type":"end","trial":"trial-0001"'),
        [
            "missing: trial-0001: the ledger has no end of it, though the study is over",
            "different: trial-0001: ended in Optuna's journal alone",
        ],
    ),
    "a beginning lost": (
        lambda s: drop_lines(s, '"type":"start","trial":"trial-0001"'),
        [
            "missing: trial-0001: the ledger has lost its beginning",
            "different: trial-0001: Optuna's journal has it, and the ledger has not",
            "different: trial-0001: a run in MLflow that the ledger does not know",
        ],
    ),
    "an epoch twice": (
        epoch_again,
        ["doubled: trial-0001: epoch 9 is in the ledger twice"],
    ),
    "an epoch twice, with other numbers": (
        lambda s: epoch_again(s, val_loss=3.0),
        ["different: trial-0001: epoch 9 is in the ledger twice"],
    ),
    "an end twice, with other values": (
        end_again,
        [
            "doubled: trial-0001: the ledger has two ends of it",
            "different: trial-0001: best_val_loss is 7.0, by its epochs",
        ],
    ),
    "a checkpoint damaged": (
        lambda s: flip(study(s).path / "checkpoints" / "trial-0000" / "final.ckpt"),
        ["damaged: checkpoints/trial-0000/final.ckpt: damaged (its checksum does not fit)"],
    ),
    "a checkpoint gone": (
        lambda s: (study(s).path / "checkpoints" / "trial-0000" / "final.ckpt").unlink(),
        ["missing: trial-0000: its final checkpoint"],
    ),
    "a checkpoint of nobody": (
        lambda s: shutil.copytree(
            study(s).path / "checkpoints" / "trial-0000",
            study(s).path / "checkpoints" / "trial-0099",
        ),
        ["different: trial-0099: has checkpoints, and the ledger knows no such run"],
    ),
    "no journal": (
        lambda s: study(s).journal.unlink(),
        ["missing: optuna.journal: Optuna's journal is not there"],
    ),
    "half a journal": (
        lambda s: halve(study(s).journal),
        ["missing: trial-0005: Optuna"],
    ),
    "a journal that is none": (
        lambda s: study(s).journal.write_bytes(bytes(range(256))),
        ["damaged: optuna.journal"],
    ),
    "another value in the journal": (
        told_otherwise,
        ["different: trial-0001: complete, but Optuna was told COMPLETE (0.123,)"],
    ),
    "another value in the summary": (
        lambda s: edit_json(study(s).summary, lambda v: v["trials"][1].update(value=0.9)),
        ["different: summary.json: trials/1/value is not what the ledger gives"],
    ),
    "no summary": (
        lambda s: study(s).summary.unlink(),
        ["missing: summary.json: is not there"],
    ),
    "another winner": (
        lambda s: edit_json(study(s).best_config, lambda v: v["noise"].update(window=7)),
        ["different: best_config.json: noise/window is not what the ledger gives"],
    ),
    "another assumed budget": (
        lambda s: edit_json(study(s).assumed, lambda v: v.update(epochs=7)),
        ["different: best_config.assumed.json: epochs is not what the ledger gives"],
    ),
    "a run deleted in MLflow": (
        lambda s: database(
            s, "update runs set lifecycle_stage = 'deleted' where name = 'trial-0001'"
        ),
        ["missing: trial-0001: has no run in MLflow"],
    ),
    "a run that still runs in MLflow": (
        lambda s: database(s, "update runs set status = 'RUNNING' where name = 'trial-0001'"),
        ["different: trial-0001: its run in MLflow is RUNNING, but complete"],
    ),
    "the study's own run still runs": (
        lambda s: database(s, "update runs set status = 'RUNNING' where name = 'whole'"),
        ["different: the study's run in MLflow is RUNNING, but complete"],
    ),
    "a step twice in MLflow": (
        lambda s: database(
            s,
            "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) "
            "select key, value, timestamp + 5, run_uuid, step, is_nan "
            f"from metrics where run_uuid = {RUN} and key = 'val_loss' and step in (3, 4)",
        ),
        ["doubled: trial-0001: val_loss in MLflow, step 3, 4"],
    ),
    "a step that MLflow lacks": (
        lambda s: database(
            s, f"delete from metrics where run_uuid = {RUN} and key = 'val_loss' and step = 3"
        ),
        ["missing: trial-0001: val_loss in MLflow, step 3"],
    ),
    "another value in MLflow": (
        lambda s: database(
            s,
            f"update metrics set value = 9 where run_uuid = {RUN} and key = 'val_loss' "
            "and step = 3",
        ),
        ["different: trial-0001: val_loss in MLflow, step 3"],
    ),
    "a run twice in MLflow": (
        lambda s: database(
            s,
            "update tags set value = 'trial-0001' where key = 'trial_id' and value = 'trial-0002'",
        ),
        ["doubled: trial-0001: has 2 runs in MLflow", "missing: trial-0002: has no run in MLflow"],
    ),
    "in the confirmation": (
        lambda s: database(
            s,
            "update metrics set value = 9 where key = 'test_accuracy' and run_uuid = "
            "(select run_uuid from runs where name = 'trial-0000-seed2')",
        ),
        ["different: confirm: trial-0000-seed2: test_accuracy in MLflow, step 11"],
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_named(what: str, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, wanted = FAULTS[what]
    damage(storage)
    code, lines = verify(storage, capsys)
    assert code == 1
    assert lines[-1].startswith("whole: not whole: ")
    for beginning in wanted:
        assert [line for line in lines if line.startswith(beginning)], lines


@pytest.fixture(scope="module")
def recorded_grid(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    storage = tmp_path_factory.mktemp("grid")
    shutil.copy(empty_database, storage / "mlflow.db")
    write_grid(storage, "whole")
    return storage


@pytest.fixture
def grid(recorded_grid: Path, tmp_path: Path) -> Path:
    return copied_study(recorded_grid, tmp_path / "grids")


GRID_RUN = "BabyCNN-SGD-m0.9-lr0.02-s1-gaussian-seed0"
GRID_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another figure in the result": (
        lambda s: edit_json(s / "whole/experiment.json", lambda v: v["runs"][0].update(epochs=7)),
        "different: experiment.json: runs/0/epochs is not what the ledger gives",
    ),
    "half a result": (
        lambda s: halve(s / "whole/experiment.json"),
        "damaged: ",
    ),
    "no table": (
        lambda s: (s / "whole/experiment.csv").unlink(),
        "missing: experiment.csv: is not there",
    ),
    "an end lost": (
        lambda s: drop_lines(s, f'"type":"end","trial":"{GRID_RUN}"'),
        f"missing: {GRID_RUN}: the ledger has no end of it, though the study is over",
    ),
    "a step that MLflow lacks": (
        lambda s: database(
            s,
            "delete from metrics where key = 'val_loss' and step = 3 and run_uuid = "
            f"(select run_uuid from runs where name = '{GRID_RUN}')",
        ),
        f"missing: {GRID_RUN}: val_loss in MLflow, step 3",
    ),
    "another run in the result": (
        lambda s: edit_json(
            s / "whole/experiment.json", lambda v: v["runs"][0].update(run_id="0" * 32)
        ),
        "different: BabyCNN-SGD-m0.9-lr0.02-s1-baseline-seed0: the results name another run",
    ),
}


def test_a_whole_grid_is_whole(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = verify(grid, capsys)
    assert (code, lines) == (0, ["whole: whole: 6 runs, nothing missing, doubled or different"])
    assert main(["verify", "wole", "--storage", str(grid)]) == 2
    assert "did you mean 'whole'" in capsys.readouterr().err


@pytest.mark.parametrize("what", GRID_FAULTS)
def test_a_fault_of_a_grid_is_named(
    what: str, grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, wanted = GRID_FAULTS[what]
    damage(grid)
    code, lines = verify(grid, capsys)
    assert code == 1
    assert [line for line in lines if line.startswith(wanted)], lines


def test_a_grid_that_has_just_grown_is_whole(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a process leaves it that is killed before the ledger says that more is to be trained."""
    edit_json(grid / "whole/experiment_config.json", lambda v: v["lrs"].append(0.1))
    assert verify(grid, capsys)[0] == 0


def test_what_is_not_sent_yet_is_no_fault(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an interrupted study: MLflow and the journal may lack what the ledger has."""
    record = read_ledger(study(storage).ledger).trials["trial-0001"]
    start = StartEvent(
        "trial-0006", "trial", 0, record.overrides, record.config, baseline=record.baseline
    )
    config = study(storage).stored_config()
    assert config is not None
    again = StudyEvent(
        "whole", "whole", config.model_dump(mode="json"), config.objective, "?", resumed=True
    )
    add(storage, again, start, EpochsEvent("trial-0006", record.history[:3]))
    with study(storage).locked():
        code, lines = verify(storage, capsys)
    assert (code, lines[0]) == (0, "note: is being run; 1 runs are on their way")
    code, lines = verify(storage, capsys)
    assert code == 0
    assert lines[0] == "note: interrupted; 1 runs have not ended"
    assert "are not sent to MLflow yet" in lines[1]
    (storage / "mlflow.db").unlink()
    study(storage).mlflow_offset.unlink()
    (study(storage).path / "confirm" / "mlflow.offset").unlink()
    assert verify(storage, capsys)[0] == 0


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("role", ["race", "baseline"])
def test_a_race_that_the_time_budget_cut_short_is_no_fault(
    role: str, cut: bool, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in a trial's run on another seed nor in the baseline beside it."""
    record = read_ledger(study(storage).ledger).trials["trial-0001"]
    seed = 10_000_000
    key = f"{role}-seed{seed}"
    begun = StartEvent(key, role, seed, record.overrides, record.config, record.baseline)
    note = f"the time budget of 9 s {CUT_SHORT}" if cut else "-"
    rows = EpochsEvent(key, record.history[:3])
    add(storage, begun, rows, NoteEvent(None, {"note.1": note}), StudyEndEvent("complete"))
    _, lines = verify(storage, capsys)
    lost = f"missing: {key}: the ledger has no end of it, though the study is over"
    assert (lost in lines) is not cut


@pytest.mark.parametrize(
    ("role", "seed"), [("baseline", 0), ("baseline", 1), ("tuning", 30_000_000), ("trial", 0)]
)
def test_a_race_cut_short_excuses_nothing_before_it(
    role: str, seed: int, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_ledger(study(storage).ledger).trials["trial-0001"]
    key = f"{role}-of-before"
    begun = StartEvent(key, role, seed, record.overrides, record.config, "another digest")
    note = NoteEvent(None, {"note.1": f"the time budget of 9 s {CUT_SHORT}"})
    rows = EpochsEvent(key, record.history[:3])
    add(storage, begun, rows, note, StudyEndEvent("complete"))
    _, lines = verify(storage, capsys)
    assert f"missing: {key}: the ledger has no end of it, though the study is over" in lines


def test_a_run_that_lost_its_beginning_and_was_begun_again_lacks_nothing(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_ledger(study(storage).ledger).trials["trial-0001"]
    drop_lines(storage, '"type":"start","trial":"trial-0001"')
    begun = StartEvent(
        record.key, "trial", record.seed, record.overrides, record.config, record.baseline
    )
    end = EndEvent(record.key, "complete", values=record.values)
    add(storage, begun, EpochsEvent(record.key, record.history), end)
    _, lines = verify(storage, capsys)
    assert not [line for line in lines if "beginning" in line], lines


def changed_source(storage: Path) -> None:
    """As a process leaves it that was killed when it had just accepted a changed source."""

    def change(values: dict[str, Any]) -> None:
        values["code_changes"] = 1
        values["train"]["model"] |= {"classifier": "mine:net", "code": ["mine 2"]}

    edit_json(study(storage).config, change)
    study(storage).journal.unlink()


def test_an_accepted_change_of_the_source_is_no_fault(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_source(storage)
    code, lines = verify(storage, capsys)
    assert code == 0, lines
    assert any("confirm: of trials that another source was trained with" in x for x in lines)
    # A confirmation of the earlier source is none of the present one.
    assert noise_analysis(["confirm", "whole", "--storage", str(storage)]) == 2
    assert "confirmation was begun before the source of mine:net" in capsys.readouterr().err
    folder = study(storage)
    config = folder.stored_config()
    assert config is not None
    assert confirmation_of(folder, config, read_ledger(folder.ledger)) is None


def test_a_store_that_does_not_answer_is_said(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(storage / "mlflow.db") as connection:
        connection.execute("drop table runs")
    code, lines = verify(storage, capsys)
    assert code == 0
    assert any("does not answer" in line for line in lines)
