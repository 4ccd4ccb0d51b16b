"""Studies side by side."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.commands.analysis import main
from analysis.compare import compare_studies, comparison_tables, differing
from analysis.reading import StudyView, load_study
from analysis.report.sections import sections
from study.campaigns.confirm_plan import ConfirmConfig
from study.records.folder import StudyFolder
from study.records.race_summary import YardstickSummary
from study.statistics.estimate import estimate
from tests.study.records.test_race import OWN, SEARCHED, SECOND, STUDY, ledger
from tests.support.confirmations import confirmation, runs
from tests.support.runs import baseline_config
from tests.support.trained_studies import TRIALS, history, write_confirmation, write_study
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
    lines = compare_studies(views)
    one, two, begun = lines
    assert one.best is not None
    assert one.best.key == views[0].summary.best
    assert one.best.interval is None
    assert "no interval" in one.best.text()
    assert (one.complete, two.complete) == (4, 2)
    assert begun.best is None
    assert begun.missing
    assert "numbers of complete trials" in differing([one, two])[0]
    table = lines.to_frame()
    assert table["study"].tolist() == ["one", "two", "begun"]
    assert table["best"].tolist()[:2] == [one.best.key, two.best.key if two.best else None]
    assert all(sentence in lines._repr_html_() for sentence in begun.missing)


def test_fresh_seeds_give_an_interval(tmp_path: Path) -> None:
    write_study(tmp_path, "confirmed", trials=TRIALS[1:2], seeds=1, objective=["best_val_loss"])
    view = load_study(tmp_path, "confirmed")
    write_confirmation(view.folder, "trial-0000", (1, 2, 3))
    name, expected = view.config.objective[0], []
    for seed in (1, 2, 3):
        fresh = view.train_config("trial-0000").model_copy(update={"seed": seed})
        pinned = history(baseline_config(fresh))
        expected.append(objective_value(name, history(fresh)) - objective_value(name, pinned))
    write_study(tmp_path, "other", trials=TRIALS[:1], seeds=1)
    line, other = compare_studies([load_study(tmp_path, n) for n in ("confirmed", "other")])
    assert line.confirmed == "equivalent (final test accuracy, n = 3 seeds)"
    assert other.confirmed == ""
    best = line.best
    assert best is not None
    assert best.seeds == 3
    assert best.mean == pytest.approx(sum(expected) / 3)
    interval = estimate(expected).t_interval
    assert interval is not None
    assert best.interval == pytest.approx((interval.low, interval.high))


def test_what_a_confirmed_mean_leaves_out_is_counted(
    compared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = load_study(compared, "one")
    assert view.best is not None
    key, seeds = view.best.trial_id, dict.fromkeys(range(5, 11), 0.6)
    *whole, diverged = runs(key, "confirm", {**seeds, 5: None, 10: None})
    found = confirmation(
        ConfirmConfig(seeds=6, trials=(key,), first_seed=5),
        *runs("", "baseline", dict.fromkeys(seeds, 0.5)),
        *whole,
        replace(diverged, reason="diverged in epoch 3"),
    )
    monkeypatch.setattr("analysis.compare.confirmation_of", lambda *_: found)
    line, _ = compare_studies([view, load_study(compared, "two")])
    assert line.confirmed == (
        "undecided, it collapsed where the baseline did not (final test accuracy, n = 4 seeds); "
        "collapsed on 1 of 6; lost on 1 of 6"
    )
    (result, *_) = comparison_tables([line, line])
    assert line.confirmed in result.columns[1]._cells


def test_a_race_gives_its_interval_and_what_luck_shows(compared: Path, tmp_path: Path) -> None:
    state = ledger(*SEARCHED, *SECOND, *OWN)
    study = STUDY.model_copy(update={"space": "static_noise"})
    raced = StudyView(StudyFolder.of(tmp_path, "raced"), study, state)
    lines = compare_studies([raced, load_study(compared, "begun")])
    best = lines[0].best
    assert best is not None
    assert (best.seeds, best.mean) == (2, pytest.approx(0.375))
    # Student's t with one degree of freedom: 12.706 · 0.125.
    assert best.text() == "+0.3750 [-1.2133, +1.9633] (n = 2 seeds)"
    luck = YardstickSummary(
        expected_best_without_effect=0.25, observed=0.5, sentence="", share=0.125
    )
    told = [replace(lines[0], yardstick=luck), lines[1]]
    table = comparison_tables(told)[0]
    labels, cells = (list(column.cells) for column in table.columns[:2])
    shown = dict(zip(labels, cells, strict=True))
    assert shown["luckiest without effect"] == (
        "+0.2500 (+0.5000 shown, as much as 12.5% of such races)"
    )
    assert "best trial" in shown


def test_what_shares_the_best_figure_is_first_and_not_best(compared: Path, tmp_path: Path) -> None:
    write_study(tmp_path, "tied", trials=TRIALS[:1] * 2)
    write_study(tmp_path, "alone", trials=TRIALS[:1])
    lines = compare_studies([load_study(tmp_path, name) for name in ("tied", "alone")])
    cells = [list(column.cells) for column in comparison_tables(lines)[0].columns]
    place = cells[0].index("first trial")
    assert [column[place] for column in cells[1:]] == [
        "trial-0000 (of 2 that share the best figure)",
        "trial-0000",
    ]


def test_command(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "one", "two", "begun", "--storage", str(compared)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "t − baseline" in said.out
    assert "begun: The study is not finished" in said.err
    for words in (["one"], ["one", "one"], ["one", "tow"]):
        assert main(["compare", *words, "--storage", str(compared)]) == 2
    assert "did you mean 'two'" in capsys.readouterr().err


def test_the_report_gives_a_confirmations_verdict_first(tmp_path: Path) -> None:
    write_study(tmp_path, "confirmed", trials=TRIALS[1:2], seeds=1)
    view = load_study(tmp_path, "confirmed")
    (before,) = [part for part in sections(view) if part.key == "verdict"]
    assert before.card is not None
    assert before.card.word == "not confirmed"
    assert not any("test accuracy" in line for line in before.details)
    write_confirmation(view.folder, "trial-0000", (1, 2, 3))
    (verdict,) = [part for part in sections(view) if part.key == "verdict"]
    # The same test accuracy on each seed: there is nothing to see, and nothing is claimed.
    said = "trial-0000, final test accuracy beside the baseline: equivalent"
    assert said in verdict.details[0]
    assert verdict.card is not None
    assert verdict.card.word == "no difference"


STATES = {
    "empty": {"seeds": 0, "trials": ()},
    "baseline_only": {"seeds": 1, "trials": ()},
    "nothing_complete": {"seeds": 1, "trials": TRIALS[3:5]},
}


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unfinished")
    for name, what in STATES.items():
        write_study(folder, name, over=False, **what)
    write_study(folder, "whole", trials=TRIALS[:1], seeds=1)
    return folder


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["report", "NAME", "--no-pictures"], 0),
        (["export", "NAME"], 0),
        (["export", "NAME", "--register", "model"], 2),
        (["export", "NAME", "--pareto"], 2),
        (["compare", "NAME", "whole"], 0),
        (["confirm", "NAME"], 2),
        (["preview", "NAME", "--no-picture"], 0),
        (["shares", "NAME", "--n", "20"], 0),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_command_says_what_is_there_and_what_is_missing(
    name: str,
    words: list[str],
    code: int,
    unfinished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [name if word == "NAME" else word for word in words]
    where = ["--storage", str(unfinished), "--tracking-uri", f"sqlite:///{unfinished}/none.db"]
    if name == "empty" and words[0] in {"preview", "shares"}:
        code = 2  # they ask what settings would do on the baseline, of which there is none
    assert main([*command, *where]) == code
    said = capsys.readouterr()
    if code:
        assert len(said.err.strip().splitlines()) == 1
        assert name in said.err or "--pareto" in said.err
    elif words[0] in {"report", "export", "compare"}:
        assert "is not finished" in said.err
        assert "No trial is complete yet" in said.err
    assert not (unfinished / "none.db").exists(), "a look makes no database"
