"""Studies side by side."""

from pathlib import Path

import pytest

from analysis.command import main
from analysis.compare import compare_studies, differing
from analysis.reading import load_study
from study.ledger import EndEvent, EpochsEvent, Ledger, StartEvent
from study.statistics import estimate
from tests.analysis.studies import TIME, TRIALS, history, write_study
from trainables.metrics import objective_value


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    write_study(folder, "one")
    write_study(folder, "two", trials=TRIALS[:2])
    write_study(folder, "begun", trials=TRIALS[3:4], seeds=1, over=False)
    return folder


def test_lines_hold_each_studys_own_result(compared: Path) -> None:
    views = [load_study(compared, name) for name in ("one", "two", "begun")]
    one, two, begun = compare_studies(views)
    assert one.best is not None
    assert one.best.trial == views[0].summary.best
    assert one.best.interval is None
    assert "no interval" in one.best.text()
    assert (one.complete, two.complete) == (4, 2)
    assert begun.best is None
    assert begun.missing
    assert "numbers of complete trials" in differing([one, two])[0]


def test_fresh_seeds_give_an_interval(tmp_path: Path) -> None:
    write_study(tmp_path, "confirmed", trials=TRIALS[1:2], seeds=4, objective=["best_val_loss"])
    view = load_study(tmp_path, "confirmed")
    config = view.train_config("trial-0000")
    name = view.config.objective[0]
    expected = []
    with Ledger(view.folder.ledger) as ledger:
        for seed in (1, 2, 3):
            fresh = config.model_copy(update={"seed": seed})
            key, rows = f"confirm-{seed}", history(fresh)
            values = fresh.model_dump(mode="json")
            ledger.append(StartEvent(key, "confirm", seed, {}, values, "", time=TIME))
            ledger.append(EpochsEvent(key, rows, time=TIME))
            ledger.append(EndEvent(key, "complete", time=TIME))
            pinned = view.baselines[seed].history
            expected.append(objective_value(name, rows) - objective_value(name, pinned))
    write_study(tmp_path, "other", trials=TRIALS[:1], seeds=1)
    best = compare_studies([load_study(tmp_path, n) for n in ("confirmed", "other")])[0].best
    assert best is not None
    assert best.seeds == 3
    assert best.mean == pytest.approx(sum(expected) / 3)
    interval = estimate(expected).t_interval
    assert interval is not None
    assert best.interval == pytest.approx((interval.low, interval.high))


def test_command(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "one", "two", "begun", "--storage", str(compared)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "best − baseline" in said.out
    assert "begun: The study is not finished" in said.err
    for words in (["one"], ["one", "one"], ["one", "tow"]):
        assert main(["compare", *words, "--storage", str(compared)]) == 2
    assert "did you mean 'two'" in capsys.readouterr().err
