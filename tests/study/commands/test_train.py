"""``noise-train``: each option's effect, resuming, interruption, bad input."""

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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
from study.commands.test import main as evaluate
from study.commands.train import TrainOptions, main
from study.run import single_run as single_run_module
from study.run.epoch_log import EpochLog
from study.run.files import RunFiles, find_runs
from tests.support.single_runs import EAGER, OFF, QUICK, SMALL, Artefacts, artefacts, train
from trainables.config import TrainConfig, apply_overrides
from trainables.data.device_data import DeviceData, load_dataset, resolve_data
from trainables.loop import Training, train_epochs

Run = Callable[..., Artefacts]
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _few_threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``noise-train``, each time in a folder of its own."""
    numbers = iter(range(100))

    def start(*words: str) -> Artefacts:
        return train(tmp_path / f"run{next(numbers)}", *words)

    return start


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """The small run without noise, that others are compared with."""
    return train(tmp_path_factory.mktemp("plain"), *OFF)


def figures(run: Artefacts) -> list[tuple[float, float]]:
    """What two runs with the same numbers agree in."""
    return [(row["train_loss"], row["val_loss"]) for row in run.epochs]


# --- a row for each option of the reference, and of the new ones ------------------------------


@dataclass(frozen=True)
class Row:
    """One option: names and default as the README has them, and what it does in a run."""

    long: str
    short: str | None
    default: str
    effect: Callable[[Run, Artefacts], None]


STATIC = ("-nt", "gradient", "-nm", "1")


def lr_of(run: Artefacts) -> list[float]:
    return run.column("epoch_metrics", "lr")


def model_of(run: Artefacts) -> dict[str, torch.Tensor]:
    (path,) = run.files.weights_files()
    model: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return model


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
        f"{plain.files.name}_epoch{best['best_epoch']}_acc{best['best_val_accuracy']:.4f}.pth"
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
    for path, option in RUN_SETTINGS.options.items():
        value: Any = config
        for part in path.split("/"):
            value = getattr(value, part)
        shown = "+".join(value) or "none" if isinstance(value, tuple) else str(value)
        assert option.default == shown
    assert config.noise.magnitude_min + config.noise.magnitude_extra == pytest.approx(0.1)
    assert config.noise.cooldown_min + config.noise.cooldown_extra == 15


# --- the reference's two traps ----------------------------------------------------------------


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


# --- the files of a run -----------------------------------------------------------------------


def test_every_file_of_a_run(run: Run) -> None:
    done = run(*EAGER, "-e", "5", "--layer-norms")
    assert sorted(path.name for path in done.files.metrics.iterdir()) == [
        "config.json",
        "epoch_metrics.jsonl",
        "final_metrics.json",
        "noise.jsonl",
        "optimizer.jsonl",
        "signals.jsonl",
        "test_per_class.json",
    ]
    for name in ("epoch_metrics", "noise", "optimizer"):
        assert done.column(name, "epoch") == [0, 1, 2, 3, 4]
    assert TrainConfig.model_validate(done.config).data.classes is not None
    clean, noisy = done.noise[0], done.noise[2]
    assert (clean["kind"], clean["norm_before"], clean["layers"]) == ("none", None, {})
    assert noisy["norm_after"] > 0
    assert set(noisy["layers"]) == {"conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"}
    signals = done.lines("signals")
    assert set(signals[0]) == {"epoch", "signal", "value", "threshold", "raised"}
    assert [line["epoch"] for line in signals] == [2, 4]  # none in warm-up and cooldown


def test_the_result_follows_from_the_epochs(plain: Artefacts) -> None:
    final, rows = plain.final, plain.epochs
    assert all(not isinstance(value, (dict, list)) for value in final.values())
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert final["best_epoch"] == best["epoch"]
    assert final["epochs_to_best"] == best["epoch"] + 1
    assert final["best_val_accuracy"] == best["val_accuracy"]
    assert final["final_val_accuracy"] == rows[-1]["val_accuracy"]
    gaps = [row["train_accuracy"] - row["val_accuracy"] for row in rows]
    assert final["generalization_gap_final"] == gaps[-1]
    assert final["generalization_gap_at_best"] == gaps[best["epoch"]]
    assert final["generalization_gap_last_ten"] == pytest.approx(sum(gaps) / len(gaps))
    assert final["sharpness_epsilon"] > 0
    assert final["sharpness_draws"] >= 1
    assert 0 <= final["test_accuracy"] <= 1
    assert final["seconds"] > 0


def test_a_configuration_reproduces_a_trials_metrics_bit_for_bit(tmp_path: Path, run: Run) -> None:
    """What a study trains and what the command trains are one loop."""
    config = apply_overrides(
        TrainConfig.model_validate(run(*EAGER, "-e", "5").config),
        {"noise/magnitude_min": 0.7, "noise/schedule": "cosine", "seed": 3},
    )
    dataset = load_dataset(config.data)
    config = config.model_copy(update={"data": resolve_data(config.data, dataset)})
    training = Training(config, DeviceData(dataset, torch.device("cpu")))
    trial = [json.loads(json.dumps(row.to_dict())) for row in train_epochs(training)]
    file = tmp_path / "best_config.json"
    file.write_text(config.model_dump_json())
    done = train(tmp_path / "again", "--config", str(file), small=())
    keys = trial[0].keys()
    assert [{key: row[key] for key in keys} for row in done.epochs] == trial


def test_print_config_is_a_configuration_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--preset", "paper-as-run", "-c", "baby_cnn", "--print-config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["noise"]["window"], printed["noise"]["warmup_epochs"]) == (70, 10)
    assert printed["model"]["classifier"] == "BabyCNN"
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "printed.json"
    file.write_text(json.dumps(printed))
    assert main(["--config", str(file), "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


# --- going on ---------------------------------------------------------------------------------

LONG = (*EAGER, "-e", "6", "--relative-max-noise", "2")


def same_files(one: Artefacts, other: Artefacts) -> None:
    """Two runs left the same behind, apart from the clock."""
    for name in EpochLog.NAMES:
        paths = [run.files.metrics / f"{name}.jsonl" for run in (one, other)]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    finals = [{k: v for k, v in run.final.items() if k != "seconds"} for run in (one, other)]
    assert finals[0] == finals[1]
    weights = [model_of(run) for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    return train(tmp_path_factory.mktemp("whole"), *LONG)


def test_a_stored_configuration_finds_its_run_again(
    plain: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(plain.files.config), "--resume"]
    assert main([*words, "--checkpoint-dir", str(plain.files.folder)]) == 0
    assert "test set, best weights" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_exactly(
    tmp_path: Path,
    uninterrupted: Artefacts,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    words = [*SMALL, *LONG, "--checkpoint-dir", str(tmp_path)]
    write = EpochLog.write

    def interrupt(self: EpochLog, row: Any, *rest: Any) -> None:
        write(self, row, *rest)
        if row.epoch == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(EpochLog, "write", interrupt)
        assert main(words) == 128 + number
    said = capsys.readouterr().err
    assert "interrupted after 3 complete epochs" in said
    assert said.rstrip().endswith("--resume")
    stopped = artefacts(tmp_path)
    assert len(stopped.epochs) == 3
    assert stopped.files.weights_files(), "usable weights are there"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert main([*words, "--resume"]) == 0
    same_files(artefacts(tmp_path), uninterrupted)


def test_lines_ahead_of_the_checkpoint_are_written_once(
    tmp_path: Path, uninterrupted: Artefacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between an epoch's lines and its checkpoint, with half a line on top."""
    words = [*SMALL, *LONG, "--checkpoint-dir", str(tmp_path)]
    save = single_run_module.save_state

    def fail(path: Path, state: Any) -> int:
        if len(state["history"]) == 4:
            raise OSError(28, "No space left on device")
        return save(path, state)

    with monkeypatch.context() as patched:
        patched.setattr(single_run_module, "save_state", fail)
        assert main(words) == 1
    stopped = artefacts(tmp_path)
    assert len(stopped.epochs) == 4
    with (stopped.files.metrics / "noise.jsonl").open("a") as file:
        file.write('{"epoch": 4, "kin')
    assert main([*words, "--resume"]) == 0
    same_files(artefacts(tmp_path), uninterrupted)


def test_a_damaged_checkpoint_is_said_and_costs_nobody_their_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "-e", "2", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    with monkeypatch.context() as patched:
        patched.setattr(EpochLog, "close", lambda self: signal.raise_signal(signal.SIGINT))
        assert main(words) == 130
    files = RunFiles(tmp_path, "mine", "mine.pth")
    files.state.write_bytes(files.state.read_bytes()[:-5])
    assert main([*words, "--resume"]) == 2
    assert "last.ckpt: damaged" in capsys.readouterr().err
    assert main(words) == 0
    assert "is kept as mine~1" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_process_leaves_what_is_needed_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """From outside: Ctrl-C, and a kill that nobody can answer; then it goes on exactly."""
    long = (*LONG, "-e", "50")
    words = [*SMALL, *long, "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    process = subprocess.Popen(
        [sys.executable, "-m", "study.commands.train", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    epochs = 0
    for line in process.stdout:
        epochs += line.startswith("epoch ")
        if epochs == 3:
            process.send_signal(number)
            break
    _, errors = process.communicate(timeout=60)
    stopped = artefacts(tmp_path)
    done = len(stopped.epochs)
    assert 3 <= done < 50
    assert stopped.column("noise", "epoch") == list(range(done))
    assert torch.load(tmp_path / "mine.pth", weights_only=True)["epoch"] < done
    assert stopped.files.state.exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"after {done} complete epochs" in errors
        assert "--save-as mine --resume" in errors
    assert main([*words, "--resume"]) == 0
    train(tmp_path / "whole", *long, "--save-as", "mine")
    same_files(
        *(Artefacts(RunFiles(at, "mine", "mine.pth")) for at in (tmp_path, tmp_path / "whole"))
    )


def test_what_is_said_to_be_next_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, *STATIC, "-e", "1", "--checkpoint-dir", str(tmp_path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    commands = [shlex.split(line) for line in said.partition("next:")[2].splitlines() if line]
    assert [command[0] for command in commands] == ["noise-test", "noise-train", "noise-train"]
    assert evaluate(commands[0][1:]) == 0
    assert [main(command[1:]) for command in commands[1:]] == [0, 0]
    assert len(find_runs(tmp_path)) == 3, "beside the first"


def test_a_finished_run_is_shown_again(
    plain: Artefacts, capsys: pytest.CaptureFixture[str]
) -> None:
    before = plain.files.final.read_bytes()
    words = [*SMALL, *OFF, "--checkpoint-dir", str(plain.files.folder), "--resume"]
    assert main(words) == 0
    assert "test set, best weights" in capsys.readouterr().out
    assert plain.files.final.read_bytes() == before


def test_resume_needs_the_same_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    assert main([*words, "--resume"]) == 2
    assert "no run mine" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main(words) == 0
    assert main([*words, "--lr", "0.5", "--resume"]) == 2
    assert "optimizer/lr = 0.5, the run has 0.01" in capsys.readouterr().err


def test_a_name_that_is_taken_costs_nobody_their_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    assert main(words) == 0
    first = artefacts(tmp_path)
    kept = figures(first)
    assert main([*words, "--seed", "5"]) == 0
    assert "is kept as mine~1" in capsys.readouterr().out
    assert figures(Artefacts(RunFiles(tmp_path, "mine~1"))) == kept
    assert torch.load(tmp_path / "mine~1.pth", weights_only=True)["epoch"] == 0
    assert figures(Artefacts(RunFiles(tmp_path, "mine"))) != kept
    # The same settings again come out the same: nothing to keep.
    assert main([*words, "--seed", "5"]) == 0
    assert not (tmp_path / "metrics" / "mine~2").exists()


def test_a_run_under_way_is_not_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, *OFF, "--checkpoint-dir", str(tmp_path), "--save-as", "mine"]
    with RunFiles(tmp_path, "mine", "mine.pth").locked():
        assert main(words) == 2
    assert "is being trained by another process" in capsys.readouterr().err


def test_divergence_is_said_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALL, "--checkpoint-dir", str(tmp_path), *STATIC, "--scaling", "absolute"]
    assert main([*words, "-nm", "1e18", "-e", "3"]) == 1
    said = capsys.readouterr()
    assert "diverged" in said.out + said.err


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch", "3"], "did you mean --epochs?"),
        (["--lr", "0"], "optimizer.lr (--lr) = '0'"),
        (["-b", "300"], "300"),
        (["-c", "BabyCN"], "did you mean 'BabyCNN'"),
        (["--dataset", "digit"], "did you mean 'digits'"),
        (["--preset", "readm"], "did you mean 'readme'"),
        (["--dataset", "imagefolder", "-d", "nowhere"], "nowhere"),
        (["--dataset", "cifar10"], "--download"),
        (["--policy", "on_stagnation", "-e", "3"], "noise could never begin"),
        (["-nl", "convolution"], "conv1.weight"),
        (["-g", "0,1"], "--gpus-per-trial"),
        (["-g", "7x"], "--gpu = 7x"),
        (["--device", "cpu"], "--gpu = cpu and --device = cpu say the same thing"),
        (["--save-as", "a/b.pth"], "--checkpoint-dir"),
        (["--config", "missing.json"], "missing.json"),
        (["--checkpoint-dir", "/dev/null/x"], "--checkpoint-dir"),
        (["--tracking-uri", "mlruns"], "tracking_uri"),
        (["--relative-max-noise", "0"], "--relative-min-noise"),
        (["-w"], "download_weights"),
        (["--resume"], "--resume: no run"),
        (["-c", "nowhere:model"], "nowhere"),
    ],
)
def test_bad_input_is_answered_once_and_nothing_is_written(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *OFF, *words]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--lr", "x"], ["--nois"], ["--print-config"], ["--help"]])
def test_what_needs_no_torch_does_not_wait_for_it(words: list[str]) -> None:
    code = (
        "import sys; from study.commands.train import main; main(sys.argv[1:]); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'ray', 'mlflow', 'optuna')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_without_a_gpu_the_run_says_that_it_uses_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is one")
    small = SMALL[:-2]
    assert main([*small, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path / "a")]) == 0
    assert "uses the CPU" in capsys.readouterr().out
    words = [*small, *OFF, "-e", "1", "--checkpoint-dir", str(tmp_path / "b"), "-g", "0"]
    assert main(words) == 0
    assert "using the CPU" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tracked_run_is_in_mlflow_once_though_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = [*SMALL, *EAGER, "--checkpoint-dir", str(tmp_path / "runs"), "--tracking-uri", uri]
    save = single_run_module.save_state

    def stop(path: Path, state: Any) -> int:
        if len(state["history"]) == 3:
            signal.raise_signal(signal.SIGINT)
        return save(path, state)

    with monkeypatch.context() as patched:
        patched.setattr(single_run_module, "save_state", stop)
        assert main(words) == 130
    assert main([*words, "--resume"]) == 0
    done = artefacts(tmp_path / "runs")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("noise-train")
    (found,) = client.search_runs([experiment.experiment_id], "tags.role = 'trial'")
    assert found.data.metrics["test_accuracy"] == done.final["test_accuracy"]
    history = client.get_metric_history(found.info.run_id, "val_loss")
    stored = sorted((point.step, point.value) for point in history)
    assert stored == [(row["epoch"], row["val_loss"]) for row in done.epochs]
    names = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert {"config.json", "noise.jsonl", "epoch_metrics.jsonl", "final_metrics.json"} <= names
    statuses = {run.info.status for run in client.search_runs([experiment.experiment_id])}
    assert statuses == {"FINISHED"}
