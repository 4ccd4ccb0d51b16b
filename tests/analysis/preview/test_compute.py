"""The preview against what really trained trials did, and its command."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from analysis.charts.draw_static import save_figure
from analysis.commands.analysis import main
from analysis.preview.compute import preview
from analysis.preview.show import preview_chart, terminal_picture
from analysis.reading import BaselineHistory, StudyView, run_baseline, study_baseline
from tests.support.trained_studies import ADAPTIVE, BASE, EPOCHS, history, write_run
from trainables.config import apply_overrides
from trainables.errors import InputError
from trainables.noise_config import NoiseConfig


@pytest.fixture(scope="module")
def baseline(small: StudyView) -> BaselineHistory:
    return study_baseline(small)


def test_it_says_of_every_trial_what_the_trial_then_did(
    small: StudyView, baseline: BaselineHistory
) -> None:
    forks = []
    for record in small.state.by_role("trial"):
        noise = small.train_config(record.key).noise
        found = preview(baseline, noise)
        forks.append(found.fork)
        if found.fork is None:
            assert not any(row.injected for row in record.history)
            assert found.known == EPOCHS
            continue
        if found.fork >= len(record.history):
            assert record.first_injection_epoch is None
            continue
        assert found.fork == record.first_injection_epoch
        for decided, row in zip(found.decisions, record.history, strict=False):
            assert (decided.kind, decided.phase) == (row.noise_kind, row.noise_phase)
            assert decided.magnitude == row.noise_magnitude
            assert decided.severity == row.noise_severity
            assert decided.signals == row.signals
    assert None in forks
    assert len(set(forks)) > 1


def test_a_single_noisy_epoch_makes_its_cooldown_known(
    small: StudyView, baseline: BaselineHistory
) -> None:
    overrides = {**ADAPTIVE, "noise/max_injection_epochs": 1, "noise/cooldown_extra": 3}
    config = apply_overrides(BASE, overrides)
    found = preview(baseline, config.noise)
    rows = history(config)
    assert found.fork is not None
    assert found.cooldown is not None
    assert found.cooldown.exact
    assert found.known > found.fork + 1
    told = [decided.phase for decided in found.decisions]
    assert told == [row.noise_phase for row in rows[: found.known]]
    after = [row.noise_phase for row in rows[found.fork + 1 :]]
    length = next((i for i, phase in enumerate(after) if phase != "cooldown"), len(after))
    assert min(found.cooldown.exact, len(after)) == length


def test_the_cooldown_that_follows_lies_in_the_range_told(
    small: StudyView, baseline: BaselineHistory
) -> None:
    record = small.state.trials["trial-0001"]
    found = preview(baseline, small.train_config(record.key).noise)
    assert found.cooldown is not None
    phases = [row.noise_phase for row in record.history]
    begins = phases.index("cooldown")
    length = next((i for i, p in enumerate(phases[begins:]) if p != "cooldown"), EPOCHS - begins)
    assert begins >= found.cooldown.earliest
    assert found.cooldown.shortest <= length <= found.cooldown.longest


def test_a_partial_history_says_that_the_rest_is_not_known(baseline: BaselineHistory) -> None:
    noise = apply_overrides(BASE, ADAPTIVE).noise
    short = dataclasses.replace(baseline, rows=baseline.rows[:2])
    found = preview(short, noise)
    assert found.fork is None
    assert found.known == 3
    assert "2 epochs recorded" in found.sentences()[0]
    assert preview_chart(found).panels


def test_a_noisy_run_is_a_baseline_until_its_noise_begins(tmp_path: Path) -> None:
    config = apply_overrides(BASE, ADAPTIVE)
    folder = write_run(tmp_path / "metrics" / "run", config)
    read = run_baseline(folder)
    assert read.noisy_from is not None
    assert len(read.rows) == read.noisy_from
    assert preview(read, config.noise).fork == read.noisy_from
    later = apply_overrides(BASE, {**ADAPTIVE, "noise/warmup_epochs": 11}).noise
    assert preview(read, later).fork is None


def test_always_begins_at_once(baseline: BaselineHistory) -> None:
    found = preview(baseline, NoiseConfig(policy="always", kind="input", magnitude=0.5))
    assert found.fork == 0
    assert found.injection is not None
    assert (found.injection.kind, found.injection.magnitude) == ("input", 0.5)
    assert found.signals == ()
    assert "epoch" in terminal_picture(found)


def test_pictures(baseline: BaselineHistory, tmp_path: Path) -> None:
    found = preview(baseline, apply_overrides(BASE, ADAPTIVE).noise)
    save_figure(preview_chart(found), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    lines = terminal_picture(found, 80).splitlines()
    (noise,) = [line for line in lines if line.strip().startswith("noise ")]
    strip = noise.split()[-1]
    wide = len(strip) // EPOCHS
    assert strip[::wide].index("▲") == found.fork
    assert strip.endswith("░")


def files(tmp_path: Path) -> dict[str, Any]:
    noise = {name.removeprefix("noise/"): value for name, value in ADAPTIVE.items()}
    return {
        "noise.json": noise,
        "part.json": {"noise": noise},
        "overrides.json": ADAPTIVE,
        "whole.json": apply_overrides(BASE, ADAPTIVE).model_dump(mode="json"),
        "list.json": [{"noise/patience": 1}, ADAPTIVE],
    }


def test_every_form_of_settings_means_the_same(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["preview", "small", "--storage", str(storage), "--no-picture"]
    shown = set()
    for name, content in files(tmp_path).items():
        (tmp_path / name).write_text(json.dumps(content))
        entry = ["--entry", "1"] if name == "list.json" else []
        assert main([*command, "--config", str(tmp_path / name), *entry]) == 0
        shown.add(capsys.readouterr().out)
    options = ["--flag-min-epochs", "3", "--flag-window-size", "2"]
    options += ["--consecutive-flag-trigger", "1", "--max-injection-epochs", "2"]
    options += ["--min-cooldown-epochs", "1", "--cooldown-extra", "2"]
    assert main([*command, *options]) == 0
    shown.add(capsys.readouterr().out)
    assert len(shown) == 1
    assert "Noise begins in epoch" in shown.pop()


def test_a_trials_settings_and_the_picture(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "deep" / "p.svg"
    command = ["preview", "small", "--storage", str(storage)]
    assert main([*command, "--trial", "best", "--out", str(path)]) == 0
    assert "no longer known" in capsys.readouterr().out or path.exists()
    assert path.read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smal"], "did you mean 'small'"),
        (["small", "--policy", "off"], "no noise to preview"),
        (["small", "--flag-window-size", "1"], "--flag-window-size"),
        (["small", "--trial", "trial-0070"], "did you mean 'trial-00"),
        (["small", "--baseline-seed", "9"], "seeds recorded: 0, 1"),
        (["small", "--entry", "1"], "--config FILE"),
        (["small", "--out", "p.gif"], ".png or .svg"),
        (["nowhere/run"], "epoch_metrics.jsonl is missing"),
    ],
)
def test_mistakes(
    words: list[str], said: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", *words, "--storage", str(storage)]) == 2
    assert said in capsys.readouterr().err


def test_shares(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["shares", "small", "--storage", str(storage), "--n", "50"]
    assert main(command) == 0
    assert "never inject" in capsys.readouterr().out
    assert main([*command, "--space", "static_noise"]) == 2
    assert "begins in the first epoch" in capsys.readouterr().err


def test_a_study_without_a_baseline_is_told_so(tmp_path: Path) -> None:
    from analysis.reading import load_study
    from tests.support.trained_studies import write_study

    write_study(tmp_path, "empty", trials=(), seeds=0, over=False)
    with pytest.raises(InputError, match="no recorded epoch"):
        study_baseline(load_study(tmp_path, "empty"))
