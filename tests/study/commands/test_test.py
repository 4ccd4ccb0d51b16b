"""``noise-test``: the figures of a checkpoint, whatever it is, and what it says of a wrong one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from study.commands.reference_options import ReferenceOptions, combine
from study.commands.test import TestOptions, main
from tests.support.data_sets import spoil_images, write_images
from tests.support.single_runs import OFF, Artefacts, train
from trainables.presets import readme


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """A short run on synthetic images."""
    return train(tmp_path_factory.mktemp("run"), *OFF, "--save-as", "mine.pth")


@pytest.fixture
def weights(trained: Artefacts) -> Path:
    return trained.files.folder / "mine.pth"


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What ``--json`` prints on standard output, which is nothing else."""
    capsys.readouterr()
    assert main([*words, "--json", "-g", "cpu"]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


def test_a_checkpoint_knows_its_model_and_data(
    trained: Artefacts, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "--checkpoint", str(weights))
    assert found["accuracy"] == trained.final["test_accuracy"]
    assert found["loss"] == trained.final["test_loss"]
    assert found["total"] == 100
    assert found["correct"] == round(found["accuracy"] * 100)
    assert found["per_class"] == json.loads(trained.files.per_class.read_text())
    assert set(found) == {"loss", "accuracy", "correct", "total", "per_class"}


def test_sharpness_is_stated_with_its_size_and_draws(
    trained: Artefacts, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, "-c", str(weights), "--sharpness")
    for name in ("sharpness", "sharpness_epsilon", "sharpness_draws"):
        assert found[name] == trained.final[name]


def test_a_table_for_people_and_notices_elsewhere(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", str(weights), "--sharpness"]) == 0
    said = capsys.readouterr()
    assert "accuracy" in said.out
    assert "of 100" in said.out
    assert "class 9" in said.out
    assert "ε = 0.2" in said.out
    assert "BabyCNN on synthetic" in said.err


def bare(weights: Path, folder: Path) -> Path:
    path = folder / "bare.pth"
    torch.save(torch.load(weights, weights_only=True)["model"], path)
    return path


SYNTHETIC = ("--dataset", "synthetic")


def test_a_bare_state_dict_needs_a_classifier(
    trained: Artefacts, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bare(weights, tmp_path)
    assert main(["-c", str(path), *SYNTHETIC]) == 2
    assert "give --classifier" in capsys.readouterr().err
    # The default synthetic test set is larger than that of the run.
    found = answer(capsys, "-c", str(path), "-m", "baby_cnn", *SYNTHETIC)
    assert found["total"] == 500


def test_the_batch_size_changes_no_counts(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = answer(capsys, "-c", str(weights))
    small = answer(capsys, "-c", str(weights), "-b", "7")
    assert small["correct"] == usual["correct"]
    assert small["loss"] == pytest.approx(usual["loss"], rel=1e-5)


def test_another_data_set_can_be_given(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "-c", str(weights), "--dataset", "digits")["total"] == 451


def test_other_classes_are_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", str(weights), "-g", "cpu"]) == 0
    assert "n-th class" not in capsys.readouterr().err
    assert main(["-c", str(weights), "-g", "cpu", "--dataset", "digits", "--json"]) == 0
    said = capsys.readouterr()
    assert "trained on the classes class 0, class 1" in said.err
    assert json.loads(said.out)["total"] == 451


def test_weights_that_are_no_numbers_give_null(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(weights, weights_only=True)
    content["model"] = {key: value * float("nan") for key, value in content["model"].items()}
    torch.save(content, tmp_path / "nan.pth")
    found = answer(capsys, "-c", str(tmp_path / "nan.pth"))
    assert found["loss"] is None
    assert main(["-c", str(tmp_path / "nan.pth"), "-g", "cpu"]) == 0


def test_the_checkpoint_of_an_interrupted_run(
    trained: Artefacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from study.run.weights_file import read_weights
    from trainables.checkpoint import save_state

    stored = read_weights(trained.files.folder / "mine.pth")
    path = tmp_path / "last.ckpt"
    config = json.dumps(stored.config)
    state = {"config": config, "best_epoch": 1, "best_weights": dict(stored.model)}
    save_state(path, state)
    assert answer(capsys, "-c", str(path))["accuracy"] == trained.final["test_accuracy"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--checkpoint is missing"),
        (["-c", "missing.pth"], "missing.pth: can't be read"),
        (["-c", "{weights}", "-m", "TinyCNN"], "does not fit TinyCNN"),
        (["-c", "{weights}", "-m", "BabyCN"], "did you mean 'BabyCNN'"),
        (["-c", "{weights}", "--dataset", "digit"], "did you mean 'digits'"),
        (["-c", "{weights}", "--dataset", "cifar100", "-d", "nowhere"], "nowhere"),
        (["-c", "{weights}", "-b", "0"], "--batch-size = '0'"),
        (["-c", "{weights}", "-g", "0,1"], "--gpu = 0,1"),
        (["-c", "{weights}", "--jsn"], "did you mean --json?"),
        (["-c", "{text}"], "no checkpoint"),
    ],
)
def test_bad_input(
    words: list[str],
    message: str,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = tmp_path / "text.pth"
    text.write_text("hello")
    capsys.readouterr()
    assert main([word.format(weights=weights, text=text) for word in words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert "Traceback" not in said.err


def test_a_photo_is_decoded_as_in_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = write_images(tmp_path / "photos", train=40, test=30, size=48)
    for path in photos.rglob("*.png"):
        Image.open(path).resize((96, 48)).save(path)
    spoil_images(photos / "test/dog")
    words = ("--dataset", "imagefolder", "--data-dir", str(photos), "-e", "2", "--fit", "pad")
    run = train(tmp_path, *OFF, *words, "--skip-broken", "--save-as", "photos.pth")
    data = run.config["data"]
    names = ("decoding", "fit", "background", "skip_broken", "left_out")
    assert [data[name] for name in names] == [2, "pad", "white", True, 7]
    weights = str(run.files.folder / "photos.pth")
    found = answer(capsys, "--checkpoint", weights)
    assert found["loss"] == run.final["test_loss"]
    assert answer(capsys, "--checkpoint", weights, "--fit", "crop")["loss"] != found["loss"]


def test_how_images_are_read_can_be_given() -> None:
    """Of weights that say nothing of it, or were trained on images that were read otherwise."""
    stored = {"data": {"dataset": "a:b", "decoding": 2, "fit": "crop", "content": "0" * 32}}
    given = TestOptions(dataset="a:b", decoding="1", fit="stretch", stream=True).settings()
    for file in ({}, stored):
        data = combine(readme(), file, "w.pth", given, ReferenceOptions()).config.data
        assert (data.decoding, data.fit, data.stream, data.content) == (1, "stretch", True, None)


def test_further_metrics_of_the_run_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.json"
    asked.write_text('{"measured": ["macro_f1", "auc"]}')
    done = train(tmp_path / "run", *OFF, "--save-as", "mine.pth", "--config", str(asked))
    assert all(own["val_macro_f1"] > 0 for own in done.column("epoch_metrics", "own"))
    path = done.files.folder / "mine.pth"
    found = answer(capsys, "--checkpoint", str(path))["metrics"]
    assert found.keys() == {"macro_f1", "auc"}
    assert found["macro_f1"] == done.final["test_macro_f1"]
    assert 0 < done.final["final_test_auc"] < 1
    assert main(["-c", str(path)]) == 0
    assert "macro_f1" in capsys.readouterr().out
