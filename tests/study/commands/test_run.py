"""``noise-study run`` and ``resume``: what a command line means, and what follows a study."""

from pathlib import Path

import pytest

from study.campaigns.confirm_plan import ConfirmConfig, stored_confirmation
from study.campaigns.confirmation import load_confirmation
from study.commands.run import study_config, wanted_confirmation
from study.commands.study import main
from study.config import StudyConfig
from study.presets import PRESETS, thorough
from study.records.folder import StudyFolder
from trainables.settings import parse_config

SMALL = (
    *("--epochs", "2", "--batch-size", "64", "--trials", "2", "--baseline-seeds", "1"),
    *("--space", "static_noise", "--race-seeds", "1", "--max-concurrent", "1"),
)


@pytest.mark.parametrize(
    ("words", "budgets"),
    [
        ((), (16, 16)),
        (("--trials", "40"), (40, 40)),
        (("--trials", "2"), (2, 4)),
        (("--tune-baseline", "6"), (16, 6)),
        (("--trials", "40", "--tune-baseline", "0"), (40, 0)),
    ],
)
def test_the_thorough_preset_spends_as_much_on_the_baseline_as_on_the_noise(
    words: tuple[str, ...], budgets: tuple[int, int]
) -> None:
    config = study_config(["--preset", "thorough", *words])
    assert (config.trials, config.tune_baseline) == budgets
    assert config.confirm == "6..20"
    assert config.most_race_seeds > 1


def test_other_presets_tune_and_confirm_only_if_asked() -> None:
    for name in set(PRESETS) - {"thorough"}:
        config = study_config(["--preset", name, "--trials", "40"])
        assert (config.tune_baseline, config.confirm) == (0, None)
    assert thorough().train == PRESETS["standard"]().train


@pytest.mark.parametrize(
    ("text", "seeds", "first_look"), [("5", 5, None), ("5..20", 20, 5), (7, 7, None)]
)
def test_a_confirmation_is_asked_for_by_its_seeds(
    text: str | int, seeds: int, first_look: int | None
) -> None:
    config = parse_config(StudyConfig, {"confirm": text})
    assert wanted_confirmation(config) == ConfirmConfig(seeds=seeds, first_look=first_look)
    assert wanted_confirmation(StudyConfig()) is None


@pytest.mark.parametrize("text", ["1", "20..5", "1..9", "x", "5..", "-3", "5...9", "99999"])
def test_a_confirmation_that_makes_no_sense_is_refused_before_anything_is_written(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--storage", str(tmp_path / "new"), *SMALL, f"--confirm={text}"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "--confirm" in said
    assert text in said
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_study_goes_on_with_its_confirmation_and_resume_adds_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--name", "s", "--storage", str(tmp_path), *SMALL]
    assert main([*words, "--confirm", "2"]) == 0
    said = capsys.readouterr().out
    assert "test accuracy, beside the baseline of the same seed:" in said
    assert "noise-study confirm" not in said
    found = load_confirmation(tmp_path, "s")
    assert found.finished
    assert len(found.config.fresh_seeds) == 2
    # The same again trains nothing; another plan goes on with it.
    assert main(["resume", "s", "--storage", str(tmp_path)]) == 0
    assert "s-confirm: complete already" in capsys.readouterr().out
    assert main(["resume", "s", "--storage", str(tmp_path), "--confirm", "3"]) == 0
    stored = stored_confirmation(StudyFolder.of(tmp_path, "s"))
    assert stored is not None
    assert stored.seeds == 3


@pytest.mark.slow
def test_a_study_that_lacks_trials_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--name", "s", "--storage", str(tmp_path), *SMALL, "--confirm", "2"]
    assert main([*words, "--time-budget", "0.001"]) == 0
    assert "nothing is confirmed yet" in capsys.readouterr().out
    assert stored_confirmation(StudyFolder.of(tmp_path, "s")) is None
