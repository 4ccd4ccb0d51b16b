"""Every file of a study's folder, damaged in every way, under every command: one message, or right.

A command may do its work, or refuse with one message (exit code 2) that names the file. What it may
never do is end with an error that nobody foresaw.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

from analysis.commands.analysis import main as analysis
from search_spaces.calibration import CalibratedSpace
from study.campaigns.search_parts import searcher_that_fits
from study.campaigns.session import Session
from study.commands.study import main as study
from study.records.folder import StudyFolder
from tests.support.trained_studies import TRIALS, copied_study, write_whole_study
from trainables.checkpoint import load_state, save_state
from trainables.errors import InputError


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    storage = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_database, storage / "mlflow.db")
    # Two that are complete, one stopped early, one that failed.
    write_whole_study(storage, "whole", trials=(*TRIALS[:2], *TRIALS[3:5]))
    shutil.copytree(storage / "whole", storage / "other")
    other = storage / "other" / "study.json"
    other.write_text(other.read_text().replace('"name": "whole"', '"name": "other"'))
    return storage


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def unreadable(path: Path) -> None:
    """Also for root: a link to itself."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "{}": lambda path: path.write_text("{}"),
    "half": half,
    "garbage": lambda path: path.write_bytes(os.urandom(300) + b"\xff\xfe\n\x00"),
    "a folder": a_folder,
    "unreadable": unreadable,
}
FILES = (
    "study.json",
    "space.json",
    "ledger.jsonl",
    "optuna.journal",
    "summary.json",
    "best_config.json",
    "best_config.assumed.json",
    "mlflow.offset",
    "lock",
    "checkpoints/trial-0000/final.ckpt",
    "confirm/ledger.jsonl",
    "confirm/confirm_config.json",
    "confirm/mlflow.offset",
)
NAMED = ["whole", "--storage", "."]
COMMANDS: tuple[tuple[Callable[[Any], int], list[str]], ...] = (
    (study, ["list", "--storage", "."]),
    (study, ["verify", *NAMED]),
    (study, ["sync", *NAMED]),
    (study, ["clean", *NAMED]),
    (study, ["confirm", *NAMED, "--top", "1", "--seeds", "2"]),
    (study, ["resume", *NAMED]),
    (analysis, ["report", *NAMED, "--no-pictures"]),
    (analysis, ["export", *NAMED, "--out", "exported"]),
    (analysis, ["compare", "whole", "other", "--storage", "."]),
    (analysis, ["confirm", *NAMED, "--out", "confirmed"]),
    (analysis, ["preview", *NAMED, "--no-picture"]),
    (analysis, ["shares", *NAMED, "--n", "5"]),
)


@pytest.fixture(autouse=True)
def _no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a damaged study may go on with is rehearsed elsewhere, by studies that really do."""

    def train(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("study.tune.lost_ray.watched_ray", train)


@pytest.mark.parametrize("part", ["best_weights", "model"])
def test_a_checkpoint_that_lacks_a_part_is_one_message(
    part: str,
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    storage = copied_study(recorded, tmp_path / "studies")
    monkeypatch.chdir(storage)
    shutil.rmtree("whole/confirm")
    shutil.copytree("whole/checkpoints/trial-0000", "whole/checkpoints/trial-0001")
    for path in Path("whole/checkpoints").glob("*/final.ckpt"):
        state = load_state(path)
        del state[part]
        save_state(path, state)
    assert analysis(["report", *NAMED, "--no-pictures"]) == 0
    page = Path("whole/report.html").read_text()
    assert f"not the checkpoint of a run, lacks {part}" in page
    capsys.readouterr()
    register = ["--register", "winner", "--force"]
    assert analysis(["export", *NAMED, "--out", "exported", *register]) == 2
    # The line before it says that a trial failed.
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"not the checkpoint of a run, lacks {part}" in told
    assert not Path("exported").exists()


_QUICK = {
    *((file, "half") for file in ("study.json", "space.json", "ledger.jsonl")),
    *((file, "a folder") for file in ("summary.json", "ledger.jsonl")),
    ("space.json", "{}"),
    ("confirm/ledger.jsonl", "missing"),
}
"""All of the matrix takes minutes; these have fallen before."""


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param(file, damage, marks=() if (file, damage) in _QUICK else pytest.mark.slow)
        for file in FILES
        for damage in DAMAGES
    ],
)
def test_no_command_falls_over_a_damaged_file(
    file: str,
    damage: str,
    *,
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, (main, words) in enumerate(COMMANDS):
        storage = copied_study(recorded, tmp_path / str(number))
        monkeypatch.chdir(storage)
        path = storage / "whole" / file
        if not path.exists():
            path.touch()
        DAMAGES[damage](path)
        code = main(words)
        told = capsys.readouterr()
        said = f"{words[0]}: {told.out}{told.err}"
        assert "unexpected error" not in said, said
        assert "Traceback" not in said, said
        assert code in {0, 1, 2, 130}, said
        if code == 2:
            # Other lines are warnings, about what is made good.
            refusals = [line for line in told.err.splitlines() if line.startswith("noise-")]
            assert len(refusals) == 1, said
            # Where the study is not seen any more, or has no run, that is what is said.
            named = (Path(file).name, file.split("/", maxsplit=1)[0], "whole")
            assert any(name in told.err for name in named), said
        shutil.rmtree(storage)


def test_a_space_that_lacks_what_was_tried_is_one_message(recorded: Path, tmp_path: Path) -> None:
    folder = StudyFolder.of(copied_study(recorded, tmp_path / "studies"), "whole")
    config = folder.stored_config()
    assert config is not None
    # As if it were another study's: no trial of this one was drawn from it.
    space = CalibratedSpace({"noise/signals": CategoricalDistribution(("overfitting",))})
    folder.journal.unlink()
    with pytest.raises(InputError, match=r"space.json: a recorded trial lies outside"):
        searcher_that_fits(config, Session(folder, config, None), space)
