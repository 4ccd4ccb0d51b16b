"""The files of a single run: names, lines, weights, and what a mistake must not destroy."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from study.run.epoch_log import EpochLog
from study.run.files import RunFiles, differences, find_runs, noise_label, run_name
from study.run.lr_plot import lr_schedule
from study.run.weights_file import FORMAT, load_into, read_weights, write_weights
from trainables.checkpoint import save_state
from trainables.config import OptimizerConfig, TrainConfig, apply_overrides
from trainables.epoch_details import EpochDetails, NoiseRecord
from trainables.errors import InputError
from trainables.evaluation import EvalResult
from trainables.lr_schedule import learning_rate
from trainables.metrics import EpochMetrics
from trainables.models.registry import build_model
from trainables.noise.controller import Injection
from trainables.noise.signals import Reading
from trainables.settings import parse_config

CONFIG = TrainConfig()
CLASSES = ("cat", "dog")


def row(epoch: int, **changes: Any) -> EpochMetrics:
    values: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": 1.0,
        "train_accuracy": 0.5,
        "val_loss": 1.1,
        "val_accuracy": 0.4,
        "grad_norm": 2.0,
        "weight_update_norm": 0.1,
        "lr": 0.01,
    }
    return EpochMetrics(**values | changes)


def details(**changes: Any) -> EpochDetails:
    validation = EvalResult(1.1, 0.4, 4, 10, (0.25, None), (1.5, None))
    return EpochDetails(validation=validation, **changes)


CLEAN = Injection("none", 0.0, 0.0, (), "warm_up")
NOISY = Injection(
    "gradient",
    0.3,
    0.9,
    ("stuck",),
    "injecting",
    raised_streak=1,
    injection_streak=1,
    readings=(Reading("stuck", 7.0, 5.0, raised=True),),
)


def log_of(files: RunFiles, start: int, **options: Any) -> EpochLog:
    files.metrics.mkdir(parents=True, exist_ok=True)
    return EpochLog(files, CLASSES, start=start, **options)


def lines(files: RunFiles, name: str) -> list[dict[str, Any]]:
    text = (files.metrics / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noise", "label"),
    [
        ({}, "baseline"),
        ({"policy": "always", "kind": "weight", "distribution": "uniform"}, "weight-uniform"),
        ({"policy": "on_stagnation"}, "adaptive-gaussian"),
    ],
)
def test_a_runs_name_says_model_noise_and_seed(noise: dict[str, Any], label: str) -> None:
    config = parse_config(TrainConfig, {"noise": noise, "seed": 4})
    assert noise_label(config) == label
    assert run_name(config).startswith(f"BabyCNN_{label}_seed4_")


def test_the_same_settings_have_the_same_name_and_others_another() -> None:
    assert run_name(CONFIG) == run_name(TrainConfig())
    # As it was before there were the settings that came later.
    assert run_name(TrainConfig()) == "BabyCNN_baseline_seed0_efc2ba"
    moved = {"device": "cuda", "data/workers": 0, "data/mean": (0.1, 0.2, 0.3)}
    assert run_name(apply_overrides(CONFIG, moved)) == run_name(CONFIG)
    for change in (
        *({"optimizer/lr": 0.5}, {"data/subset": 0.5}, {"noise/magnitude": 7}, {"slice": 16}),
    ):
        assert run_name(apply_overrides(CONFIG, change)) != run_name(CONFIG)
    drawn = {"data/split": "pooled"}
    names = {run_name(apply_overrides(CONFIG, {**drawn, "data/split_seed": s})) for s in (0, 1)}
    assert len(names) == 2
    # As versions named it that had no pooled division: --resume finds their runs.
    assert run_name(CONFIG) == "BabyCNN_baseline_seed0_efc2ba"


def test_a_users_own_model_gives_a_file_name() -> None:
    config = apply_overrides(CONFIG, {"model/classifier": "my.package:make/it"})
    assert "/" not in run_name(config)
    assert ":" not in run_name(config)


@pytest.mark.parametrize(
    ("given", "file", "name"),
    [
        ("a.pth", "a.pth", "a"),
        ("a", "a.pth", "a"),
        ("a.pt", "a.pt", "a"),
        ("v1.2", "v1.2.pth", "v1.2"),
    ],
)
def test_save_as_names_file_and_run(given: str, file: str, name: str, tmp_path: Path) -> None:
    files = RunFiles.of(tmp_path, CONFIG, given)
    assert (files.save_as, files.name) == (file, name)
    assert files.metrics == tmp_path / "metrics" / name


def test_the_references_default_name_gives_a_name_of_its_own(tmp_path: Path) -> None:
    assert RunFiles.of(tmp_path, CONFIG, "none.pth").name == run_name(CONFIG)
    assert RunFiles.of(tmp_path, CONFIG).save_as is None


@pytest.mark.parametrize("given", ["a/b", "../a", "/a", ".hidden", "", ".."])
def test_save_as_is_a_file_name(given: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--save-as"):
        RunFiles.of(tmp_path, CONFIG, given)


# --- lines ------------------------------------------------------------------------------------


def test_one_line_an_epoch_noisy_or_not(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    log = log_of(files, 0)
    log.write(row(0), CLEAN, details(optimizer_norms={"momentum": 3.0}))
    log.write(row(1), NOISY, details(noise=NoiseRecord(1.0, 1.5, {"conv1.weight": (1.0, 1.5)})))
    log.close()
    clean, noisy = lines(files, "noise")
    assert (clean["kind"], clean["magnitude"], clean["norm_before"]) == ("none", 0.0, None)
    assert (noisy["kind"], noisy["magnitude"], noisy["severity"]) == ("gradient", 0.3, 0.9)
    assert (noisy["phase"], noisy["norm_before"], noisy["norm_after"]) == ("injecting", 1.0, 1.5)
    assert "layers" not in noisy
    assert lines(files, "signals") == [
        {"epoch": 1, "signal": "stuck", "value": 7.0, "threshold": 5.0, "raised": True}
    ]
    assert lines(files, "optimizer")[0] == {"epoch": 0, "lr": 0.01, "momentum": 3.0}
    assert lines(files, "epoch_metrics")[1]["val_per_class"] == {
        "cat": {"accuracy": 0.25, "loss": 1.5},
        "dog": {"accuracy": None, "loss": None},
    }


def test_layers_and_training_classes_on_request(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    log = log_of(files, 0, per_layer=True)
    noise = NoiseRecord(1.0, 1.5, {"conv1.weight": (1.0, 1.5)})
    log.write(row(0), NOISY, details(noise=noise, train_per_class=[(0.5, 1.0), None]))
    log.close()
    assert lines(files, "noise")[0]["layers"] == {
        "conv1.weight": {"norm_before": 1.0, "norm_after": 1.5}
    }
    assert lines(files, "epoch_metrics")[0]["train_per_class"]["dog"]["accuracy"] is None


def test_lines_are_there_before_the_log_is_closed(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    log = log_of(files, 0)
    log.write(row(0), CLEAN, details())
    assert len(lines(files, "noise")) == 1
    log.close()


@pytest.mark.parametrize("tail", ["", '{"epoch": 3, "ki', '{"epoch": 3}\n{"epo'])
@pytest.mark.parametrize("start", [0, 2, 3])
def test_going_on_cuts_off_what_is_written_again(tmp_path: Path, start: int, tail: str) -> None:
    files = RunFiles(tmp_path, "run")
    log = log_of(files, 0)
    for epoch in range(3):
        log.write(row(epoch), NOISY, details())
    log.close()
    with (files.metrics / "noise.jsonl").open("a") as file:
        file.write(tail)
    log = log_of(files, start)
    for epoch in range(start, 5):
        log.write(row(epoch), NOISY, details())
    log.close()
    for name in EpochLog.NAMES:
        assert [line["epoch"] for line in lines(files, name)] == list(range(5)), name


# --- the run as a whole -----------------------------------------------------------------------


def test_a_finished_run_of_the_same_settings_makes_room(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    assert files.begin(CONFIG) is None
    files.final.write_text("{}")
    assert files.begin(CONFIG) is None
    assert not files.final.exists()
    assert [run.name for run in find_runs(tmp_path)] == ["run"]


@pytest.mark.parametrize("finished", [False, True])
def test_any_other_run_is_kept(tmp_path: Path, finished: bool) -> None:
    files = RunFiles(tmp_path, "run", "run.pth")
    for seed in range(3):
        config = CONFIG.model_copy(update={"seed": seed}) if finished else CONFIG
        kept = files.begin(config)
        assert (kept is None) == (seed == 0)
        (tmp_path / "run.pth").write_text(str(seed))
        if finished:
            files.final.write_text("{}")
    assert [run.name for run in find_runs(tmp_path)] == ["run", "run~1", "run~2"]
    contents = [(tmp_path / name).read_text() for name in ("run~1.pth", "run~2.pth", "run.pth")]
    assert contents == ["0", "1", "2"]


def test_a_damaged_configuration_is_kept_too(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    files.begin(CONFIG)
    files.config.write_text("{")
    assert files.begin(CONFIG) is not None
    assert (tmp_path / "metrics" / "run~1" / "config.json").read_text() == "{"


def test_only_settings_that_change_numbers_differ() -> None:
    resolved = apply_overrides(CONFIG, {"data/mean": (0.1, 0.2, 0.3), "data/classes": ("a", "b")})
    assert differences(resolved, CONFIG) == []
    assert len(differences(CONFIG, resolved)) == 2
    known = apply_overrides(CONFIG, {"data/content": "a1", "data/left_out": 2})
    assert differences(known, CONFIG) == []
    assert run_name(known) == run_name(CONFIG)
    elsewhere = {"data/data_dir": "/mnt", "data/workers": 1, "data/download": True}
    assert differences(CONFIG, apply_overrides(CONFIG, elsewhere)) == []
    assert differences(CONFIG, apply_overrides(CONFIG, {"epochs": 7})) == [
        "epochs = 7, the run has 100"
    ]
    sliced = apply_overrides(CONFIG, {"slice": 16})
    assert differences(CONFIG, sliced) == ["slice = 16, the run has None"]
    assert differences(sliced, CONFIG) == ["slice = None, the run has 16"]


def test_resuming_names_the_runs_that_could_go_on(tmp_path: Path) -> None:
    RunFiles(tmp_path, "one").begin(CONFIG)
    done = RunFiles(tmp_path, "two")
    done.begin(CONFIG)
    done.final.write_text("{}")
    with pytest.raises(InputError, match=r"no run three .*unfinished runs there: one\)"):
        RunFiles(tmp_path, "three").check_resumable(CONFIG)


def test_one_process_holds_a_run(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    with files.locked(), pytest.raises(InputError, match="another process"), files.locked():
        pass
    with files.locked():
        pass


# --- weights ----------------------------------------------------------------------------------


def test_weights_are_replaced_by_better_ones_and_readable_without_code(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, "run")
    weights = {"w": torch.ones(2)}
    files.write_weights(CONFIG, CLASSES, row(0), weights)
    files.write_weights(CONFIG, CLASSES, row(3, val_accuracy=0.875), weights)
    (path,) = files.weights_files()
    assert path.name == "run_epoch4_acc0.8750.pth"
    content = torch.load(path, weights_only=True)
    assert TrainConfig.model_validate_json(content["config"]) == CONFIG
    assert torch.equal(content["model"]["w"], torch.ones(2))
    read = read_weights(path)
    assert (read.epoch, read.classes) == (3, CLASSES)


def test_another_runs_weights_stay(tmp_path: Path) -> None:
    RunFiles(tmp_path, "run_more").write_weights(CONFIG, CLASSES, row(0), {})
    RunFiles(tmp_path, "run").write_weights(CONFIG, CLASSES, row(1), {})
    RunFiles(tmp_path, "run").write_weights(CONFIG, CLASSES, row(2), {})
    assert len(list(tmp_path.glob("*.pth"))) == 2


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.state_dict())


@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "model._orig_mod.", "module.module."]
)
def test_bare_state_dicts_are_read(tmp_path: Path, wrap: str | None, prefix: str) -> None:
    model = build_model("BabyCNN", 10)
    state: Any = {prefix + name: tensor for name, tensor in state_of(model).items()}
    path = tmp_path / "bare.pth"
    torch.save(state if wrap is None else {wrap: state, "epoch": 3}, path)
    weights = read_weights(path)
    assert weights.config is None
    other = build_model("BabyCNN", 10)
    load_into(other, weights, path=path, classifier="BabyCNN")
    assert torch.equal(other.state_dict()["fc1.weight"], model.state_dict()["fc1.weight"])


def test_a_name_of_the_model_s_own_is_no_wrapper(tmp_path: Path) -> None:
    """A part called ``model`` or ``module`` is one, also where the model consists of it alone."""
    path = tmp_path / "own.pth"
    own = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"module": torch.nn.Linear(2, 1)})})
    torch.save({f"module.{name}": tensor for name, tensor in own.state_dict().items()}, path)
    other = torch.nn.ModuleDict({"model": torch.nn.ModuleDict({"module": torch.nn.Linear(2, 1)})})
    load_into(other, read_weights(path), path=path, classifier="mine:net")
    assert torch.equal(other.model.module.weight, own.model.module.weight)  # type: ignore[union-attr, arg-type]


def test_a_lone_name_with_a_wrapper_is_no_wrapped_model(tmp_path: Path) -> None:
    """What stands before one name only belongs to it: nothing is loaded under another name."""
    model = build_model("BabyCNN", 10)
    state = state_of(model)
    path = tmp_path / "lone.pth"
    state["module.fc1.weight"] = state.pop("fc1.weight")
    torch.save(state, path)
    told = r"fc1\.weight is missing; module\.fc1\.weight is not part"
    with pytest.raises(InputError, match=told):
        load_into(model, read_weights(path), path=path, classifier="BabyCNN")


def test_the_checkpoint_of_a_run_under_way_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    state = {"config": CONFIG.model_dump_json(), "best_epoch": 2, "best_weights": None}
    save_state(path, state)
    with pytest.raises(InputError, match="no epoch was complete"):
        read_weights(path)
    save_state(path, state | {"best_weights": {"w": torch.ones(1)}})
    assert read_weights(path).epoch == 2


WHOLE: dict[str, Any] = {
    "format": FORMAT,
    "config": CONFIG.model_dump_json(),
    "classes": ["cat", "dog"],
    "epoch": 0,
    "model": {"w": torch.ones(2)},
}
"""The content of a weights file, without what is there for people."""


def test_a_whole_weights_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save(WHOLE, path)
    assert read_weights(path).classes == CLASSES


class Dangerous:
    """Something that a checkpoint must not be able to make."""

    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no checkpoint"),
        (b"not a checkpoint at all", "no checkpoint"),
        (b"noise-checkpoint-1\nshort", "no checkpoint"),
        ([1, 2], "holds no model's weights"),
        ({"epoch": 3}, "holds no model's weights"),
        ({}, "holds no model's weights"),
        (Dangerous(), "no checkpoint"),
        (torch.ones(2), "holds no model's weights"),
        ({"w": torch.ones(2).to_sparse()}, "holds no model's weights"),
        ({"format": FORMAT}, "no checkpoint"),
        (WHOLE | {"classes": None}, "no checkpoint"),
        (WHOLE | {"epoch": "last"}, "no checkpoint"),
        (WHOLE | {"model": {"w": 3}}, "no checkpoint"),
        (WHOLE | {"config": "{"}, "configuration is damaged"),
        (WHOLE | {"config": 3}, "configuration is damaged"),
    ],
)
def test_what_is_no_checkpoint_gets_one_clear_message(
    tmp_path: Path, content: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        read_weights(path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.filterwarnings("error")
def test_a_program_that_torch_stored_is_no_checkpoint(tmp_path: Path) -> None:
    """torch would warn of it, and run it."""
    path = tmp_path / "model.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match="no checkpoint"):
        read_weights(path)


def test_a_cut_file_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write_weights(path, CONFIG, CLASSES, row(0), {"w": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged"):
        read_weights(path)
    with pytest.raises(InputError, match="No such file"):
        read_weights(tmp_path / "missing.pth")
    with pytest.raises(InputError, match="a folder, not a file"):
        read_weights(tmp_path)


def test_weights_that_do_not_fit_name_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(state_of(build_model("BabyCNN", 5)), path)
    with pytest.raises(InputError) as error:
        load_into(build_model("BabyCNN", 10), read_weights(path), path=path, classifier="BabyCNN")
    assert "fc1.weight has shape (5, 2048), the model's (10, 2048)" in str(error.value)
    with pytest.raises(InputError, match=r"conv2\.weight is missing.*and \d+ more"):
        load_into(build_model("TinyCNN", 10), read_weights(path), path=path, classifier="TinyCNN")


# --- the schedule -----------------------------------------------------------------------------


def test_the_drawn_schedule_is_the_trained_one() -> None:
    config = apply_overrides(CONFIG, {"epochs": 300, "optimizer/lr_restart_period": 50})
    epochs, rates = lr_schedule(config, 390)
    assert len(epochs) == len(rates) <= 4100
    assert epochs[0] == 0
    assert rates[0] == config.optimizer.lr
    schedule = OptimizerConfig(lr=1e-2, lr_restart_period=50)
    for at, rate in zip(epochs[::97], rates[::97], strict=True):
        step = round(at * 390)
        assert rate == learning_rate(schedule, step, steps_per_epoch=390, epochs=300)
