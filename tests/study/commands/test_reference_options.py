"""The options of the reference and the new ones: names, defaults, and what each does in a run."""

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import trainables.data.image_folder
from study.commands.options import written_options
from study.commands.reference_options import RUN_SETTINGS, ReferenceOptions, resolve_run
from study.commands.settings import Option
from study.commands.train import TrainOptions, main
from tests.support.single_runs import (
    EAGER,
    OFF,
    QUICK,
    SMALL,
    STATIC,
    Artefacts,
    Run,
    figures,
    lr_of,
    model_of,
)

pytestmark = pytest.mark.usefixtures("few_threads")


@dataclass(frozen=True)
class Row:
    """One option: names and default as the README has them, and what it does in a run."""

    long: str
    short: str | None
    default: str
    effect: Callable[[Run, Artefacts], None]


def classifier(run: Run, plain: Artefacts) -> None:
    assert set(model_of(plain)) == {"conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"}
    assert "fc2.weight" in model_of(run(*OFF, "-c", "tiny_cnn", "-e", "1"))


def batch_size(run: Run, plain: Artefacts) -> None:
    # Training accuracies are multiples of one image: 6 batches of 32, then 3 of 64.
    assert {round(row["train_accuracy"] * 192, 6) % 1 for row in plain.epochs} == {0}
    bigger = run(*OFF, "-b", "100", "-e", "1")
    assert round(bigger.epochs[0]["train_accuracy"] * 200, 6) % 1 == 0
    assert lr_of(bigger)[0] > lr_of(plain)[0]  # fewer steps, so a shorter way down the cosine


def epochs(run: Run, plain: Artefacts) -> None:
    assert len(run(*OFF, "-e", "2").epochs) == 2


def subset(run: Run, plain: Artefacts) -> None:
    half = run(*OFF, "-s", "0.5", "-e", "1")
    assert round(half.epochs[0]["train_accuracy"] * 96, 6) % 1 == 0


def learning_rate(run: Run, plain: Artefacts) -> None:
    assert lr_of(plain)[0] == pytest.approx(0.01, rel=0.01)
    assert lr_of(run(*OFF, "--lr", "0.003", "-e", "1"))[0] == pytest.approx(0.003, rel=0.01)


def weight_decay(run: Run, plain: Artefacts) -> None:
    norms = [
        sum(float(tensor.norm()) for tensor in model_of(other).values())
        for other in (run(*OFF, "--wd", "0"), run(*OFF, "--wd", "1"))
    ]
    assert norms[1] < norms[0]


def gpu(run: Run, plain: Artefacts) -> None:
    assert plain.config["device"] == "cpu"
    there = "mps" if torch.backends.mps.is_available() else "cpu"
    expected = "cuda:0" if torch.cuda.is_available() else there
    assert run(*OFF, "-g", "0", "-e", "1").config["device"] == expected


def save_as(run: Run, plain: Artefacts) -> None:
    named = run(*OFF, "--save-as", "mine.pth", "-e", "1")
    assert named.files.folder.joinpath("mine.pth").exists()
    assert named.files.metrics.name == "mine"
    (path,) = plain.files.weights_files()
    best = plain.final
    assert path.name == (
        f"{plain.files.name}_epoch{best['epochs_to_best']}_acc{best['best_val_accuracy']:.4f}.pth"
    )
    assert plain.files.name.startswith("BabyCNN_baseline_seed0_")


def download_weights(run: Run, plain: Artefacts) -> None:
    # There are none for this classifier, and the message says so.
    assert main([*SMALL, *OFF, "-w"]) == 2
    # Where torch.hub keeps what it fetched lies a file of known numbers.
    torch.manual_seed(7)
    stored = torchvision.models.squeezenet1_1(num_classes=1000).state_dict()
    home = plain.files.folder / "torch"
    hub = home / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    torch.save(stored, hub / "squeezenet1_1-b8a52dc0.pth")
    still = ("-c", "squeezenet1_1", "-e", "1", "--synthetic-train", "40", "-b", "12")
    still = (*still, "--lr", "1e-12", "--wd", "0")
    said = io.StringIO()
    with patch.dict(os.environ, {"TORCH_HOME": str(home)}), contextlib.redirect_stdout(said):
        with_weights, without = run(*OFF, *still, "-w"), run(*OFF, *still)
    assert "50 tensors loaded; not loaded: classifier.1.weight (stored 1000" in said.getvalue()
    name = "features.3.squeeze.weight"
    torch.testing.assert_close(model_of(with_weights)[name], stored[name])
    assert not torch.allclose(model_of(without)[name], stored[name], atol=1e-3)


def optimizer(run: Run, plain: Artefacts) -> None:
    adam = run(*OFF, "-o", "adam", "-e", "1")
    assert set(plain.lines("optimizer")[0]) == {"epoch", "lr", "momentum"}
    assert set(adam.lines("optimizer")[0]) == {"epoch", "lr", "moment1", "moment2"}


def momentum(run: Run, plain: Artefacts) -> None:
    assert set(run(*OFF, "-m", "0", "-e", "1").lines("optimizer")[0]) == {"epoch", "lr"}


def beta(long: str, moment: str) -> Callable[[Run, Artefacts], None]:
    def effect(run: Run, plain: Artefacts) -> None:
        adam = (*OFF, "-o", "Adam", "-e", "1", "--lr", "1e-6")
        usual, other = run(*adam), run(*adam, long, "0.5")
        norms = [run.lines("optimizer")[0][moment] for run in (usual, other)]
        assert norms[0] != pytest.approx(norms[1], rel=0.01)

    return effect


def lr_restart_period(run: Run, plain: Artefacts) -> None:
    rates = lr_of(run(*OFF, "--lr-restart-period", "2", "-e", "6"))
    assert rates[0] > rates[1]
    assert rates[2] > rates[1], "a restart"
    assert lr_of(plain) == sorted(lr_of(plain), reverse=True), "none within 50 epochs"


def noise_type(run: Run, plain: Artefacts) -> None:
    for kind in ("gradient", "weight", "input", "label"):
        assert run("-nt", kind, "-e", "1").column("noise", "kind") == [kind]


def noise_magnitude(run: Run, plain: Artefacts) -> None:
    assert run("-nt", "weight", "-nm", "0.3").column("noise", "magnitude") == [0.3] * 4


def noise_schedule(run: Run, plain: Artefacts) -> None:
    decays = {
        "constant": [1, 1, 1, 1],
        "linear": [1, 0.75, 0.5, 0.25],
        "cosine": [1, 0.853553, 0.5, 0.146447],
        "exponential": [1, 0.95, 0.9025, 0.857375],
    }
    for name, decay in decays.items():
        logged = run("-nt", "gradient", "-nm", "2", "-ns", name).column("noise", "magnitude")
        assert logged == pytest.approx([2 * d for d in decay], abs=1e-5)


def noise_distribution(run: Run, plain: Artefacts) -> None:
    both = [run("-nt", "weight", "-nm", "0.5", "-nd", name) for name in ("gaussian", "uniform")]
    before = [one.noise[0]["norm_before"] for one in both]
    after = [one.noise[0]["norm_after"] for one in both]
    assert before[0] == pytest.approx(before[1], rel=0.2)
    # The same variance, other draws.
    assert after[0] != after[1]
    assert after[0] == pytest.approx(after[1], rel=0.2)


def noise_layer(run: Run, plain: Artefacts) -> None:
    limited = run(*STATIC, "-nl", "conv", "-nl", "fc1.bias", "--layer-norms", "-e", "1")
    assert set(limited.noise[0]["layers"]) == {"conv1.weight", "conv1.bias", "fc1.bias"}


def permanent(run: Run, plain: Artefacts) -> None:
    words = ("-nt", "weight", "-nm", "1", "-e", "1")
    moved = [one.epochs[0]["weight_update_norm"] for one in (run(*words), run(*words, "-p"))]
    assert moved[1] > 2 * moved[0], "the noise stays in the weights"


def stuck_only(run: Run, plain: Artefacts) -> None:
    assert run(*EAGER, "-nt", "gradient").noisy == [0, 1, 2, 3]
    adaptive = run(*EAGER, "-nt", "weight", "-so")
    assert adaptive.noisy == [2]
    assert adaptive.noise[2]["kind"] == "gradient", "the signals choose the kind"


def patience(run: Run, plain: Artefacts) -> None:
    # Where nothing is learnt the loss goes up and down by chance; the rest is counting.
    words = (*QUICK, "--signals", "stuck", "--lr", "1e-7", "-e", "12")
    first = {}
    for allowed in (0, 1, 3):
        logged = run(*words, "--patience", str(allowed))
        losses = logged.column("epoch_metrics", "train_loss")
        waited = [e - losses.index(min(losses[: e + 1])) for e in range(len(losses))]
        # Before epoch e + 1, once a window of two epochs is complete.
        expected = next(e + 1 for e in range(1, 12) if waited[e] > allowed)
        assert logged.noisy[0] == expected
        first[allowed] = expected
    assert first[0] < first[3]


def window_size(run: Run, plain: Artefacts) -> None:
    assert run(*EAGER, "--flag-window-size", "3").lines("signals")[0]["epoch"] == 3
    assert run(*EAGER).lines("signals")[0]["epoch"] == 2


def min_epochs(run: Run, plain: Artefacts) -> None:
    late = run(*EAGER, "--flag-min-epochs", "3")
    assert late.noisy == [3]
    assert late.column("noise", "phase") == ["warm_up"] * 3 + ["injecting"]


def overfit_epochs(run: Run, plain: Artefacts) -> None:
    # As many changes must be complete before there is anything to measure.
    for needed, first in ((1, 2), (3, 4)):
        logged = run(
            *(*QUICK, "-e", "6", "--flag-overfit-epochs", str(needed)),
            *("--signals", "overfitting", "val_loss_plateau", "--consecutive-flag-trigger", "4"),
        )
        lines = [line for line in logged.lines("signals") if line["signal"] == "overfitting"]
        assert next(line["epoch"] for line in lines if line["value"] is not None) == first


def threshold(long: str, name: str, value: str) -> Callable[[Run, Artefacts], None]:
    """A threshold is logged, and one that everything is below raises the signal."""

    def effect(run: Run, plain: Artefacts) -> None:
        logged = run(*QUICK, "--signals", name, long, value)
        lines = logged.lines("signals")
        assert {line["signal"] for line in lines} == {name}
        assert lines[0]["threshold"] == float(value)
        assert lines[0]["raised"]
        assert logged.noisy[0] == 2

    return effect


def disable_adaptive_flags(run: Run, plain: Artefacts) -> None:
    baseline = run("--disable-adaptive-flags")
    assert baseline.column("noise", "phase") == ["off"] * 4
    assert figures(baseline) == figures(plain)


def relative_noise(run: Run, plain: Artefacts) -> None:
    # This signal has severity one half: the middle between minimum and maximum.
    words = (*EAGER, "--relative-min-noise", "0.5", "--relative-max-noise", "2.5")
    assert run(*words).noise[2]["magnitude"] == 1.5


def trigger(run: Run, plain: Artefacts) -> None:
    assert run(*EAGER, "--consecutive-flag-trigger", "2").noisy == [3]


def max_injection(run: Run, plain: Artefacts) -> None:
    assert run(*EAGER, "--max-injection-epochs", "2", "-e", "5").noisy == [2, 3]


def cooldown(run: Run, plain: Artefacts) -> None:
    # floor(1 + ½ · 5) = 3 epochs after the one noisy epoch 2.
    words = ("--min-cooldown-epochs", "1", "--max-cooldown-epochs", "6", "-e", "7")
    logged = run(*EAGER, *words)
    assert logged.noise[2]["cooldown_remaining"] == 3
    assert logged.noisy == [2, 6]


def visualize_lr(run: Run, plain: Artefacts) -> None:
    assert not plain.files.lr_plot.exists()
    drawn = run(*OFF, "--visualize-lr", "-e", "1").files.lr_plot
    with Image.open(drawn) as image:
        assert image.format == "PNG"
        assert min(image.size) > 300


def disable_graphs(run: Run, plain: Artefacts) -> None:
    shown = {}
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120", "LINES": "60"}
    for word in ("--disable-graphs", "--no-disable-graphs"):
        text = io.StringIO()
        with patch.dict(os.environ, terminal), contextlib.redirect_stdout(text):
            run(*OFF, "-e", "1", word)
        shown[word] = text.getvalue()
    assert all("noise controller" in text for text in shown.values()), "the live dashboard"
    assert "noise magnitude" not in shown["--disable-graphs"]
    assert "noise magnitude" in shown["--no-disable-graphs"]


def detailed_metrics(run: Run, plain: Artefacts) -> None:
    assert set(plain.epochs[0]["val_per_class"]) == {f"class {i}" for i in range(10)}
    assert "train_per_class" not in plain.epochs[0]
    detailed = run(*OFF, "--detailed-metrics")
    assert set(detailed.epochs[0]["train_per_class"]) == set(detailed.epochs[0]["val_per_class"])
    assert figures(detailed) == figures(plain), "watching changes nothing"


def scaling(run: Run, plain: Artefacts) -> None:
    grown = {}
    for name in ("relative", "absolute"):
        line = run(*STATIC, "--scaling", name, "-e", "1").noise[0]
        grown[name] = line["norm_after"] / line["norm_before"]
    assert grown["relative"] == pytest.approx(2**0.5, rel=0.05)
    assert grown["absolute"] > 10, "σ = 1 is many times a gradient's size"


def split(run: Run, plain: Artefacts) -> None:
    halves = run(*OFF, "--split", "reference", "-e", "1")
    # 240 training images give 7 batches of 32; a tenth set apart leaves 6.
    assert round(halves.epochs[0]["train_accuracy"] * 224, 6) % 1 == 0
    assert round(halves.final["test_accuracy"] * 50, 6) % 1 == 0


def seed(run: Run, plain: Artefacts) -> None:
    assert figures(run(*OFF, "--seed", "1")) != figures(plain)
    assert figures(run(*OFF, "--seed", "0")) == figures(plain)


def threads(run: Run, plain: Artefacts) -> None:
    run(*OFF, "--threads", "2", "-e", "1")
    assert torch.get_num_threads() == 2


def precision(run: Run, plain: Artefacts) -> None:
    other = run(*OFF, "--precision", "bf16", "-e", "1")
    assert figures(other)[0] != figures(plain)[0]
    assert figures(other)[0] == pytest.approx(figures(plain)[0], rel=0.1)


def data_dir(run: Run, plain: Artefacts) -> None:
    folder = plain.files.folder / "images"
    write_images(folder)
    own = run(*OFF, "--dataset", "imagefolder", "--data-dir", str(folder), "-b", "8", "-n", "0")
    assert set(own.epochs[0]["val_per_class"]) == {"bright", "dark"}
    assert own.config["data"]["mean"] != [0.5, 0.5, 0.5]


def workers(run: Run, plain: Artefacts) -> None:
    both, processes = [], []
    for count in ("0", "2"):
        folder = plain.files.folder / f"images{count}"
        write_images(folder)
        words = ("--dataset", "imagefolder", "--data-dir", str(folder), "-b", "8", "-e", "1")
        with (
            # So few images are not worth a process otherwise.
            patch.object(trainables.data.image_folder, "_IN_PROCESS_BELOW", 2),
            patch("joblib.Parallel", wraps=joblib.Parallel) as parallel,
        ):
            both.append(run(*OFF, *words, "-n", count))
        processes.append([call.kwargs["n_jobs"] for call in parallel.call_args_list])
    assert processes == [[], [2]], "so many decode"
    assert figures(both[0]) == figures(both[1]), "and change nothing"


def write_images(folder: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for name, level in (("bright", 180), ("dark", 60)):
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = random.normal(level, 20, (40, 36, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


TABLE = [
    Row("--data-dir", "-d", "./data/cifar10", data_dir),
    Row("--classifier", "-c", "resnet18", classifier),
    Row("--batch-size", "-b", "128", batch_size),
    Row("--epochs", "-e", "100", epochs),
    Row("--workers", "-n", "4", workers),
    Row("--subset", "-s", "1.0", subset),
    Row("--lr", None, "0.01", learning_rate),
    Row("--wd", None, "0.001", weight_decay),
    Row("--gpu", "-g", "0", gpu),
    Row("--save-as", None, "none.pth", save_as),
    Row("--download-weights", "-w", "False", download_weights),
    Row("--optimizer", "-o", "SGD", optimizer),
    Row("--momentum", "-m", "0.9", momentum),
    Row("--beta1", "-b1", "0.9", beta("-b1", "moment1")),
    Row("--beta2", "-b2", "0.999", beta("-b2", "moment2")),
    Row("--lr-restart-period", None, "50", lr_restart_period),
    Row("--noise-type", "-nt", "none", noise_type),
    Row("--noise-magnitude", "-nm", "0.01", noise_magnitude),
    Row("--noise-schedule", "-ns", "constant", noise_schedule),
    Row("--noise-distribution", "-nd", "gaussian", noise_distribution),
    Row("--noise-layer", "-nl", "none", noise_layer),
    Row("--permanent", "-p", "False", permanent),
    Row("--noise-during-stuck-only", "-so", "False", stuck_only),
    Row("--patience", None, "5", patience),
    Row("--flag-window-size", None, "5", window_size),
    Row("--flag-min-epochs", None, "10", min_epochs),
    Row("--flag-overfit-epochs", None, "3", overfit_epochs),
    Row(
        "--flag-plateau-delta",
        None,
        "0.0001",
        threshold("--flag-plateau-delta", "val_loss_plateau", "1000"),
    ),
    Row(
        "--flag-grad-plateau-thr",
        None,
        "0.05",
        threshold("--flag-grad-plateau-thr", "grad_norm_plateau", "2.5"),
    ),
    Row(
        "--flag-low-weight-update-thr",
        None,
        "0.0001",
        threshold("--flag-low-weight-update-thr", "low_weight_update", "77"),
    ),
    Row("--disable-adaptive-flags", None, "False", disable_adaptive_flags),
    Row("--relative-min-noise", None, "0.01", relative_noise),
    Row("--relative-max-noise", None, "0.1", relative_noise),
    Row("--consecutive-flag-trigger", None, "3", trigger),
    Row("--max-injection-epochs", None, "10", max_injection),
    Row("--min-cooldown-epochs", None, "5", cooldown),
    Row("--max-cooldown-epochs", None, "15", cooldown),
    Row("--visualize-lr", None, "False", visualize_lr),
    Row("--disable-graphs", None, "True", disable_graphs),
    Row("--detailed-metrics", None, "False", detailed_metrics),
    Row("--scaling", None, "relative", scaling),
    Row("--split", None, "holdout", split),
    Row("--seed", None, "0", seed),
    Row("--threads", None, "1", threads),
    Row("--precision", None, "fp32", precision),
]


def offered() -> dict[str, Option]:
    options = [*RUN_SETTINGS.options.values(), *written_options(TrainOptions)]
    return {option.long: option for option in options}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.long)
def test_each_option(row: Row, run: Run, plain: Artefacts) -> None:
    option = offered()[row.long]
    assert (option.short, option.default) == (row.short, row.default)
    row.effect(run, plain)


def test_defaults_are_what_an_empty_line_gives() -> None:
    config = resolve_run("readme", None, {}, ReferenceOptions()).config
    given = {"data/dataset": "imagefolder", "data/data_dir": "photos"}
    photos = resolve_run("readme", None, given, ReferenceOptions()).config
    for path, option in RUN_SETTINGS.options.items():
        # Only photos are decoded.
        value: Any = photos if path in ("data/decoding", "data/fit") else config
        for part in path.split("/"):
            value = getattr(value, part)
        shown = "+".join(value) or "none" if isinstance(value, tuple) else str(value)
        assert option.default == shown
    assert config.noise.magnitude_min + config.noise.magnitude_extra == pytest.approx(0.1)
    assert config.noise.cooldown_min + config.noise.cooldown_extra == 15


def test_a_restart_period_beyond_the_budget_trains_at_the_real_learning_rate(run: Run) -> None:
    rates = lr_of(run(*OFF, "-e", "20", "--synthetic-train", "80", "--lr-restart-period", "50"))
    # The first two fifths of one cosine from 0.01: never below three fifths of it.
    assert rates[0] > 0.0099
    assert all(before > after for before, after in pairwise(rates))
    assert rates[-1] == pytest.approx(0.0066, abs=0.0003)


def test_epochs_window_and_warm_up_land_where_they_belong(run: Run) -> None:
    words = ["-e", "6", "--flag-window-size", "3", "--flag-min-epochs", "4"]
    logged = run(*EAGER, *words)
    assert len(logged.epochs) == 6
    assert logged.noisy == [4], "after the warm-up"
    assert (logged.config["noise"]["window"], logged.config["noise"]["warmup_epochs"]) == (3, 4)
    words = ["-e", "6", "--flag-window-size", "4", "--flag-min-epochs", "3"]
    assert run(*EAGER, *words).noisy == [4], "after the window"
