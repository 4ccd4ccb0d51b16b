"""Forking: which checkpoints a baseline keeps, and by what it is found."""

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.runs import EAGER, baseline_config, run, same_weights, small_config, training
from trainables.checkpoint import decode, encode
from trainables.config import TrainConfig
from trainables.loop import train_epochs
from trainables.metrics import EpochMetrics
from trainables.noise.controller import fork_epoch
from trainables.noise.fork import annotate, baseline_digest, kept_epochs
from trainables.noise.signals import SIGNALS


def test_the_baseline_is_the_same_training_without_noise() -> None:
    base = small_config()
    trial = small_config(EAGER)
    assert baseline_config(trial) == base
    assert baseline_digest(trial) == baseline_digest(base)
    assert baseline_digest(small_config(EAGER, seed=1)) != baseline_digest(base)
    # As it was before there were the settings that came later.
    assert baseline_digest(TrainConfig()) == "fc89d1dae4388bbb"
    assert baseline_digest(small_config(clean_gap=True)) != baseline_digest(base)
    assert baseline_digest(small_config(slice=8)) != baseline_digest(base)
    assert baseline_digest(small_config(slice=0)) == baseline_digest(base)
    assert baseline_digest(small_config(epochs=6)) != baseline_digest(base)


def test_the_division_of_the_data_is_part_of_the_baseline() -> None:
    drawn = [small_config(data={"split": "pooled", "split_seed": seed}) for seed in (0, 1)]
    assert len({baseline_digest(config) for config in (small_config(), *drawn)}) == 3


def test_a_recorded_baseline_keeps_its_digest() -> None:
    # As versions computed it that had no pooled division.
    assert baseline_digest(TrainConfig()) == "fc89d1dae4388bbb"


def test_how_photos_become_pixels_is_part_of_the_baseline() -> None:
    photos = {"dataset": "imagefolder", "data_dir": "/a", "classes": ("a", "b")}
    photos |= {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}

    def digest(**data: Any) -> str:
        return baseline_digest(TrainConfig.model_validate({"data": {**photos, **data}}))

    # As versions computed it that knew one way only.
    assert digest() == "b32cb288b792f211"
    assert digest(decoding=1, fit="stretch", background="white", skip_broken=False) == digest()
    ways = [{"fit": "crop"}, {"decoding": 2}, {"decoding": 2, "background": "black"}]
    ways += [{"skip_broken": True, "left_out": 3}, {"skip_broken": True, "left_out": 4}]
    assert len({digest(), *(digest(**way) for way in ways)}) == 6


def test_size_and_channels_are_part_of_the_baseline() -> None:
    first = small_config()
    assert baseline_digest(small_config(data={"image_size": 32, "channels": 3})) == baseline_digest(
        first
    )
    others = [small_config(data=data) for data in ({"image_size": 64}, {"channels": 1})]
    assert len({baseline_digest(config) for config in (first, *others)}) == 3


def test_where_the_data_lie_does_not_change_the_baseline() -> None:
    one = small_config(data={"dataset": "cifar10", "data_dir": "/a", "workers": 1})
    two = small_config(data={"dataset": "cifar10", "data_dir": "/b", "workers": 2})
    assert baseline_digest(one) == baseline_digest(two)


@pytest.mark.parametrize(
    ("first", "epochs", "size", "budget", "kept"),
    [
        (3, 10, 1, 100, (3, 4, 5, 6, 7, 8, 9)),  # all seven candidates fit
        (3, 10, 1, 7, (3, 4, 5, 6, 7, 8, 9)),
        (3, 10, 1, 6, (3, 5, 7, 9)),  # ceil(7/6) = 2
        (3, 10, 1, 3, (3, 6, 9)),  # ceil(7/3) = 3
        (3, 10, 1, 1, (3,)),
        (3, 10, 2, 1, ()),  # not even one fits
        (0, 3, 1, 9, (1, 2)),  # nothing is trained before epoch 1
        (10, 10, 1, 9, ()),  # nothing left to train
    ],
)
def test_kept_epochs(
    first: int, epochs: int, size: int, budget: int, kept: tuple[int, ...]
) -> None:
    assert kept_epochs(first, epochs, size, budget) == kept


@given(st.integers(0, 400), st.integers(1, 400), st.integers(1, 50), st.integers(0, 5000))
def test_kept_epochs_fit_the_budget_and_the_range(
    first: int, epochs: int, size: int, budget: int
) -> None:
    kept = kept_epochs(first, epochs, size, budget)
    assert len(kept) * size <= budget
    assert all(max(1, first) <= epoch < epochs for epoch in kept)


SETTINGS = st.fixed_dictionaries(
    {
        "policy": st.just("on_stagnation"),
        "warmup_epochs": st.integers(0, 3),
        "window": st.integers(2, 3),
        "trigger_epochs": st.integers(1, 2),
        "max_injection_epochs": st.integers(1, 3),
        "cooldown_min": st.integers(0, 2),
        "cooldown_extra": st.integers(0, 2),
        "patience": st.sampled_from([None, 0, 1]),
        "overfit_epochs": st.integers(1, 2),
        "signals": st.sets(st.sampled_from(list(SIGNALS)), min_size=2).map(sorted),
        "plateau_delta": st.sampled_from([0.01, 0.1, 1.0]),
        "grad_plateau_threshold": st.sampled_from([0.05, 0.3, 2.0]),
        "weight_update_threshold": st.sampled_from([0.1, 0.5, 2.0]),
        "magnitude_min": st.sampled_from([0.1, 1.0]),
        "distribution": st.sampled_from(["gaussian", "uniform"]),
        "schedule": st.sampled_from(["constant", "cosine"]),
    }
)


@cache
def _baseline() -> tuple[list[EpochMetrics], list[dict[str, Any]]]:
    """The baseline's history, and its state after each epoch as a checkpoint holds it."""
    under_way = training(small_config(epochs=7))
    states = [decode(encode(under_way.state_dict()))]
    states.extend(decode(encode(under_way.state_dict())) for _ in train_epochs(under_way))
    return under_way.history, states


@given(SETTINGS)
@settings(max_examples=20)
def test_a_fork_equals_the_whole_run_and_begins_where_it_first_injects(
    noise: dict[str, Any],
) -> None:
    config = small_config(noise, epochs=7)
    whole, end = run(config)
    history, states = _baseline()
    begins = fork_epoch(history, config.noise, 7)
    assert begins == next((row.epoch for row in whole if row.injected), None)
    if begins is None:
        assert list(annotate(history, config.noise, 7)) == whole
        return
    forked = training(config)
    forked.load_state_dict(states[begins])
    list(train_epochs(forked))
    assert forked.history == whole
    assert same_weights(forked, end)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(
    ("noise", "begins"),
    [
        (EAGER | {"warmup_epochs": 3}, 3),
        (EAGER | {"signals": ["val_loss_plateau"], "plateau_delta": 1e9, "permanent": True}, 2),
    ],
)
def test_buffers_moments_and_dropout_fork_too(
    noise: dict[str, Any], begins: int, optimizer: str
) -> None:
    fields: dict[str, Any] = {
        "model": {"classifier": "tests.support.runs:net_with_state"},
        "optimizer": {"optimizer": optimizer},
    }
    baseline = training(small_config(**fields))
    for _ in range(begins):
        baseline.run_epoch()
    config = small_config(noise, **fields)
    whole, end = run(config)
    assert fork_epoch(baseline.history, config.noise, config.epochs) == begins
    forked = training(config)
    forked.load_state_dict(decode(encode(baseline.state_dict())))
    list(train_epochs(forked))
    assert forked.history == whole
    assert same_weights(forked, end)
    assert forked.best is not None
    assert end.best is not None
    assert forked.best.row == end.best.row
    for name, tensor in end.best.weights.items():
        assert torch.equal(tensor, forked.best.weights[name])
