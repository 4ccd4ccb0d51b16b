"""Every point of every space is a valid configuration, and its noise can begin and end in time."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.registry import (
    SPACES,
    first_possible_injection,
    get_space,
    possible_injections,
)
from study.config import StudyConfig
from tests.search_spaces.points import points
from trainables.config import TrainConfig, apply_overrides, setting_paths
from trainables.errors import InputError
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig

ADAPTIVE = ("adaptive_noise", "adaptive_noise_small", "noise")

bases = st.builds(
    lambda epochs, signals, patience, **noise: TrainConfig(
        epochs=epochs, noise=NoiseConfig(signals=tuple(signals), patience=patience, **noise)
    ),
    epochs=st.integers(1, 400),
    signals=st.sets(st.sampled_from(list(SIGNALS)), min_size=1),
    patience=st.none() | st.integers(0, 500),
    warmup_epochs=st.integers(0, 500),
    window=st.integers(2, 500),
    overfit_epochs=st.integers(1, 500),
    trigger_epochs=st.integers(1, 500),
    scaling=st.sampled_from(["relative", "absolute"]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(base=bases, name=st.sampled_from(sorted(SPACES)), data=st.data())
def test_every_point_is_valid(base: TrainConfig, name: str, data: st.DataObject) -> None:
    space = get_space(name)
    try:
        distributions = space.distributions(base)
    except InputError:
        # No signal that the base leaves can be raised in such a budget; below, when exactly.
        assert name in ADAPTIVE
        assume(False)
    point = data.draw(points(distributions, space.conditions(distributions)))
    config = apply_overrides(base, space.overrides(point))

    assert config.noise.policy == point.get("noise/policy", space.policy)
    begins = config.noise.earliest_injection()
    assert begins is not None
    assert first_possible_injection(space, base) <= begins
    if config.noise.policy == "on_stagnation":
        # After the first noisy epochs at least one clean epoch is left.
        assert begins + config.noise.max_injection_epochs < base.epochs


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("epochs", [4, 5, 6, 12, 20, 30, 100, 300])
def test_first_possible_injection_is_reached(name: str, epochs: int) -> None:
    base = TrainConfig(epochs=epochs)
    space = get_space(name)
    distributions = space.distributions(base)
    lowest = {
        path: d.low
        for path, d in distributions.items()
        if isinstance(d, IntDistribution | FloatDistribution)
    }
    choices = distributions["noise/signals"]
    assert isinstance(choices, CategoricalDistribution)
    earliest = min(
        apply_overrides(
            base, space.overrides({**lowest, "noise/signals": names})
        ).noise.earliest_injection()
        or 0
        for names in choices.choices
    )
    assert earliest in possible_injections(space, base)
    assert first_possible_injection(space, base) == (0 if name == "noise" else earliest)


def test_static_noise_may_begin_at_once() -> None:
    assert first_possible_injection(get_space("static_noise"), TrainConfig(epochs=1)) == 0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_budget_too_small_names_the_least(name: str) -> None:
    space = get_space(name)
    with pytest.raises(InputError, match=r"epochs = 3: .*needs at least 4"):
        space.distributions(TrainConfig(epochs=3))
    space.distributions(TrainConfig(epochs=4))


def test_the_least_budget_follows_the_base() -> None:
    base = TrainConfig(epochs=10, noise=NoiseConfig(signals=("overfitting",), overfit_epochs=9))
    with pytest.raises(InputError, match=r"epochs = 10: .*needs at least (\d+)") as caught:
        get_space("adaptive_noise").distributions(base)
    least = int(str(caught.value).split("at least ")[1].split(",")[0])
    for epochs, fits in ((least - 1, False), (least, True)):
        config = base.model_copy(update={"epochs": epochs})
        if fits:
            assert get_space("adaptive_noise").distributions(config)
        else:
            with pytest.raises(InputError):
                get_space("adaptive_noise").distributions(config)


def test_no_signal_left() -> None:
    base = TrainConfig(noise=NoiseConfig(signals=("stuck",), patience=None))
    with pytest.raises(InputError, match=r"noise\.signals = stuck, noise\.patience = None"):
        get_space("adaptive_noise").distributions(base)


def test_the_dimensions_of_each_space() -> None:
    base = TrainConfig(epochs=30)
    adaptive = get_space("adaptive_noise").distributions(base)
    assert {path.removeprefix("noise/") for path in adaptive} == {
        "magnitude_min",
        "magnitude_extra",
        "weight_ratio",
        "distribution",
        "schedule",
        "signals",
        "patience",
        "warmup_epochs",
        "window",
        "plateau_delta",
        "grad_plateau_threshold",
        "weight_update_threshold",
        "trigger_epochs",
        "max_injection_epochs",
        "cooldown_min",
        "cooldown_extra",
    }
    small = get_space("adaptive_noise_small").distributions(base)
    assert len(small) == 5
    assert small.keys() < adaptive.keys()
    static = get_space("static_noise").distributions(base)
    assert set(static) == {
        "noise/kind",
        "noise/magnitude",
        "noise/schedule",
        "noise/distribution",
    }
    assert (adaptive.keys() | static.keys()) <= setting_paths().keys()


@pytest.mark.parametrize("name", sorted(SPACES))
def test_thresholds_magnitudes_and_ratio_are_logarithmic(name: str) -> None:
    for path, distribution in get_space(name).distributions(TrainConfig(epochs=30)).items():
        if distribution.single():
            continue
        if isinstance(distribution, FloatDistribution):
            assert distribution.log, path
        if "magnitude" in path:
            assert isinstance(distribution, FloatDistribution)
            assert distribution.high == {"step": 1, "label": 0.5}.get(path.partition("@")[2], 3)
        if path == "noise/weight_ratio":
            assert (distribution.low, distribution.high) == (0.01, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("signals", "absent"),
    [
        (("stuck",), {"magnitude_extra", "cooldown_extra", "weight_ratio", "plateau_delta"}),
        (
            ("val_loss_plateau",),
            {"patience", "grad_plateau_threshold", "cooldown_extra", "weight_ratio"},
        ),
        (("low_weight_update", "overfitting"), {"magnitude_extra", "cooldown_extra", "patience"}),
        (("grad_norm_plateau",), {"patience", "plateau_delta", "weight_ratio"}),
    ],
)
def test_what_has_no_effect_is_left_out(signals: tuple[str, ...], absent: set[str]) -> None:
    whole = get_space("adaptive_noise").distributions(TrainConfig(epochs=30))
    base = TrainConfig(epochs=30, noise=NoiseConfig(signals=signals))
    reduced = get_space("adaptive_noise").distributions(base)
    gone = {path.removeprefix("noise/") for path in whole.keys() - reduced.keys()}
    assert absent <= gone
    choices = reduced["noise/signals"]
    assert isinstance(choices, CategoricalDistribution)
    assert {name for choice in choices.choices for name in str(choice).split("+")} == set(signals)


def test_signals_travel_as_text() -> None:
    base = TrainConfig(epochs=30)
    space = get_space("adaptive_noise")
    choices = space.distributions(base)["noise/signals"]
    assert isinstance(choices, CategoricalDistribution)
    for choice in choices.choices:
        config = apply_overrides(base, {"noise/signals": choice})
        assert "+".join(config.noise.signals) == choice


def test_the_small_space_keeps_a_timing_that_fits() -> None:
    space = get_space("adaptive_noise_small")
    timing = {"noise/warmup_epochs", "noise/window", "noise/trigger_epochs"}
    assert not timing & space.distributions(TrainConfig(epochs=30)).keys()
    tight = space.distributions(TrainConfig(epochs=12))
    assert timing <= tight.keys()
    assert all(tight[path].single() for path in timing)


def test_an_unknown_space_gets_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean 'adaptive_noise'"):
        get_space("adaptive-noise")


def test_the_configuration_knows_the_same_names() -> None:
    assert [StudyConfig(space=name).space for name in SPACES] == list(SPACES)
    with pytest.raises(ValueError, match="unknown space; did you mean 'static_noise'"):
        StudyConfig(space="static")


def test_ranges_grow_with_the_budget() -> None:
    highs = [
        {
            path: d.high
            for path, d in get_space("adaptive_noise").distributions(TrainConfig(epochs=e)).items()
            if isinstance(d, IntDistribution)
        }
        for e in (10, 30, 100)
    ]
    for small, large in pairwise(highs):
        assert all(large[path] >= small[path] for path in small)
        assert sum(large.values()) > sum(small.values())
