"""Options generated from the configuration: names, combination of sources, answers to mistakes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.commands.analysis import main as analysis_main
from study.commands.check_data import DATA_OPTIONS
from study.commands.documents import OPTIONS
from study.commands.experiment import EXPERIMENT_OPTIONS, read_experiment
from study.commands.options import VERSION_HELP, read_command_line, run_command
from study.commands.reference_options import (
    RUN_SETTINGS,
    ReferenceOptions,
    ResolvedRun,
    choose_policy,
    resolve_run,
)
from study.commands.run import STUDY_OPTIONS, study_config
from study.commands.settings import SettingOptions, option
from study.commands.study import main as study_main
from study.commands.train import main as train_main
from study.config import RunsConfig
from study.records.folder import StudyFolder
from study.records.storage import Storage
from trainables.config import TrainConfig, setting_paths
from trainables.errors import InputError
from trainables.presets import paper, readme


@dataclass(frozen=True)
class Extra(ReferenceOptions):
    """A command's own options."""

    resume: Annotated[bool, option("--resume", help="go on")] = False


def read(*words: str) -> Any:
    return read_command_line(words, RUN_SETTINGS, Extra, prog="noise-test-me", description="Test.")


def resolve(*words: str, preset: str = "readme", file: Path | None = None) -> ResolvedRun:
    line = read(*words)
    return resolve_run(preset, None if file is None else str(file), line.given, line.extra)


@pytest.fixture
def config_file(tmp_path: Path) -> Any:
    def write(values: dict[str, Any]) -> Path:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(values))
        return path

    return write


# --- the generator ---------------------------------------------------------------------------


def test_every_setting_with_an_option_is_offered_once() -> None:
    offered = RUN_SETTINGS.options
    declared = {
        path
        for path, field in setting_paths(TrainConfig).items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("option")
    }
    assert set(offered) == declared - {"noise/kind"}
    names = [option.long for option in offered.values()]
    names += [option.short for option in offered.values() if option.short]
    assert len(names) == len(set(names))


def test_what_is_not_given_is_not_there() -> None:
    assert read().given == {}
    assert read().extra == Extra()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-b", "256"], {"data/batch_size": "256"}),
        (["--batch-size=256"], {"data/batch_size": "256"}),
        (["-b1", "0.5", "-b", "8"], {"optimizer/beta1": "0.5", "data/batch_size": "8"}),
        (["-n", "2", "-nm", "3"], {"data/workers": "2", "noise/magnitude": "3"}),
        (["-p"], {"noise/permanent": True}),
        (["--no-permanent"], {"noise/permanent": False}),
        (["-nl", "conv", "-nl", "fc"], {"noise/layers": ["conv", "fc"]}),
        (["-nl", "conv", "fc"], {"noise/layers": ["conv", "fc"]}),
        (["-nl", "conv,fc", "-p"], {"noise/layers": ["conv", "fc"], "noise/permanent": True}),
        (["--signals", "stuck+overfitting"], {"noise/signals": ["stuck", "overfitting"]}),
        (["--patience", "None"], {"noise/patience": None}),
        (["--lr", "-1"], {"optimizer/lr": "-1"}),
        (["-e", "3", "-e", "4"], {"epochs": "4"}),
    ],
)
def test_spellings(words: list[str], expected: dict[str, Any]) -> None:
    assert read(*words).given == expected


@pytest.mark.parametrize(
    ("word", "classifier"),
    [
        ("resnet18", "resnet18"),
        ("SimpleCNN", "SimpleCNN"),
        ("TinyCNN", "TinyCNN"),
        ("BabyCNN", "BabyCNN"),
        ("simple_cnn", "SimpleCNN"),
        ("tiny_cnn", "TinyCNN"),
        ("baby_cnn", "BabyCNN"),
    ],
)
def test_both_spellings_of_the_references_models(word: str, classifier: str) -> None:
    assert resolve("-c", word).config.model.classifier == classifier


@pytest.mark.parametrize("word", ["SGD", "sgd", "Adam", "adam", "ADAM"])
def test_optimizers_in_any_case(word: str) -> None:
    assert resolve("-o", word).config.optimizer.optimizer.lower() == word.lower()


def test_only_omit_and_short_limit_what_is_offered() -> None:
    few = SettingOptions(TrainConfig, readme(), only=["data", "epochs"], omit=["data/subset"])
    assert "epochs" in few.options
    assert "data/batch_size" in few.options
    assert "data/subset" not in few.options
    assert not any(path.startswith("noise/") for path in few.options)
    long = SettingOptions(TrainConfig, readme(), short=False)
    assert all(option.short is None for option in long.options.values())


def test_help_breaks_no_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    said = "Train one classifier, with noise injected when training gets stuck."
    with pytest.raises(SystemExit):
        read_command_line(["--help"], RUN_SETTINGS, Extra, prog="x", description=said)
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in lines[2:4]] == [
        "Train one classifier, with noise",
        "injected when training gets stuck.",
    ]


def test_help_shows_the_given_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    def command(words: Any) -> int:
        paper_options = SettingOptions(TrainConfig, paper(), only=["data/batch_size"])
        read_command_line(words, paper_options, Extra, prog="x", description="What it does.")
        return 1

    assert run_command("x", command, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "What it does." in shown
    assert "-b INT, --batch-size INT" in shown
    assert "(default: 256)" in shown
    assert "--gpu" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batchsize", "3"], r"--batchsize: no such option; did you mean --batch-size\?"),
        (["--nois-type=weight"], r"--nois-type: no such option; did you mean --noise-type\?"),
        (["--resum"], r"--resum: no such option; did you mean --resume\?"),
        (["train"], r"'train': expected an option"),
        (["-nl"], r"--noise-layer: give at least one name"),
    ],
)
def test_unknown_words(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(*words)


def test_a_missing_value_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    def command(words: Any) -> int:
        read(*words)
        return 0

    assert run_command("x", command, ["--lr"]) == 2
    assert "--lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prog", "main"),
    [("noise-study", study_main), ("noise-analysis", analysis_main), ("noise-train", train_main)],
)
def test_the_version_is_told_and_the_help_says_how(
    prog: str, main: Callable[[Any], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{prog} {version('noise-study')}\n"
    assert main(["--help"]) == 0
    assert VERSION_HELP in " ".join(capsys.readouterr().out.split())
    assert "`noise-study --version`" in OPTIONS.read_text(encoding="utf-8")


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def bad(words: Any) -> int:
        raise InputError("lr = -1: must be greater than 0")

    def interrupted(words: Any) -> int:
        raise KeyboardInterrupt

    def broken(words: Any) -> int:
        raise RuntimeError("a bug")

    assert run_command("noise-x", bad, []) == 2
    assert capsys.readouterr().err == "noise-x: lr = -1: must be greater than 0\n"
    assert run_command("noise-x", interrupted, []) == 130
    assert run_command("noise-x", broken, []) == 1
    assert "unexpected error, RuntimeError: a bug" in capsys.readouterr().err


# --- policy ----------------------------------------------------------------------------------

KINDS = ("gradient", "weight", "input", "label")


@pytest.mark.parametrize("stuck_only", [False, True])
def test_no_type_is_adaptive_as_the_references_default_call(stuck_only: bool) -> None:
    assert choose_policy("none", stuck_only, False).policy == "on_stagnation"


@pytest.mark.parametrize("kind", KINDS)
def test_a_type_with_stuck_only_is_ignored_and_said(kind: str) -> None:
    choice = choose_policy(kind, True, False)
    assert (choice.policy, choice.kind, choice.ignored) == ("on_stagnation", None, kind)
    resolved = resolve("-nt", kind, "-so")
    assert resolved.config.noise.policy == "on_stagnation"
    assert len(resolved.notices) == 1
    assert f"--noise-type {kind} is ignored" in resolved.notices[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adaptive_off", [False, True])
def test_a_type_alone_is_static_noise(kind: str, adaptive_off: bool) -> None:
    words = ["-nt", kind, *(["--disable-adaptive-flags"] if adaptive_off else [])]
    noise = resolve(*words).config.noise
    assert (noise.policy, noise.kind) == ("always", kind)


def test_no_type_and_no_adaptive_flags_is_the_baseline() -> None:
    assert resolve("--disable-adaptive-flags").config.noise.policy == "off"
    assert resolve("-nt", "none", "--disable-adaptive-flags").config.noise.policy == "off"


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_contradicting_switches_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match="contradict each other"):
        resolve("-nt", kind, "-so", "--disable-adaptive-flags")


def test_policy_given_outright_decides() -> None:
    assert resolve("--policy", "off", "-so").config.noise.policy == "off"
    noise = resolve("--policy", "always", "-nt", "input").config.noise
    assert (noise.policy, noise.kind) == ("always", "input")
    with pytest.raises(InputError, match="contradict"):
        resolve("--policy", "always", "-nt", "none")


def test_a_file_that_sets_the_policy_keeps_it_unless_the_line_speaks(config_file: Any) -> None:
    file = config_file({"noise": {"policy": "always", "kind": "weight"}})
    noise = resolve("-nm", "0.5", file=file).config.noise
    assert (noise.policy, noise.kind, noise.magnitude) == ("always", "weight", 0.5)
    assert resolve("-so", file=file).config.noise.policy == "on_stagnation"
    assert resolve("--disable-adaptive-flags", file=file).config.noise.policy == "off"
    assert resolve("-nt", "label", file=file).config.noise.kind == "label"


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(InputError, match="--noise-type = 'wieght': did you mean 'weight'"):
        resolve("-nt", "wieght")


# --- precedence ------------------------------------------------------------------------------


def test_preset_then_file_then_options(config_file: Any) -> None:
    file = config_file({"epochs": 150, "data": {"batch_size": 64}})
    config = resolve("-b", "32", preset="paper", file=file).config
    assert config.data.batch_size == 32
    assert config.epochs == 150
    assert config.optimizer.weight_decay == paper().optimizer.weight_decay
    assert resolve(preset="paper", file=file).config.data.batch_size == 64


def test_a_whole_file_is_taken_as_it_is(config_file: Any) -> None:
    whole = paper().model_copy(update={"seed": 7, "device": "cpu"})
    file = config_file(whole.model_dump(mode="json"))
    assert resolve(file=file).config == whole


def test_epochs_window_and_warm_up_land_where_they_belong() -> None:
    words = ["--flag-min-epochs", "7", "-e", "31", "--flag-window-size", "4"]
    config = resolve(*words).config
    assert (config.epochs, config.noise.window, config.noise.warmup_epochs) == (31, 4, 7)


@pytest.mark.parametrize(
    ("words", "minimum", "extra"),
    [
        (["--relative-min-noise", "0.02"], 0.02, 0.08),
        (["--relative-max-noise", "0.5"], 0.01, 0.49),
        (["--relative-max-noise", "0.5", "--relative-min-noise", "0.1"], 0.1, 0.4),
        (["--relative-min-noise", "0.1"], 0.1, 0.0),
        (["--magnitude-extra", "3"], 0.01, 3.0),
        (["--relative-min-noise", "1", "--magnitude-extra", "3"], 1.0, 3.0),
        (["--relative-max-noise", "0.1"], 0.01, 0.09),
    ],
)
def test_changing_a_minimum_keeps_the_maximum(
    words: list[str], minimum: float, extra: float
) -> None:
    noise = resolve(*words).config.noise
    assert (noise.magnitude_min, noise.magnitude_extra) == (minimum, extra)


def test_the_maximum_that_is_kept_is_the_files(config_file: Any) -> None:
    file = config_file({"noise": {"magnitude_min": 1.0, "magnitude_extra": 2.0}})
    noise = resolve("--relative-min-noise", "2.5", file=file).config.noise
    assert (noise.magnitude_min, noise.magnitude_extra) == (2.5, 0.5)


@pytest.mark.parametrize(
    ("words", "minimum", "extra"),
    [
        (["--min-cooldown-epochs", "2"], 2, 13),
        (["--max-cooldown-epochs", "9"], 5, 4),
        (["--max-cooldown-epochs", "9", "--min-cooldown-epochs", "9"], 9, 0),
        (["--cooldown-extra", "1"], 5, 1),
    ],
)
def test_cooldowns_likewise(words: list[str], minimum: int, extra: int) -> None:
    noise = resolve(*words).config.noise
    assert (noise.cooldown_min, noise.cooldown_extra) == (minimum, extra)


@given(
    low=st.integers(0, 10**6).map(lambda n: n / 10**4),
    width=st.integers(0, 10**6).map(lambda n: n / 10**4),
)
@settings(max_examples=40, deadline=None)
def test_minimum_and_maximum_give_back_the_maximum(low: float, width: float) -> None:
    high = round(low + width, 4)
    noise = resolve(
        "--relative-min-noise", str(low), "--relative-max-noise", str(high)
    ).config.noise
    assert noise.magnitude_min == low
    assert noise.magnitude_min + noise.magnitude_extra == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--relative-min-noise", "0.5"], "--relative-max-noise = 0.1, which stays as it was"),
        (
            ["--relative-max-noise", "0.001"],
            "--relative-max-noise = 0.001: it is below --relative-min-noise = 0.01",
        ),
        (["--min-cooldown-epochs", "16"], "--max-cooldown-epochs = 15"),
        (["--max-cooldown-epochs", "4.5"], "a whole number is needed"),
        (["--relative-max-noise", "much"], "--relative-max-noise = 'much': a number is needed"),
        (["--relative-max-noise", "1", "--magnitude-extra", "1"], "say the same thing"),
        (["--relative-min-noise", "-1"], r"noise.magnitude_min \(--relative-min-noise\) = '-1'"),
        (["--lr", "-1"], r"optimizer.lr \(--lr\) = '-1': .* greater than 0"),
        (["-b", "many"], r"data.batch_size \(--batch-size\) = 'many'"),
        (["-s", "1.5"], r"data.subset \(--subset\) = '1.5'"),
        (["--flag-plateau-delta", "0"], r"noise.plateau_delta \(--flag-plateau-delta\) = '0'"),
        (["-ns", "cosin"], "did you mean 'cosine'"),
        (["--signals", "stuk"], "did you mean 'stuck'"),
        (["-o", "Adan"], "did you mean 'Adam'"),
        (["--dataset", "cifra10"], "did you mean 'cifar10'"),
        (["-e", "5"], "noise could never begin"),
        (["--lr", "nan"], "finite"),
        (["--dataset", "imagefolder"], "--data-dir"),
    ],
)
def test_bad_input(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(*words)


def test_mistakes_in_a_file_name_the_file(config_file: Any) -> None:
    file = config_file({"noise": {"patiense": 3}, "epochs": -1})
    with pytest.raises(InputError) as error:
        resolve(file=file)
    assert f"{file}: noise.patiense = 3: no such setting" in str(error.value)
    assert f"{file}: epochs = -1" in str(error.value)


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_files_that_hold_no_settings(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"broken\.json"):
        resolve(file=file)


# --- data set and device ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "dataset", "folder"),
    [
        ([], "cifar10", "./data/cifar10"),
        (["--data-dir", "/data/cifar100"], "cifar100", "/data/cifar100"),
        (["--data-dir", "/data/CIFAR100-py/raw"], "cifar100", "/data/CIFAR100-py/raw"),
        (["--data-dir", "/cifar100-work/cifar10"], "cifar10", "/cifar100-work/cifar10"),
        (["--data-dir", "/data/cifar100", "--dataset", "cifar10"], "cifar10", "/data/cifar100"),
        (["--dataset", "cifar100"], "cifar100", "./data/cifar100"),
        (["--dataset", "digits"], "digits", None),
        (["--dataset", "imagefolder", "-d", "/my/cifar100"], "imagefolder", "/my/cifar100"),
    ],
)
def test_data_set_and_folder(words: list[str], dataset: str, folder: str | None) -> None:
    data = resolve(*words).config.data
    assert (data.dataset, data.data_dir) == (dataset, folder)


def test_another_data_set_drops_what_was_read_from_the_files_own(config_file: Any) -> None:
    stored = {"data": {"dataset": "digits", "data_dir": None, "mean": [0.5, 0.5, 0.5]}}
    file = config_file(stored)
    assert resolve(file=file).config.data.mean == (0.5, 0.5, 0.5)
    assert resolve("--dataset", "synthetic", file=file).config.data.mean is None
    assert resolve("--dataset", "cifar100", file=file).config.data.data_dir == "./data/cifar100"


def test_a_folder_that_a_file_gives_alone_is_kept(config_file: Any) -> None:
    file = config_file({"data": {"data_dir": "/mine"}})
    assert resolve("--dataset", "imagefolder", file=file).config.data.data_dir == "/mine"


def test_a_whole_runs_configuration_is_laid_below_the_options(config_file: Any) -> None:
    stored = paper().model_dump(mode="json")
    file = config_file(stored | {"device": "cpu"})
    noise = resolve("--policy", "off", file=file).config.noise
    assert noise == paper().noise.model_copy(update={"policy": "off"})


@pytest.mark.parametrize(("text", "device"), [("cpu", "cpu"), ("0", "cpu"), ("auto", "cpu")])
def test_gpu_where_there_is_none(text: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("there is one")
    resolved = resolve("-g", text)
    assert resolved.config.device == device
    assert bool(resolved.notices) == (text != "cpu")


# --- how photos are decoded --------------------------------------------------------------------

PHOTOS = ("--dataset", "imagefolder", "--data-dir", "photos")
NEW, RECORDED = (2, "crop"), (1, "stretch")


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        (None, (), RECORDED),  # Of digits: nothing is decoded.
        (None, PHOTOS, NEW),
        (None, (*PHOTOS, "--fit", "stretch"), (2, "stretch")),
        # A file that a run or a study wrote before there was a choice, and one written by hand.
        ({"dataset": "imagefolder", "data_dir": "p", "classes": ["a", "b"]}, (), RECORDED),
        ({"dataset": "imagefolder", "data_dir": "p", "classes": None}, (), RECORDED),
        (
            {"dataset": "imagefolder", "data_dir": "p", "classes": None},
            ("--fit", "pad"),
            (1, "pad"),
        ),
        ({"dataset": "imagefolder", "data_dir": "p"}, (), NEW),
        ({"dataset": "imagefolder", "data_dir": "p", "fit": "pad"}, (), (2, "pad")),
        ({"flip": False}, PHOTOS, NEW),
        # Another data set than the file's, which says more than the other one needs.
        ({"dataset": "digits", "fit": "stretch", "decoding": 1, "classes": None}, PHOTOS, NEW),
        (
            {"dataset": "imagefolder", "data_dir": "p", "fit": "crop", "decoding": 2},
            ("--dataset", "digits"),
            RECORDED,
        ),
    ],
)
def test_new_photos_are_decoded_as_they_should_be_and_recorded_ones_as_they_were(
    file: dict[str, Any] | None,
    words: tuple[str, ...],
    expected: tuple[int, str],
    config_file: Any,
) -> None:
    path = None if file is None else config_file({"data": file})
    data = resolve(*words, file=path).config.data
    assert (data.decoding, data.fit) == expected
    if file is not None:
        path = config_file({"train": {"data": file}})
    study = study_config([*words, *(() if path is None else ("--config", str(path)))])
    assert (study.train.data.decoding, study.train.data.fit) == expected


@pytest.mark.parametrize("options", [STUDY_OPTIONS, EXPERIMENT_OPTIONS, DATA_OPTIONS])
def test_the_help_shows_how_new_photos_are_decoded(options: SettingOptions) -> None:
    data = study_config(PHOTOS).train.data
    shown = {o.long: o.default for o in options.options.values()}
    assert (shown["--decoding"], shown["--fit"]) == (str(data.decoding), data.fit)


def test_the_command_that_began_a_study_of_photos_goes_on_with_it(tmp_path: Path) -> None:
    words = (*PHOTOS, "--storage", str(tmp_path), "--name", "past")
    new = study_config(words)
    old = new.train.data.model_dump(mode="json", exclude={"decoding", "fit", "background"})
    folder = StudyFolder.of(Storage.of(str(tmp_path)), "past")
    commands: list[tuple[Callable[[Sequence[str]], RunsConfig], Path]] = [
        (study_config, folder.config),
        (lambda given: read_experiment(given)[0], folder.experiment),
    ]
    for command, path in commands:
        values = command(words).model_dump(mode="json")
        values["train"]["data"] = old
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values))
        data = command(words).train.data
        assert (data.decoding, data.fit) == RECORDED
        assert command((*words, "--fit", "crop")).train.data.fit == "crop"
        other = command((*PHOTOS, "--storage", str(tmp_path), "--name", "other"))
        assert (other.train.data.decoding, other.train.data.fit) == NEW
        path.unlink()
