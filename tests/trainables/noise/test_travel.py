"""Settings for another budget and baseline: shares of the budget, quantiles, units."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.noise.assumed import Assumed
from trainables.noise.controller import fork_epoch
from trainables.noise.readings import heard
from trainables.noise.signals import SIGNALS
from trainables.noise.travel import Scales, Travelled, travel
from trainables.noise_config import NoiseConfig


def row(epoch: int, **told: float) -> EpochMetrics:
    statistics = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "grad_norm")
    known = dict.fromkeys((*statistics, "weight_update_norm", "lr"), 1.0)
    return EpochMetrics(epoch=epoch, **(known | told))  # type: ignore[arg-type]


def baseline(epochs: int, scale: float = 1.0, seed: int = 0) -> list[EpochMetrics]:
    """A training that slows down, with some noise in its statistics; ``scale``: of its norms."""
    draw = random.Random(seed)
    rows = []
    for epoch in range(epochs):
        left = math.exp(-4 * epoch / epochs)
        rows.append(
            row(
                epoch,
                train_loss=2 * left + 0.1 * draw.random(),
                val_loss=2 * left + 0.5 + 0.1 * draw.random(),
                grad_norm=scale * (1 + left + 0.3 * draw.random()),
                weight_update_norm=scale * (left + 0.05 * draw.random()),
            )
        )
    return rows


NOISE = NoiseConfig(
    policy="on_stagnation",
    schedule="cosine",
    warmup_epochs=10,
    window=6,
    trigger_epochs=3,
    patience=4,
    overfit_epochs=4,
    max_injection_epochs=8,
    cooldown_min=5,
    cooldown_extra=3,
    grad_plateau_threshold=0.06,
    weight_update_threshold=0.2,
    plateau_delta=0.05,
)


def assumed(epochs: int, rows: Sequence[EpochMetrics], **known: Any) -> Assumed:
    values = {"lr": 0.1, "momentum": 0.9}
    config = TrainConfig.model_validate({"epochs": epochs, "optimizer": values})
    return Assumed.of(config, rows, **known)


def moved(
    noise: NoiseConfig, there: list[EpochMetrics], here: list[EpochMetrics], **scales: float
) -> Travelled:
    return travel(noise, assumed(len(there), there), here, Scales(**scales))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "exponential"])
def test_the_same_budget_and_baseline_change_nothing(schedule: str) -> None:
    noise = NOISE.model_copy(update={"schedule": schedule})
    rows = baseline(60)
    found = moved(noise, rows, rows)
    assert found.noise == noise
    assert all(change.before == change.after for change in found.changes)
    assert "->" not in str(found)


def test_half_the_budget_halves_what_counts_epochs() -> None:
    found = moved(NOISE, baseline(60), baseline(30))
    assert found.noise.warmup_epochs == 5
    assert found.noise.window == 3
    assert found.noise.patience == 2
    assert found.noise.trigger_epochs == 2  # 1.5, halves upwards
    assert found.noise.overfit_epochs == 2
    assert found.noise.max_injection_epochs == 4
    assert (found.noise.cooldown_min, found.noise.cooldown_extra) == (3, 2)
    assert "warmup_epochs" in str(found)
    assert "10 -> 5" in str(found)


def test_counts_do_not_fall_below_what_is_allowed_or_to_nothing() -> None:
    noise = NOISE.model_copy(update={"warmup_epochs": 1, "cooldown_extra": 0, "patience": None})
    found = moved(noise, baseline(600), baseline(12)).noise
    assert (found.warmup_epochs, found.window, found.trigger_epochs) == (1, 2, 1)
    assert (found.cooldown_min, found.cooldown_extra, found.patience) == (1, 0, None)


def share_raised(noise: NoiseConfig, rows: list[EpochMetrics], name: str) -> float:
    signal = SIGNALS[name]
    threshold = getattr(noise, signal.setting)
    values = np.array(heard(noise, rows, name)) * signal.divisor * signal.sign
    return float((values < signal.sign * threshold).mean())


@pytest.mark.parametrize("epochs", [60, 45, 200])
@pytest.mark.parametrize("name", ["grad_norm_plateau", "low_weight_update", "val_loss_plateau"])
def test_a_threshold_keeps_its_quantile_among_the_readings(name: str, epochs: int) -> None:
    noise = NOISE.model_copy(update={"signals": (name,)})
    there, here = baseline(60), baseline(epochs, scale=7.0, seed=1)
    found = moved(noise, there, here).noise
    fewest = min(len(heard(noise, there, name)), len(heard(found, here, name)))
    before, after = share_raised(noise, there, name), share_raised(found, here, name)
    assert 0 < before < 1
    assert after == pytest.approx(before, abs=2 / fewest)


def test_the_quantile_is_that_of_numpy() -> None:
    noise = NOISE.model_copy(update={"signals": ("low_weight_update",)})
    there, here = baseline(60), baseline(60, scale=3.0, seed=2)
    old, new = (heard(noise, rows, "low_weight_update") for rows in (there, here))
    for share in (0.1, 0.5, 0.83):
        chosen = noise.model_copy(
            update={"weight_update_threshold": float(np.quantile(old, share))}
        )
        found = moved(chosen, there, here).noise.weight_update_threshold
        assert found == pytest.approx(float(np.quantile(new, share)))


def test_a_threshold_beyond_all_readings_keeps_its_distance_in_their_unit() -> None:
    noise = NOISE.model_copy(
        update={"signals": ("low_weight_update",), "weight_update_threshold": 1e-3}
    )
    there, here = baseline(60), baseline(60, scale=5.0)
    assert moved(noise, there, here).noise.weight_update_threshold == pytest.approx(5e-3)
    # A share has no unit: what is above all shares there says "always", as it does here.
    always = NOISE.model_copy(
        update={"signals": ("grad_norm_plateau",), "grad_plateau_threshold": 1.0}
    )
    assert moved(always, there, baseline(60, seed=3)).noise.grad_plateau_threshold == 1.0


def test_a_signal_that_was_never_raised_there_is_not_here() -> None:
    """Readings of overfitting are mostly below 0, where no threshold lies."""
    noise = NOISE.model_copy(update={"signals": ("overfitting",), "plateau_delta": 0.01})
    there = [row(epoch, val_loss=1 - 0.01 * epoch) for epoch in range(60)]
    here = [row(e, val_loss=1 + 0.01 * e, train_loss=1 - 0.01 * e) for e in range(60)]
    assert share_raised(noise, there, "overfitting") == 0
    assert share_raised(noise, here, "overfitting") == 1
    assert share_raised(moved(noise, there, here).noise, here, "overfitting") == 0


def test_a_quantile_that_no_threshold_reaches_gives_the_least_one() -> None:
    noise = NOISE.model_copy(update={"signals": ("val_loss_plateau",), "plateau_delta": 0.3})
    rising = [row(epoch, val_loss=1 + 0.01 * epoch) for epoch in range(60)]
    found = moved(noise, baseline(60), rising)
    assert 0 < found.noise.plateau_delta <= 0.3
    assert "thresholds are above 0" in str(found)


def test_exponential_decay_lets_noise_begin_as_strong() -> None:
    noise = NOISE.model_copy(update={"schedule": "exponential", "signals": ("stuck",)})
    flat = [row(epoch) for epoch in range(60)]
    found = moved(noise, flat, flat[:30]).noise
    there, here = fork_epoch(flat, noise, 60), fork_epoch(flat[:30], found, 30)
    assert there is not None
    assert here is not None
    assert there > here
    assert found.magnitude_min * 0.95**here == pytest.approx(noise.magnitude_min * 0.95**there)
    assert found.magnitude_extra * 0.95**here == pytest.approx(noise.magnitude_extra * 0.95**there)


def test_a_magnitude_that_no_decay_could_fade_to_is_refused() -> None:
    noise = NOISE.model_copy(update={"schedule": "exponential", "signals": ("stuck",)})
    late = NoiseConfig.model_validate(noise.model_dump() | {"warmup_epochs": 30, "window": 2})
    there = [row(epoch) for epoch in range(40)]
    here = [row(epoch, train_loss=1 / (1 + epoch)) for epoch in range(20_000)]
    with pytest.raises(InputError, match="magnitude_min"):
        moved(late, there, here)


ABSOLUTE = NOISE.model_copy(update={"scaling": "absolute", "weight_ratio": 0.5})


def test_absolute_magnitudes_go_with_the_weights_and_the_rate() -> None:
    rows = baseline(60)
    known = assumed(60, rows, weights_rms=0.1)
    found = travel(ABSOLUTE, known, rows, Scales(weights_rms=0.3, rate=2.0)).noise
    # The rate was 0.1 / (1 - 0.9) = 1: three times the weights, half the gradient for each step.
    assert found.magnitude_min == pytest.approx(0.01 * 1.5)
    assert found.magnitude_extra == pytest.approx(0.09 * 1.5)
    assert found.weight_ratio * found.magnitude_min == pytest.approx(0.5 * 0.01 * 3)


def test_absolute_magnitudes_of_unknown_scales_stay_and_that_is_said() -> None:
    rows = baseline(60)
    found = moved(ABSOLUTE, rows, rows, weights_rms=0.3, rate=1.0)
    assert found.noise == ABSOLUTE
    assert "'absolute' does not travel" in str(found)


@pytest.mark.parametrize("scaling", ["relative", "step"])
@pytest.mark.parametrize("kind", ["gradient", "weight", "input", "label"])
def test_static_noise_in_units_travels_as_it_is(kind: str, scaling: str) -> None:
    noise = NoiseConfig.model_validate(
        {"policy": "always", "kind": kind, "magnitude": 0.3, "scaling": scaling}
    )
    assert moved(noise, baseline(60), baseline(20)).noise == noise


def test_what_cant_travel_is_refused() -> None:
    planned = NoiseConfig.model_validate({"policy": "planned", "plan": [[3, "gradient", 0.1]]})
    with pytest.raises(InputError, match="a plan names its epochs"):
        moved(planned, baseline(60), baseline(60))
    with pytest.raises(InputError, match="it has 2 epochs, in which noise could begin in epoch 3"):
        moved(NOISE, baseline(60), baseline(2))
    with pytest.raises(InputError, match="have 2 readings of signal grad_norm"):
        moved(NOISE.model_copy(update={"trigger_epochs": 1}), baseline(60), baseline(3))


def test_without_a_known_baseline_an_equal_budget_changes_no_magnitude() -> None:
    noise = NoiseConfig(policy="on_stagnation", magnitude_min=0.5, schedule="exponential")
    found = travel(noise, Assumed(epochs=60), baseline(60), Scales())
    assert found.noise.magnitude_min == 0.5
