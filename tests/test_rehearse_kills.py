"""What the rehearsal of kills compares, draws and counts; the kills take too long here."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

from study.campaigns.experiment_grid import check_experiment
from study.commands.experiment import read_experiment
from study.records.events import EndEvent, EpochsEvent
from study.records.ledger import Ledger
from study.records.ledger_view import read_ledger
from tests.rehearse_kills import (
    EPOCHS,
    GRID,
    MIXES,
    MOST_SECONDS,
    Place,
    drawn,
    recorded_runs,
    unequal,
)
from tests.support.trained_studies import Planned, write_study


def test_every_run_that_differs_is_named(tmp_path: Path) -> None:
    write_study(tmp_path / "calm", "s", trials=(Planned({}), Planned({}, "pruned", 4)), seeds=1)
    shutil.copytree(tmp_path / "calm", tmp_path / "killed")
    calm, killed = Place(tmp_path / "calm", "grid"), Place(tmp_path / "killed", "grid")
    wished = recorded_runs(calm)
    assert set(wished) == {"s/baseline-seed0", "s/trial-0000", "s/trial-0001"}
    assert unequal(wished, recorded_runs(killed)) == []
    ledger = killed.folder / "ledger.jsonl"
    first = read_ledger(ledger).trials["trial-0000"]
    with Ledger(ledger) as file:
        file.append(EndEvent("trial-0000", "complete", values={**first.values, "best_val_loss": 7}))
        file.append(EpochsEvent("trial-0001", (replace(first.history[5], val_loss=3.0),)))
    assert unequal(wished, recorded_runs(killed)) == ["s/trial-0000", "s/trial-0001"]
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if "baseline-seed0" not in line))
    assert "s/baseline-seed0" in unequal(wished, recorded_runs(killed))


def test_moments_come_one_after_another_within_the_study() -> None:
    early = 0
    for seed in range(50):
        moments = drawn(random.Random(seed), 40, 5)
        assert moments == drawn(random.Random(seed), 40, 5)
        lines = [moment.lines for moment in moments if moment.lines is not None]
        assert lines == sorted(lines)
        assert all(1 <= line < 40 for line in lines)
        assert len(moments) == 5
        early += 5 - len(lines)
        assert all(0 <= moment.seconds <= MOST_SECONDS for moment in moments)
    assert 10 < early < 40


def test_each_mix_is_a_command_line_that_says_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GRID))
    for mix in MIXES:
        for words in Place(tmp_path, mix).commands():
            assert words[0] in {"run", "confirm", "experiment"}
            assert str(tmp_path) in words
            if words[0] == "experiment":
                config, _ = read_experiment(words[1:])
                assert check_experiment(config).train.epochs == EPOCHS
