"""A task of one's own: what is read off it, how it is trained, what is refused by name."""

import math

import pytest

from tests.support import own_tasks
from tests.support.own_tasks import Line, task_config
from trainables.checkpoint import decode, decode_run, encode
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.loop import Training, train_epochs
from trainables.metrics import objective_values
from trainables.noise.controller import fork_epoch
from trainables.noise_config import NoiseConfig
from trainables.task_config import TaskConfig
from trainables.tasks.own_task import described, own_task

EAGER = NoiseConfig(
    policy="on_stagnation",
    signals=("low_weight_update",),
    weight_update_threshold=1e3,
    warmup_epochs=2,
    window=2,
    trigger_epochs=1,
)


def start(config: TrainConfig) -> Training:
    return Training(config, own_task(config))


def test_its_metrics_are_those_of_the_rows_and_of_the_objectives() -> None:
    under_way = start(task_config(Line))
    *_, last = train_epochs(under_way)
    assert last.own.keys() == {"val_worst"}
    assert math.isnan(last.val_accuracy)
    assert "val_accuracy" not in last.statistics()
    assert "lr" not in last.statistics()
    found = objective_values(under_way.history)
    assert found["final_val_worst"] == last.own["val_worst"]
    assert found["best_val_loss"] == min(row.val_loss for row in under_way.history)
    assert not any("accuracy" in name or "gap" in name for name in found)
    assert found.keys() == {n for n, m in under_way.config.metrics.items() if m.of is not None}
    tests = {n for n, m in under_way.config.metrics.items() if m.weights is not None}
    assert under_way.test_figures().keys() == tests
    assert under_way.config.metrics["tail_val_loss"].unit == "squares"


@pytest.mark.parametrize("kind", ["gradient", "weight", "input"])
def test_a_fork_is_the_run_from_epoch_0(kind: str) -> None:
    baseline = start(task_config(Line))
    states = [decode(encode(baseline.state_dict())) for _ in train_epochs(baseline)]
    noise = NoiseConfig(policy="planned", plan=((3, kind, 0.1),)) if kind == "input" else EAGER
    config = task_config(Line, noise=noise)
    begins = fork_epoch(baseline.history, noise, config.epochs)
    assert begins is not None
    assert begins >= 2
    whole, forked = start(config), start(config)
    list(train_epochs(whole))
    forked.load_state_dict(states[begins - 1])
    assert len(forked.history) == begins
    list(train_epochs(forked))
    assert [str(r) for r in forked.history] == [str(r) for r in whole.history]
    assert forked.test_figures() == whole.test_figures() != baseline.test_figures()
    assert any(row.injected for row in forked.history)


def test_best_weights_are_of_the_lowest_validation_loss() -> None:
    under_way = start(task_config(Line))
    list(train_epochs(under_way))
    assert under_way.best is not None
    assert under_way.best.row.val_loss == min(row.val_loss for row in under_way.history)


def test_weights_that_are_no_copy_are_copied() -> None:
    copied, own = start(task_config(own_tasks.GivesItsWeights)), start(task_config(Line))
    list(train_epochs(copied))
    list(train_epochs(own))
    assert copied.test_figures() == own.test_figures()


def test_what_it_changes_in_its_configuration_changes_no_run() -> None:
    task = TaskConfig(name=f"{own_tasks.__name__}:TakesOptionsOut", options={"lr": 0.2})
    config = TrainConfig(epochs=2, task=described(task))
    start(config)
    assert config.task.options == {"lr": 0.2}


@pytest.mark.parametrize("value", [math.nan, {"deep": [math.inf]}])
def test_options_that_cannot_be_stored_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="can't be stored as JSON"):
        TaskConfig(options={"lr": value})


def test_weight_noise_in_steps_needs_no_rate() -> None:
    noise = NoiseConfig(policy="always", kind="weight", scaling="step")
    assert start(task_config(Line, noise=noise)).run_epoch().injected


def test_its_checkpoint_is_a_runs() -> None:
    under_way = start(task_config(Line))
    under_way.run_epoch()
    assert "task" in decode_run(encode(under_way.state_dict()))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (own_tasks.UnknownMetric, "validate returned 'mea', which metrics does not declare"),
        (own_tasks.LackingMetric, "validate lacks worst"),
        (own_tasks.NoNumber, "mse = 'low', which is no number"),
        (own_tasks.Raises, "in train_epoch, it raised OSError: the disk is on fire"),
        (own_tasks.TellsNoStep, "noise.before_step"),
        (own_tasks.PassesOutside, "no pass inside noise.forward"),
        (own_tasks.GivesParameters, "pairs (name, parameter)"),
        (own_tasks.UnknownLength, "asked for steps_per_epoch, it raised AttributeError"),
    ],
)
def test_what_it_does_wrong_is_told_by_name(kind: type, told: str) -> None:
    with pytest.raises(InputError) as error:
        start(task_config(kind)).run_epoch()
    assert told in str(error.value)
    assert kind.__name__ in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NoTask", "not a subclass of Task"),
        ("WithoutTest", "it lacks load_state_dict, named_parameters"),
        ("Lime", "has no 'Lime'"),
        ("LikelihoodAsLoss", "read as the loss must be min"),
        ("ErrorAsAccuracy", "read as the accuracy must be max"),
        ("NamesARate", "the name 'lr' is taken"),
    ],
)
def test_what_is_no_task_is_refused(name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        described(TaskConfig(name=f"tests.support.own_tasks:{name}"))


@pytest.mark.parametrize(
    ("noise", "told"),
    [
        (NoiseConfig(policy="always", kind="label"), "classes = N"),
        (NoiseConfig(policy="always", kind="gradient", scaling="step"), "step_rate"),
    ],
)
def test_noise_that_it_cannot_have_is_refused_with_what_to_add(
    noise: NoiseConfig, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        start(task_config(Line, noise=noise))
