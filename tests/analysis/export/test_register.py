"""Which trial is a study's winner, whether it has earned its place, and what is registered."""

from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow.models import Model
from PIL import Image

from analysis.commands.analysis import main
from analysis.export.register import (
    PixelClassifier,
    TrainedWeights,
    check_winner,
    find_winner,
    model_to_log,
    winner_weights,
)
from analysis.reading import load_study
from study.run.weights_file import write_weights
from study.tracking.registry import write_model
from tests.support.data_sets import chessboard_corner, folder_config, write_images
from tests.support.runs import device_data, training
from tests.support.trained_studies import (
    BASE,
    TRIALS,
    Planned,
    write_confirmation,
    write_study,
)
from trainables.config import apply_overrides
from trainables.data.image_decoding import Decoding
from trainables.data.image_folder import decode_image
from trainables.data.image_sets import load_dataset
from trainables.errors import InputError
from trainables.loop import clone_weights
from trainables.models.registry import build_model


def test_without_a_confirmation_the_best_of_the_search_has_not_earned_it(tmp_path: Path) -> None:
    write_study(tmp_path, "never", trials=TRIALS[2:3], seeds=1)
    never = find_winner(load_study(tmp_path, "never"))
    assert (never.key, never.confirmed, never.beats) == ("trial-0000", None, False)
    assert "not confirmed" in never.reason
    # Nor has one that gains in the search: that may be luck.
    write_study(tmp_path, "gains", trials=TRIALS[1:2], seeds=1, objective=["best_val_loss"])
    view = load_study(tmp_path, "gains")
    gains = find_winner(view)
    assert gains.metrics["best_val_loss_gain"] > 0
    assert not gains.beats
    with pytest.raises(InputError, match=r"confirm it with: noise-study confirm gains .*--force"):
        check_winner(view, "m", force=False)
    assert check_winner(view, "m", force=True) == gains


@pytest.mark.parametrize(
    ("gains", "beats", "word"),
    [
        ((0.05, 0.06, 0.055, 0.052), True, "better"),
        ((-0.05, -0.06, -0.055, -0.052), False, "worse"),
        ((0.05, -0.06, 0.04, -0.02), False, "undecided"),
        ((0.0005, -0.0005, 0.0, 0.0001), False, "equivalent"),
    ],
)
def test_a_confirmations_verdict_counts_more_than_the_search(
    gains: tuple[float, ...], beats: bool, word: str, tmp_path: Path
) -> None:
    write_study(tmp_path, "small", trials=TRIALS[1:2], seeds=1)
    view = load_study(tmp_path, "small")
    write_confirmation(view.folder, "trial-0000", (1, 2, 3, 4), gains)
    found = find_winner(view)
    assert found.beats is beats
    assert word in found.reason
    mean = sum(gains) / len(gains)
    assert found.metrics["confirmed_final_test_accuracy_difference"] == pytest.approx(mean)
    # Only what is confirmed to be better is registered without --force, and its tags say so.
    if beats:
        assert check_winner(view, "m", force=False) == found
    else:
        with pytest.raises(InputError, match=f"not confirmed to be better .*: {word}: .*--force"):
            check_winner(view, "m", force=False)
    trained = TrainedWeights(tmp_path, build_model("BabyCNN", 10).state_dict(), 0, "final")
    tags = model_to_log(view, found, BASE, load_dataset(BASE.data), trained).tags
    assert (tags["confirmed"], tags["forced"]) == (word, str(not beats).lower())


def test_refusals_come_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, "never", trials=TRIALS[2:3], seeds=1)
    command = ["export", "never", "--storage", str(tmp_path)]
    for words, said in (
        (["--register", "m"], "--force registers it all the same"),
        (["--register", "a/b"], "without / and :"),
        (["--force"], "only with --register"),
        (["--weights", "w.pth"], "only with --register"),
    ):
        assert main([*command, *words]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "never" / "export").exists()


def test_lost_weights_may_be_trained_again_and_given_as_a_file(tmp_path: Path) -> None:
    # Its best epoch is not its last.
    noisy = {"policy": "always", "kind": "gradient", "magnitude": 1.0, "schedule": "constant"}
    trial = Planned({f"noise/{name}": value for name, value in noisy.items()})
    write_study(tmp_path, "small", trials=(trial, TRIALS[1]), seeds=1)
    view = load_study(tmp_path, "small")
    with pytest.raises(InputError, match=r"--weights and the final_weights\.pth that it wrote"):
        winner_weights(view, "trial-0000")
    config = view.train_config("trial-0000")
    run = training(config)
    while not run.finished:
        run.run_epoch()
    assert run.best is not None
    path = tmp_path / "again.pth"
    weights = {"final": clone_weights(run.model), "best": run.best.weights}
    rows = {"final": run.history[-1], "best": run.best.row}
    assert rows["final"].epoch != rows["best"].epoch
    for decide_by, which, other in (
        ("final_test_loss", "final", "best"),
        ("test_loss", "best", "final"),
    ):
        decided = replace(view, config=view.config.model_copy(update={"decide_by": decide_by}))
        write_weights(path, config, ("0",), rows[which], weights[which])
        found = winner_weights(decided, "trial-0000", str(path))
        assert (found.which, found.epoch) == (which, rows[which].epoch)
        assert all(
            torch.equal(tensor, weights[which][name]) for name, tensor in found.weights.items()
        )
        write_weights(path, config, ("0",), rows[other], weights[other])
        with pytest.raises(InputError, match=f"decides by {decide_by}, the {which} weights"):
            winner_weights(decided, "trial-0000", str(path))
    with pytest.raises(InputError, match="not the weights of a run with trial-0001"):
        winner_weights(view, "trial-0001", str(path))


def test_pixels_in_are_normalised_as_in_training() -> None:
    config = BASE
    dataset = load_dataset(config.data)
    network = build_model("BabyCNN", len(dataset.classes)).eval()
    model = PixelClassifier(network, dataset.mean, dataset.std).eval()
    images, _ = next(device_data(config).eval_batches("val"))
    with torch.inference_mode():
        expected = network(images)
        found = model(torch.tensor(dataset.val_images[: len(images)]))
    torch.testing.assert_close(found, expected)


def test_what_becomes_of_a_photo_goes_with_the_model(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "photos", size=40)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = photos / "test/cat/turned.jpg"
    chessboard_corner(90, 60).save(path, exif=exif)
    data = folder_config(photos, decoding=2, fit="pad", background="grey", split="reference")
    config = BASE.model_copy(update={"data": data})
    dataset = load_dataset(data)
    weights = build_model("BabyCNN", 2).state_dict()
    write_study(tmp_path, "photos-study", trials=TRIALS[2:3], seeds=1)
    view = load_study(tmp_path, "photos-study")
    trained = TrainedWeights(path, weights, 0, "final")
    model = model_to_log(view, find_winner(view), config, dataset, trained)
    assert "Decoding(2, 'pad', 'grey', 32, 3)" in model.description
    assert "moving average" not in model.description

    write_model(model, tmp_path / "model", "run", "id")
    metadata = Model.load(str(tmp_path / "model")).metadata
    assert metadata is not None
    pixels = decode_image(path, Decoding(**metadata["preprocessing"]))
    known = [i.tobytes() for i in (*dataset.test_images, *dataset.val_images)]
    assert pixels in known


def test_a_model_of_grey_images_is_registered_with_their_shape(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "photos", size=40)
    data = folder_config(photos, decoding=2, fit="crop", image_size=64, channels=1)
    averaged = apply_overrides(BASE, {"optimizer/ema": 0.99})
    config = averaged.model_copy(update={"data": data})
    dataset = load_dataset(data)
    weights = build_model("BabyCNN", 2, data.shape).state_dict()
    write_study(tmp_path, "grey-study", trials=TRIALS[2:3], seeds=1)
    view = load_study(tmp_path, "grey-study")
    trained = TrainedWeights(tmp_path, weights, 0, "final")
    model = model_to_log(view, find_winner(view), config, dataset, trained)
    assert "uint8 (images, 64, 64, 1), grey." in model.description
    assert "BabyCNN on imagefolder (64×64 pixels, grey)" in model.description
    assert "a moving average of those of the steps, of decay 0.99 (--ema)." in model.description

    write_model(model, tmp_path / "model", "run", "id")
    stored = Model.load(str(tmp_path / "model"))
    assert stored.signature is not None
    assert stored.signature.inputs.inputs[0].shape == (-1, 64, 64, 1)
    assert stored.metadata is not None
    how = Decoding(**stored.metadata["preprocessing"])
    path = photos / "test" / "cat" / "0.png"
    pixels = np.frombuffer(decode_image(path, how), np.uint8).reshape(1, *how.shape[:1], *how.shape)
    assert np.array_equal(pixels[0], dataset.test_images[0])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"), model_config={"device": "cpu"})
    expected = model.module(torch.from_numpy(pixels.copy())).detach().numpy()
    np.testing.assert_allclose(loaded.predict(pixels), expected, rtol=1e-4, atol=1e-5)
