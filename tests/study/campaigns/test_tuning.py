"""Tuning the baseline: which runs, which setting wins, and that it survives what may happen."""

import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.reading import load_study
from analysis.report.figures import cost
from analysis.report.sections import sections
from study.campaigns.tuning import (
    Setting,
    chosen_setting,
    missing_runs,
    settings,
    tuning_note,
    tuning_phases,
)
from study.commands.run import study_config
from study.commands.study import main
from study.config import StudyConfig
from study.config_changes import as_asked, as_tuned
from study.errors import StudyFailedError
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, TrialRecord, read_ledger
from study.tune.connect import ray_session
from tests.support.ledgers import epoch
from tests.support.study_processes import (
    alive,
    check_whole,
    count,
    family,
    mlflow_runs,
    study_process,
    summary_of,
    wait_until,
)
from trainables.settings import LARGEST, parse_config

FIRST, SECOND = 30_000_000, 30_000_001
CLASSES = [str(number) for number in range(10)]


def asked(runs: int = 12, **fields: Any) -> StudyConfig:
    values = {"tune_baseline": runs, "objective": "best_val_accuracy", **fields}
    return parse_config(StudyConfig, values)


def record(
    setting: Setting, seed: int, value: float | None, *, loss: float = 1.0, train: float = 1.0
) -> TrialRecord:
    """A tuning run that ended with a value of the objective, or failed."""
    figures = {"best_val_accuracy": value, "best_val_loss": loss} if value is not None else {}
    return TrialRecord(
        key=setting.on(seed).key,
        role="tuning",
        seed=seed,
        overrides={},
        config={"epochs": 1, "data": {"classes": CLASSES}},
        baseline="",
        history=(epoch(0, train_loss=train),),
        state="complete" if value is not None else "failed",
        values={name: figure for name, figure in figures.items() if figure is not None},
    )


def ledger(*records: TrialRecord) -> LedgerState:
    return LedgerState(None, {entry.key: entry for entry in records})


def first_round(values: Mapping[int, float | None], config: StudyConfig) -> list[TrialRecord]:
    """All first runs: these values by index, 0.1 elsewhere."""
    return [record(s, FIRST, values.get(s.index, 0.1)) for s in settings(config)]


@pytest.mark.parametrize(
    ("runs", "first", "second"), [(4, 2, 2), (5, 3, 2), (6, 4, 2), (9, 6, 3), (24, 16, 8)]
)
def test_two_thirds_are_tried_and_the_best_third_again(runs: int, first: int, second: int) -> None:
    config = asked(runs)
    tried = settings(config)
    assert len(tried) == first
    begun = missing_runs(config, ledger())
    assert [run.key for run in begun] == [f"tuning-{n:03d}-seed{FIRST}" for n in range(first)]
    # The later, the better.
    done = [record(s, FIRST, 0.5 + s.index / 1000) for s in tried]
    again = missing_runs(config, ledger(*done))
    names = [f"tuning-{n:03d}-seed{SECOND}" for n in range(first)][::-1][:second]
    assert [run.key for run in again] == names
    half = [*done, record(tried[-1], SECOND, 0.1)]
    assert [run.key for run in missing_runs(config, ledger(*half))] == names[1:]
    done += [record(s, SECOND, 0.5) for s in tried[-second:]]
    assert missing_runs(config, ledger(*done)) == []


def test_runs_are_without_noise_and_within_the_ranges_round_the_configured_setting() -> None:
    config = asked(90, train={"optimizer": {"lr": 0.02, "weight_decay": 0.5}})
    configured, *others = settings(config)
    assert (configured.index, configured.lr, configured.weight_decay) == (0, 0.02, 0.5)
    assert len(others) == 59
    exponents = [math.log10(other.lr / 0.02) for other in others]
    assert -1.51 < min(exponents) < -1.3
    assert 1.3 < max(exponents) < 1.51
    assert abs(sum(exponents) / len(exponents)) < 0.1
    decays = [other.weight_decay for other in others]
    assert 0.1 < decays.count(0.0) / len(decays) < 0.3
    positive = [decay for decay in decays if decay]
    assert 0.99e-5 < min(positive) < 2e-5
    assert 5e-3 < max(positive) < 1.01e-2
    [run] = [run for run in missing_runs(config, ledger()) if run.name == "tuning-007"]
    assert (run.role, run.seed) == ("tuning", FIRST)
    assert run.overrides == {
        "noise/policy": "off",
        "optimizer/lr": others[6].lr,
        "optimizer/weight_decay": others[6].weight_decay,
        "seed": FIRST,
    }


def test_a_decoupled_decay_has_a_range_of_its_own() -> None:
    adamw = asked(60, train={"optimizer": {"optimizer": "AdamW", "lr": 1e-3}})
    positive = [s.weight_decay for s in settings(adamw)[1:] if s.weight_decay]
    assert 1e-3 <= min(positive) < 2e-3
    assert 0.5 < max(positive) <= 1.0
    own = asked(60, train={"optimizer": {"optimizer": "package.module:function", "lr": 1e-3}})
    assert max(s.weight_decay for s in settings(own)[1:]) <= 1e-2


def test_the_seed_alone_decides_the_settings() -> None:
    assert settings(asked()) == settings(asked(trials=99))
    assert settings(asked())[1:] != settings(asked(train={"seed": 1}))[1:]
    # Recorded ones must be found again by any later version.
    assert settings(asked())[1] == Setting(1, 0.00557, 0.000575)


def test_a_learning_rate_at_the_end_of_the_numbers_gives_settings_that_can_be_trained() -> None:
    for lr in (5e-324, LARGEST):
        for setting in settings(asked(30, train={"optimizer": {"lr": lr}})):
            assert 0 < setting.lr <= LARGEST


def test_the_best_mean_of_both_seeds_wins_and_one_seed_alone_does_not() -> None:
    config = asked(9)
    tried = settings(config)
    done = first_round({1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}, config)
    assert chosen_setting(config, ledger(*done)) is None
    done += [record(tried[1], SECOND, 0.1), record(tried[2], SECOND, 0.8)]
    done += [record(tried[3], SECOND, 0.85)]
    assert chosen_setting(config, ledger(*done)) == tried[2]


def test_less_is_better_where_the_objective_says_so() -> None:
    config = asked(4, objective=["best_val_loss", "best_val_accuracy"])
    tried = settings(config)
    losses = {0: 0.5, 1: 0.4}
    done = [
        record(tried[i], s, 0.5, loss=loss) for i, loss in losses.items() for s in (FIRST, SECOND)
    ]
    assert chosen_setting(config, ledger(*done)) == tried[1]


def test_ties_go_to_the_configured_setting_then_to_the_lower_validation_loss() -> None:
    config = asked(9)
    tried = settings(config)

    def both(setting: Setting, value: float, loss: float) -> list[TrialRecord]:
        return [record(setting, seed, value, loss=loss) for seed in (FIRST, SECOND)]

    equal = [*both(tried[2], 0.8, 0.1), *both(tried[0], 0.8, 0.9), *both(tried[1], 0.8, 0.2)]
    assert chosen_setting(config, ledger(*equal)) == tried[0]
    others = [*both(tried[1], 0.8, 0.2), *both(tried[2], 0.8, 0.1), *both(tried[0], 0.7, 0.0)]
    assert chosen_setting(config, ledger(*others)) == tried[2]


def test_failed_runs_lose_and_the_next_ones_follow_only_if_all_of_a_round_fail() -> None:
    config = asked(6)
    tried = settings(config)
    done = first_round({0: None, 1: 0.9, 2: 0.8, 3: 0.7}, config)
    assert [r.name for r in missing_runs(config, ledger(*done))] == ["tuning-001", "tuning-002"]
    one = [*done, record(tried[1], SECOND, None), record(tried[2], SECOND, 0.2)]
    assert missing_runs(config, ledger(*one)) == []
    assert chosen_setting(config, ledger(*one)) == tried[2]
    none = [*done, record(tried[1], SECOND, None), record(tried[2], SECOND, None)]
    assert [r.name for r in missing_runs(config, ledger(*none))] == ["tuning-003"]
    none.append(record(tried[3], SECOND, None))
    assert missing_runs(config, ledger(*none)) == []
    assert chosen_setting(config, ledger(*none)) is None
    assert tuning_note(config, ledger(*none)) == ""
    assert tuning_note(StudyConfig(), ledger()) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_loses(value: float) -> None:
    config = asked(6)
    done = first_round({1: value, 2: 0.9, 3: 0.8}, config)
    assert [r.name for r in missing_runs(config, ledger(*done))] == ["tuning-002", "tuning-003"]


STUCK = math.log(10)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            (0.1009, STUCK),
            (0.9532, 0.3),
            "the training was stuck at 0.1009 with learning rate 0.01",
        ),
        ((0.1009, 0.96 * STUCK), (0.9532, 0.3), "tuning alone frees it: 0.9532 with learning rate"),
        ((0.1009, 0.94 * STUCK), (0.9532, 0.3), "tuning alone moves the baseline from 0.1009 with"),
        ((0.1009, STUCK), (0.1513, STUCK), "tuning does not free the stuck training: the best"),
        ((0.1009, 0.5), (0.1513, STUCK), "tuning alone moves the baseline from 0.1009 with"),
        ((None, STUCK), (0.1513, STUCK), "the training failed with learning rate 0.01"),
        ((0.9000, 0.4), (0.9532, 0.3), "to 0.9532 with learning rate"),
        ((None, 9.0), (0.9532, 0.3), "the training failed with learning rate 0.01"),
        ((0.99, 0.1), (0.9532, 0.3), "tuning found nothing better than the configured"),
    ],
)
def test_the_note_says_whether_tuning_alone_frees_a_stuck_training(
    before: tuple[float | None, float], after: tuple[float, float], says: str
) -> None:
    config = asked(4)
    configured, other = settings(config)
    records = [
        record(setting, seed, value, train=train)
        for setting, (value, train) in ((configured, before), (other, after))
        for seed in (FIRST, SECOND)
    ]
    note = tuning_note(config, ledger(*records))
    assert says in note
    if "tuning alone" in note:
        assert "n = 2 seeds of the tuning" in note


def test_among_trainings_that_only_guess_the_configured_setting_stays() -> None:
    config = asked(6)
    tried = settings(config)
    done = [record(s, FIRST, 0.1 + s.index / 100, train=STUCK) for s in tried]
    done += [record(s, SECOND, 0.1 + s.index / 100, train=STUCK) for s in tried[2:]]
    assert missing_runs(config, ledger(*done)) == []
    assert chosen_setting(config, ledger(*done)) == tried[0]
    # One seed on which it learned something is enough to be chosen for its value.
    learned = [*done[:-1], record(tried[3], SECOND, 0.13, train=0.9 * STUCK)]
    assert chosen_setting(config, ledger(*learned)) == tried[3]


@pytest.mark.parametrize(("train", "stuck"), [(2.28, True), (2.25, False)])
def test_guessing_is_reckoned_from_what_smoothed_labels_allow(train: float, stuck: bool) -> None:
    """With a smoothing of 0.5 no loss is below 1.68 nats, that of guessing is 2.30."""
    config = asked()
    runs = [
        dataclasses.replace(r, config={**r.config, "optimizer": {"label_smoothing": 0.5}})
        for seed in (FIRST, SECOND)
        for r in (
            record(s, seed, 0.9 if s.index == 3 else 0.1, train=train) for s in settings(config)
        )
    ]
    chosen = chosen_setting(config, ledger(*runs))
    assert chosen is not None
    assert (chosen.index == 0) is stuck


def test_only_seeds_that_both_have_are_compared() -> None:
    config = asked(6)
    tried = settings(config)
    done = first_round({0: 0.3, 1: 0.9, 2: 0.8, 3: 0.1}, config)
    done += [record(tried[1], SECOND, 0.7), record(tried[2], SECOND, 0.1)]
    note = tuning_note(config, ledger(*done))
    assert "from 0.3000 with learning rate 0.01 and weight decay 0.001 to 0.9000 with" in note
    assert "(best_val_accuracy, n = 1 seed of the tuning" in note


def test_a_study_counts_as_it_was_asked_for() -> None:
    config = asked(6, train={"optimizer": {"lr": 0.3}})
    tuned = as_tuned(config, 0.01, 0.0)
    assert (tuned.train.optimizer.lr, tuned.train.optimizer.weight_decay) == (0.01, 0.0)
    assert as_asked(tuned) == config
    assert as_asked(config) == config


@pytest.mark.parametrize("count", ["1", "3", "-1", "2.5"])
def test_too_few_runs_are_refused(
    count: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--storage", str(tmp_path), "--tune-baseline", count]) == 2
    assert "--tune-baseline" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


# Studies: real ones, whose configured learning rate is not the best.

EPOCHS = 3
WORDS = (
    *("--dataset", "synthetic", "--synthetic-train", "600", "--synthetic-test", "100"),
    *(
        "--batch-size",
        "32",
        "--lr",
        "0.004",
        "--synthetic-noise",
        "0.3",
        "--epochs",
        str(EPOCHS),
        "--baseline-seeds",
        "1",
    ),
    *("--max-concurrent", "2", "--trials", "2", "--space", "static_noise"),
    *("--tune-baseline", "6", "--race-seeds", "1"),
)


def words(storage: Path, name: str = "s") -> list[str]:
    return ["run", "--name", name, "--storage", str(storage), *WORDS]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(StudyConfig()):
        yield


@pytest.fixture(scope="module")
def tuned(_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a study whose baseline was tuned."""
    storage = tmp_path_factory.mktemp("tuned")
    assert main(words(storage)) == 0
    return storage


def ends(state: LedgerState, role: str) -> dict[str, Mapping[str, float]]:
    return {record.key: record.values for record in state.by_role(role) if record.finished}


@pytest.mark.slow
def test_what_is_tuned_is_the_base_of_all_that_follows(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = StudyFolder.of(tuned, "s")
    config = folder.stored_config()
    assert config is not None
    assert config.untuned is not None
    assert (config.untuned.lr, config.untuned.weight_decay) == (0.004, 1e-3)
    state = read_ledger(folder.ledger)
    chosen = chosen_setting(as_asked(config), state)
    assert chosen is not None
    optimizer = config.train.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (chosen.lr, chosen.weight_decay)
    assert optimizer.lr != 0.004
    for role in ("baseline", "trial"):
        for run in state.by_role(role):
            assert run.config["optimizer"]["lr"] == chosen.lr
            assert run.config["optimizer"]["weight_decay"] == chosen.weight_decay
    best = json.loads(folder.best_config.read_text())
    assert best["optimizer"]["lr"] == chosen.lr
    runs = state.by_role("tuning")
    assert {run.seed for run in runs} == {FIRST, SECOND}
    assert all(run.state == "complete" and not run.shared_epochs for run in runs)
    assert not any(row.injected for run in runs for row in run.history)
    summary = summary_of(folder.path)
    assert summary["tuning"] == {
        "runs": 6,
        "epochs_trained": 6 * EPOCHS,
        "learning_rate": chosen.lr,
        "weight_decay": chosen.weight_decay,
    }
    assert tuning_note(as_asked(config), state) in summary["notes"]
    in_mlflow = mlflow_runs(folder.path)
    assert len(in_mlflow) == 1 + 6 + 1 + 2
    assert in_mlflow[runs[0].key].data.tags["role"] == "tuning"
    text = in_mlflow[""].data.tags["mlflow.note.content"]
    assert "Tuning of the baseline, without noise: 6 complete" in text
    assert "Trials: 2 " in text
    # The same command knows it as the same study, and so does resume.
    ledger = folder.ledger.read_bytes().count(b'"type":"epochs"')
    for line in (words(tuned), ["resume", "s", "--storage", str(tuned)]):
        capsys.readouterr()
        assert main(line) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "complete already" in said
        assert f"tuning: 6 runs, {6 * EPOCHS} epochs; learning rate 0.004 → {chosen.lr:g}" in said
        assert f"weight decay 0.001 → {chosen.weight_decay:g}" in said
    assert folder.ledger.read_bytes().count(b'"type":"epochs"') == ledger
    assert folder.stored_config() == config
    assert main([*words(tuned), "--lr", "0.5"]) == 2
    assert "lr = 0.5, stored: 0.004" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_says_what_was_spent_on_the_baseline_and_what_on_noise(tuned: Path) -> None:
    view = load_study(tuned, "s")
    found = cost(view)
    assert found.tuning_epochs == 6 * EPOCHS
    assert found.rows()[0][:2] == ("tuning the baseline", 6 * EPOCHS)
    assert ("trained for the noise", found.trained) in [row[:2] for row in found.rows()]
    untuned = dataclasses.replace(found, tuning_epochs=0)
    assert untuned.rows()[0][2] == "not tuned (--tune-baseline)"
    note = tuning_note(as_asked(view.config), view.state)
    [verdict] = [part for part in sections(view) if part.key == "verdict"]
    assert note in verdict.notes


@pytest.mark.slow
def test_a_tuned_studys_file_asks_for_the_same_study_again(tuned: Path) -> None:
    file = StudyFolder.of(tuned, "s").config
    config = study_config(["--config", str(file), "--name", "again"])
    assert config.untuned is None
    assert (config.train.optimizer.lr, config.train.optimizer.weight_decay) == (0.004, 1e-3)
    assert study_config(["--config", str(file), "--lr", "0.5"]).train.optimizer.lr == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["the file", "the file and the baseline"])
def test_the_choice_is_found_again_in_the_ledger(tuned: Path, tmp_path: Path, lost: str) -> None:
    storage = tmp_path / "studies"
    shutil.copytree(tuned, storage)
    folder = StudyFolder.of(storage, "s")
    before = folder.stored_config()
    assert before is not None
    keep: Callable[[str], bool] = lambda line: True  # noqa: E731
    if lost != "the file":
        # As after a kill between the tuning's last run and the storing of its choice.
        keep = lambda line: "tuning-" in line or '"type":"study"' in line  # noqa: E731
        folder.journal.unlink()
    lines = [line for line in folder.ledger.read_text().splitlines(keepends=True) if keep(line)]
    # The first beginning alone: later ones know the choice.
    first = next(n for n, line in enumerate(lines) if '"type":"study"' in line)
    lines = [line for n, line in enumerate(lines) if n == first or '"type":"study"' not in line]
    folder.ledger.write_text("".join(lines))
    folder.mlflow_offset.unlink()
    folder.config.write_text('{"name": ')
    runs = ends(read_ledger(folder.ledger), "tuning")
    assert len(runs) == 6
    assert main([*words(storage), "--tracking-uri", f"sqlite:///{tmp_path}/new.db"]) == 0
    after = folder.stored_config()
    assert after is not None
    assert (after.train, after.untuned) == (before.train, before.untuned)
    state = read_ledger(folder.ledger)
    assert ends(state, "tuning") == runs
    assert ends(state, "baseline") == ends(
        read_ledger(StudyFolder.of(tuned, "s").ledger), "baseline"
    )
    check_whole(folder.path, f"sqlite:///{tmp_path}/new.db")


@pytest.mark.slow
def test_killed_while_it_tunes_it_chooses_the_same_and_trains_no_run_twice(
    tuned: Path, tmp_path: Path
) -> None:
    folder = StudyFolder.of(tmp_path, "s")
    for moment in ('"trial":"tuning-001', f'"trial":"tuning-00.-seed{SECOND}'):
        text = moment.split(".")[-1]
        with study_process(words(tmp_path)) as process:
            wait_until(lambda: count(folder.ledger, text) > 1, process)  # noqa: B023
            everyone = family(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        wait_until(lambda: not alive(everyone))  # noqa: B023
        assert not read_ledger(folder.ledger).by_role("baseline")
    assert main(["resume", "s", "--storage", str(tmp_path)]) == 0
    calm, state = read_ledger(StudyFolder.of(tuned, "s").ledger), read_ledger(folder.ledger)
    for role in ("tuning", "baseline", "trial"):
        assert ends(state, role) == ends(calm, role)
    # No run ended, and no epoch was written, twice.
    assert count(folder.ledger, '"type":"end"') == len(state.trials)
    for key, run in state.trials.items():
        assert [row.epoch for row in run.history] == list(range(EPOCHS))
        rows = sum(
            f'"trial":"{key}","rows"' in line for line in folder.ledger.read_text().splitlines()
        )
        assert rows <= EPOCHS
    now, then = folder.stored_config(), StudyFolder.of(tuned, "s").stored_config()
    assert now is not None
    assert then is not None
    assert (now.train, now.untuned) == (then.train, then.untuned)
    assert sorted(mlflow_runs(folder.path)) == sorted(mlflow_runs(tuned / "s"))
    check_whole(folder.path)


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["diverged: train_loss is nan in epoch 1"] * 2, "give a smaller --lr"),
        (["diverged: train_loss is nan in epoch 1", "KeyError: 'x'"], "KeyError: 'x'; mend that"),
    ],
)
def test_where_no_setting_is_usable_the_reason_decides_what_helps(
    reasons: list[str], said: str
) -> None:
    config = asked(4)
    failed = [
        dataclasses.replace(record(setting, FIRST, None), reason=reason)
        for setting, reason in zip(settings(config), reasons, strict=True)
    ]
    assert not missing_runs(config, ledger(*failed))
    session: Any = SimpleNamespace(state=lambda: ledger(*failed))
    with pytest.raises(StudyFailedError, match="no run of the tuning is usable") as told:
        next(tuning_phases(config, session))
    assert said in str(told.value)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_where_no_setting_can_be_trained_the_study_ends_in_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*words(tmp_path), "--lr", "1e30"]
    for _ in range(2):
        assert main(line) == 1
        assert "no run of the tuning is usable" in capsys.readouterr().err
    state = read_ledger(StudyFolder.of(tmp_path, "s").ledger)
    assert {run.role for run in state.trials.values()} == {"tuning"}
    assert len(state.trials) == 4
    check_whole(tmp_path / "s", over=False)
