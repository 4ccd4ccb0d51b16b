"""Bad input to ``noise-study run``: one message, exit code 2, nothing started or written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from study.checks import check_study
from study.commands.options import run_command
from study.commands.study import main
from study.config import StudyConfig
from tests.support.refusals import refused_run
from trainables import memory
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.settings import parse_config


def _image_folder(root: Path) -> Path:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(8):
                Image.new("RGB", (8, 8), (index * 30, 10, 200)).save(folder / f"{index}.png")
    return root


PAIRED = ("--early-stopping", "--early-stopping-rule", "paired")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trails", "3"], ["--trails", "--trials"]),
        (["--trials", "0"], ["trials", "0", "greater than or equal to 1"]),
        (["--trials", "many"], ["trials", "many"]),
        (["--seed", "9223372036854775807"], ["seed", "too large"]),
        (["--lr", "1e39"], ["lr", "less than or equal to 10000"]),
        (["--threads", "99999999"], ["threads", "less than or equal to 1024"]),
        (["--synthetic-train", "999999999999999"], ["synthetic_train", "1000000"]),
        (["--max-cooldown-epochs", "1e30"], ["cooldown"]),
        (["--tracking-uri", "http://[bad"], ["tracking_uri", "Invalid IPv6"]),
        (["--tracking-uri", "postgresql://["], ["tracking_uri", "Invalid IPv6"]),
        (["--tracking-uri", "sqlite:////"], ["tracking_uri", "a folder; give"]),
        (["--tracking-uri", "sqlite:////no/such/x.db"], ["tracking_uri", "no folder /no/such"]),
        (["--tracking-uri", f"sqlite:///{__file__}"], ["tracking_uri", "no SQLite database"]),
        (
            ["--early-stopping-rule", "paired"],
            ["early_stopping_rule (--early-stopping-rule) = 'paired'", "needs --early-stopping"],
        ),
        (
            [*PAIRED, "--objective", "best_val_accuracy,tail_val_loss"],
            ["early_stopping_rule (--early-stopping-rule) = 'paired'", "needs one --objective"],
        ),
        (["--early-stopping-rule", "best"], ["early_stopping_rule", "'asha' or 'paired'"]),
        (["--name", "mlflow.db"], ["'mlflow.db'", "needs a file of this name"]),
        (["--name", "mlflow.db-wal"], ["'mlflow.db-wal'", "needs a file of this name"]),
        (["--data-dir", "~no-such-user/x", "--dataset", "imagefolder"], ["no such user"]),
        (["--data-dir", "a\0b", "--dataset", "imagefolder"], ["data_dir", "NUL"]),
        (
            ["--data-dir", ".", "--dataset", "imagefolder", "--fit", "zoom"],
            ["data.fit (--fit) = 'zoom'", "crop, pad, stretch"],
        ),
        (
            ["--data-dir", ".", "--dataset", "imagefolder", "--background", "#12345"],
            ["data.background (--background) = '#12345'", "white, black, grey, or #RRGGBB"],
        ),
        (["--fit", "pad"], ["data.fit (--fit) = 'pad'", "'digits' has none"]),
        (["--fit", "pad"], ["imagefolder, csv, npz, huggingface and your own (package.mod"]),
        (["--skip-broken"], ["any size: imagefolder, csv; data.dataset = 'digits'"]),
        (["--metric", "a:Cost"], ["measured = 'a:Cost' (--metric): name: 'Cost': a metric's"]),
        (["--background", "black"], ["data.background (--background) = 'black'", "image files"]),
        (["--image-size", "7"], ["data.image_size (--image-size) = '7'", "or equal to 8"]),
        (["--image-size", "513"], ["data.image_size (--image-size) = '513'", "or equal to 512"]),
        (["--image-size", "64.5"], ["data.image_size (--image-size) = '64.5'", "integer"]),
        (["--image-size", "64x64"], ["data.image_size (--image-size) = '64x64'", "integer"]),
        (["--channels", "2"], ["data.channels (--channels) = '2'", "allowed: 1 (grey), 3 (RGB)"]),
        (["--channels", "grey"], ["data.channels (--channels) = 'grey'", "integer"]),
        (
            ["--image-size", "40", "--classifier", "vit_b_16"],
            ["data.image_size (--image-size) = 40", "'vit_b_16' can't take", "give another size"],
        ),
        (["--classifier", "vit_b_16"], ["can't take 32×32 images", "see --image-size"]),
        (["--skip-broken"], ["data.skip_broken (--skip-broken) = True", "image files"]),
        (["--lr", "-1"], ["lr", "-1", "greater than 0"]),
        (["--lr", "nan"], ["lr", "nan", "finite"]),
        (["--subset", "1.5"], ["subset", "1.5", "less than or equal to 1"]),
        (["--flag-plateau-delta", "0"], ["plateau_delta", "0", "greater than 0"]),
        (["--flag-plateau-delta", "-1e-4"], ["plateau_delta", "-1e-4", "greater than 0"]),
        (["--epochs", "2"], ["epochs = 2", "at least 4"]),
        (["--tracking-uri", "bogus://x"], ["tracking_uri = 'bogus://x'", "sqlite:///FILE"]),
        (["--name", "register.jsonl"], ["= 'register.jsonl'", "give another name"]),
        (["--split-seed", "3"], ["split_seed (--split-seed) = 3", "--split pooled"]),
        (["--split", "pooled", "--split-seed", "-1"], ["split_seed", "-1", "or equal to 0"]),
        (["--batch-size", "2000"], ["batch_size = 2000", "at most 1009"]),
        (["--classifier", "BabyCN"], ["BabyCN", "did you mean 'BabyCNN'"]),
        (["--classifier", "no_such_package:f"], ["no_such_package"]),
        (["--data", "digits"], ["--data: no such option", "did you mean --dataset?"]),
        (["--dataset", "cifar11"], ["cifar11", "did you mean 'cifar10'"]),
        (["--space", "adaptive"], ["adaptive", "did you mean 'adaptive_noise'"]),
        (["--sampler", "tpee"], ["tpee", "did you mean 'tpe'"]),
        (["--objective", "val_accuracy"], ["val_accuracy", "best_val_accuracy"]),
        (["--objective", "generalization_gap"], ["generalization_gap", "only objective"]),
        (["--sampler", "cmaes", "--objective", "best_val_accuracy,best_val_loss"], ["cmaes"]),
        (["--noise-layer", "conv9"], ["conv9", "conv1.weight"]),
        (["--gpus-per-trial", "0.5"], ["gpus_per_trial = 0.5", "--device cuda"]),
        (["--device", "cuda:7"], ["cuda:7"]),
        (["--device", "cuda", "--gpus-per-trial", "64"], ["gpus_per_trial = 64", "this machine"]),
        (["--gpus-per-trial", "1.5"], ["gpus_per_trial", "1.5"]),
        (["--name", "a/b"], ["name", "a/b"]),
        (["--time-budget", "0"], ["time_budget", "0"]),
        (["--preset", "quickstrt"], ["quickstrt", "did you mean 'quickstart'"]),
        (["--config", "missing.json"], ["missing.json", "can't be read"]),
        (["--dataset", "imagefolder"], ["data_dir", "--data-dir"]),
        (["--dataset", "imagefolder", "--data-dir", "nowhere"], ["nowhere", "no such folder"]),
        (["--dataset", "cifar10", "--data-dir", "nowhere"], ["nowhere", "--download"]),
    ],
)
def test_a_wrong_option_is_answered(
    arguments: list[str],
    said: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if arguments[:2] == ["--device", "cuda:7"] and _gpus() > 7:
        pytest.skip("this machine has that GPU")
    monkeypatch.chdir(tmp_path)
    message = refused_run(capsys, tmp_path, *arguments)
    for words in said:
        assert words in message


def test_passes_of_a_step_take_memory_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    size = memory.ModelSize(parameters=10**3, activations=10**6)
    config = apply_overrides(TrainConfig(), {"data/batch_size": 1000})
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(10**9, 10**9))
    with pytest.raises(InputError, match=r"one training of BabyCNN takes at least"):
        memory.check_training(config, size)
    memory.check_training(apply_overrides(config, {"optimizer/accumulate": 10}), size)
    memory.check_training(apply_overrides(config, {"slice": 100}), size)


def test_trainings_that_fit_alone_and_not_at_once_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    size = memory.ModelSize(parameters=10**3, activations=10**6)
    config = apply_overrides(TrainConfig(), {"data/batch_size": 100})
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(10**9, 10**9))
    for at_once, told in ((1, False), (2, False), (3, True)):
        caplog.clear()
        memory.check_training(config, size, at_once)
        assert ("the 3 that may run at once: give --max-concurrent 2" in caplog.text) is told


def test_a_study_counts_the_trainings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("study.checks.check_training", lambda *given: asked.append(given[-1]))
    for module in ("study.tune.cores", "study.checks"):
        monkeypatch.setattr(f"{module}.cores_here", lambda: 6)
    train = {"device": "cpu", "data": {"dataset": "digits", "image_size": 40}}
    check_study(parse_config(StudyConfig, {"cpus_per_trial": 2, "train": train}))
    assert asked == [3]


def test_what_no_memory_holds_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(10**9, 10**9))
    large = ("--image-size", "512", "--batch-size", "1000")
    message = refused_run(capsys, tmp_path, *large)
    assert "data.image_size (--image-size) = 512, data.channels (--channels) = 3" in message
    assert "give a smaller size, --channels 1, or fewer images" in message
    large = (*large, "--channels", "1", "--classifier", "resnet50")
    monkeypatch.setattr(memory, "machine_memory", lambda: memory.Memory(10**10, 10**10))
    message = refused_run(capsys, tmp_path, *large)
    assert "data.batch_size (--batch-size) = 1000, data.image_size (--image-size) = 512" in message
    assert "one training of resnet50 takes at least" in message
    assert "give a smaller batch, --accumulate, a smaller size, or another classifier" in message


@pytest.mark.parametrize("epochs", ["-3", "0", "1.5", "many"])
def test_a_wrong_budget_is_one_message_and_names_no_period(
    epochs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused_run(capsys, tmp_path, "--epochs", epochs)
    assert message.startswith(f"noise-study: train.epochs (--epochs) = '{epochs}': ")
    assert message.count("\n") == 1


def test_a_field_is_named_once_and_with_the_place_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({"train": {"data": {"batch_size": 0}}}))
    lines = refused_run(capsys, tmp_path, "--config", str(path), "--lr", "nan").splitlines()
    assert sorted(line.removeprefix("noise-study: ").partition(" = ")[0] for line in lines) == [
        f"{path}: train.data.batch_size",
        "train.optimizer.lr (--lr)",
    ]
    message = refused_run(capsys, tmp_path, "--objective", "generalization_gap")
    assert message.count("objective = ") == 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", ["not valid JSON"]),
        ('{"noise/patience": 3}', ["expected a list"]),
        ("[]", ["empty list"]),
        ('[{"noise/patience": 3}, 7]', ["entry 1"]),
        ('[{"noise/patience": 3}, {"noise/patience": -1}]', ["entry 1", "patience", "-1"]),
        ('[{"noise/patiense": 3}]', ["entry 0", "patiense"]),
        ('[{"noise/plateau_delta": 0}]', ["entry 0", "plateau_delta", "greater than 0"]),
        ('[{"noise/warmup_epochs": 500}]', ["entry 0", "noise could never begin"]),
        ('[{"optimizer/lr": 0.5}]', ["entry 0", "optimizer/lr", "only settings of the noise"]),
        ('[{"noise/layers": ["fc9"]}]', ["entry 0", "fc9"]),
    ],
)
def test_a_broken_configurations_file_is_answered(
    content: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "configs.json"
    path.write_text(content)
    message = refused_run(capsys, tmp_path, "--configs", str(path))
    for words in said:
        assert words in message


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trails": 3}, "trails"),
        ({"train": {"epochs": "x"}}, "train.epochs"),
        ({"train": {"noise": {"window": 1}}}, "train.noise.window"),
        ({"train": 3}, "train"),
        ([1], "mapping"),
    ],
)
def test_a_broken_configuration_file_is_answered(
    values: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(values))
    assert said in refused_run(capsys, tmp_path, "--config", str(path))


def test_no_new_study_lies_where_an_object_store_has_its_register(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, work = (tmp_path / "store").as_uri(), tmp_path / "work"
    words = ["--name", "register", "--storage", store, "--work-dir", str(work)]
    assert "name = 'register': the register of file://" in refused_run(capsys, tmp_path, *words)


def test_broken_image_folders_are_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = _image_folder(tmp_path / "images")

    def refused() -> str:
        options = ("--dataset", "imagefolder", "--data-dir", str(folder), "--batch-size", "4")
        return refused_run(capsys, tmp_path, *options)

    (folder / "test" / "dog").rename(folder / "test" / "wolf")
    assert "wolf" in refused()
    (folder / "test" / "wolf").rename(folder / "test" / "dog")
    (folder / "train" / "bird").mkdir()
    assert "bird" in refused()
    (folder / "train" / "bird").rmdir()
    (folder / "train" / "cat" / "3.png").write_bytes(b"no image at all")
    assert "3.png" in refused()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX folders")
def test_a_storage_that_cannot_be_written_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", "--storage", str(tmp_path / "file" / "below")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main(["run", "--storage", "/proc/nowhere"]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_a_mistake_is_answered_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from study.commands.study import main; "
        f"code = main(['run', '--storage', {str(tmp_path / 's')!r}, '--trials', '0']); "
        "heavy = {'ray', 'mlflow', 'torch'} & set(sys.modules); print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "2 []"


def test_no_command_and_an_unknown_one_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rum"]) == 2
    assert "run" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "clean" in capsys.readouterr().out
    assert main(["clean", "nothing", "--storage", "/nonexistent"]) == 2


ON_A_STUDY = ("clean", "resume", "confirm", "sync", "set", "stop")


@pytest.mark.parametrize("storage", ["", "~no-such-user/x", "lone\udfffsurrogate", "a" * 300])
def test_a_storage_that_can_be_none_is_refused(
    capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    for command in (["run"], ["list"], *([word, "a"] for word in ON_A_STUDY)):
        assert main([*command, "--storage", storage]) == 2
        assert "storage = " in capsys.readouterr().err


@pytest.mark.parametrize("command", ON_A_STUDY)
def test_no_name_leads_out_of_the_storage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    elsewhere = tmp_path / "elsewhere" / "q" / "checkpoints" / "trial-0000"
    elsewhere.mkdir(parents=True)
    (elsewhere / "final.ckpt").write_bytes(b"kept")
    (elsewhere.parents[1] / "study.json").write_text("{}", encoding="utf-8")
    (tmp_path / "studies").mkdir()
    for name in ("../elsewhere/q", str(tmp_path / "elsewhere" / "q"), "..", "a/../b", "a\nb"):
        assert main([command, name, "--storage", str(tmp_path / "studies")]) == 2
        assert "no name of a study" in capsys.readouterr().err
    assert (elsewhere / "final.ckpt").read_bytes() == b"kept"


def test_images_that_are_no_files_or_have_no_name(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    images = _image_folder(tmp_path / "images")
    pipe = images / "train" / "cat" / "pipe.png"
    os.mkfifo(pipe)
    options = ("--dataset", "imagefolder", "--data-dir", str(images), "--batch-size", "4")
    (images / "test" / "dog" / "loop.png").symlink_to("loop.png")
    told = refused_run(capsys, tmp_path, *options)
    assert "pipe.png: can't be read as an image (not a file)" in told
    assert "loop.png: can't be read as an image (Too many levels of symbolic links)" in told
    pipe.unlink()
    os.mkdir(os.fsencode(images / "train") + b"/\xff\xfe")
    assert "no name in UTF-8" in refused_run(capsys, tmp_path, *options)


def test_an_error_that_nobody_foresaw_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(words: object) -> int:
        raise RuntimeError("first line\nsecond line")

    assert run_command("noise-study", fails, []) == 1
    told = capsys.readouterr().err
    assert told.startswith("noise-study: unexpected error, RuntimeError: first line. What led")
    file = Path(told.strip().rpartition(" ")[2])
    assert "RuntimeError: first line\nsecond line" in file.read_text(encoding="utf-8")
    file.unlink()


def test_a_terminal_that_shows_ascii_alone_ends_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "study.commands.study", "list", "--storage", str(tmp_path / "ä")],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
