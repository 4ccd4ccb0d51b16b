"""The space of all noise: what a point has, what has an effect, and what a search begins with."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.calibration import CalibratedSpace, calibrate
from search_spaces.conditions import from_overrides
from search_spaces.registry import first_possible_injection, get_space, possible_injections
from search_spaces.shares import shares
from study.records.json_files import write_json
from tests.search_spaces.points import points
from tests.search_spaces.test_calibration import BASE, history
from trainables.config import TrainConfig, apply_overrides
from trainables.documents import read_mapping
from trainables.noise.controller import replay
from trainables.noise.signals import SIGNALS
from trainables.settings import parse_config

NOISE = get_space("noise")
ADAM = parse_config(TrainConfig, {"epochs": 30, "optimizer": {"optimizer": "Adam"}})
BOX = NOISE.distributions(BASE)
CONDITIONS = NOISE.conditions(BOX)
ADAPTIVE_ONLY = {"warmup_epochs", "window", "trigger_epochs", "max_injection_epochs"}


@settings(max_examples=300, deadline=None)
@given(point=points(BOX, CONDITIONS))
def test_a_point_has_what_has_an_effect_and_nothing_else(point) -> None:
    has = {name.removeprefix("noise/").partition("@")[0] for name in point}
    assert len(has) == len(point)  # no path twice
    noise = apply_overrides(BASE, NOISE.overrides(point)).noise
    assert ("kind" in has) == ("magnitude" in has) == (noise.policy == "always")
    assert ("signals" in has) == ("magnitude_min" in has) == (noise.policy == "on_stagnation")
    assert (has >= ADAPTIVE_ONLY) == (not has.isdisjoint(ADAPTIVE_ONLY)) == ("signals" in has)
    kinds = {SIGNALS[name].asks_for for name in noise.signals}
    if noise.policy == "always":
        kinds = {noise.kind}
    assert len(kinds) == 1
    assert ("scaling" in has) == (kinds != {"label"})
    if noise.scaling == "step":
        assert kinds == {"gradient"} or "scaling" not in has
    listened = {SIGNALS[name].setting for name in noise.signals} if "signals" in has else set()
    assert has & {signal.setting for signal in SIGNALS.values()} == listened


@settings(max_examples=100, deadline=None)
@given(point=points(BOX, CONDITIONS))
def test_a_trials_overrides_say_which_point_it_is(point) -> None:
    assert from_overrides(BOX, CONDITIONS, NOISE.overrides(point)) == point


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_without_a_meaning_steps_are_not_offered(data) -> None:
    box = NOISE.distributions(ADAM)
    assert not any(name.endswith("@step") for name in box)
    point = data.draw(points(box, NOISE.conditions(box)))
    assert apply_overrides(ADAM, NOISE.overrides(point)).noise.scaling == "relative"


def test_whatever_the_base_fixes_otherwise_plays_no_part() -> None:
    odd = {"magnitude_extra": 3.0, "weight_ratio": 0.0, "distribution": "uniform"}
    base = parse_config(TrainConfig, {"epochs": 30, "noise": odd | {"cooldown_extra": 9}})
    for point in NOISE.opening(NOISE.distributions(base)):
        noise = apply_overrides(base, NOISE.overrides(point)).noise
        assert noise.distribution == "gaussian"
        if noise.policy == "on_stagnation":
            assert (noise.magnitude_extra, noise.weight_ratio, noise.cooldown_extra) == (0, 1, 0)


def test_noise_may_begin_at_once_and_adaptive_noise_with_the_first_window() -> None:
    assert sorted(possible_injections(NOISE, BASE)) == [0, 2]
    assert first_possible_injection(NOISE, BASE) == 0


# What a search begins with.


def magnitude_of(point) -> tuple[str, float]:
    return next(
        (name.removeprefix("noise/"), value)
        for name, value in point.items()
        if "magnitude" in name and "extra" not in name
    )


@pytest.mark.parametrize("base", [BASE, ADAM], ids=["SGD", "Adam"])
def test_the_opening_tries_every_kind_at_every_half_decade_the_middle_first(base) -> None:
    box = NOISE.distributions(base)
    opening = NOISE.opening(box)
    assert len({repr(point) for point in opening}) == len(opening)
    magnitudes: dict[str, list[float]] = {}
    for point in opening:
        name, value = magnitude_of(point)
        assert box[name if name in box else f"noise/{name}"].low <= value
        magnitudes.setdefault(name, []).append(value)
    unit = "step" if base is BASE else "gradient"
    names = [f"magnitude_min@{unit}", f"magnitude@{unit}", "magnitude_min@weight"]
    assert list(magnitudes) == [*names, *(f"magnitude@{k}" for k in ("weight", "input", "label"))]
    assert [magnitude_of(point)[0] for point in opening[:6]] == list(magnitudes)
    for name, values in magnitudes.items():
        label = [0.1, 0.316, 0.0316, 0.01]
        assert values == (label if name.endswith("label") else [0.1, 0.316, 1, 0.0316, 0.01])


def test_the_openings_noise_begins_early_and_lasts() -> None:
    # A training that stands still: every signal of a kind is raised as soon as it may be.
    stuck = history(
        grad_norm=lambda p: 1.0,
        update=lambda p: 1e-5,
        train_loss=lambda p: 2.0,
        val_loss=lambda p: 2.0,
        jitter=0,
    )
    for point in NOISE.opening(BOX):
        noise = apply_overrides(BASE, NOISE.overrides(point)).noise
        noisy = [injection.injecting for injection in replay(stuck, noise, BASE.epochs)]
        begins = noisy.index(True)
        assert begins == noise.earliest_injection() <= 2
        assert all(noisy[begins:])


def test_the_opening_of_a_calibrated_space_keeps_to_its_ranges() -> None:
    found = calibrate(NOISE, BASE, history())
    assert found.dropped
    assert found.opening == tuple(NOISE.opening(found.distributions))
    for point in found.opening:
        overrides = NOISE.overrides(point)
        assert from_overrides(found.distributions, found.conditions, overrides) == point
        apply_overrides(BASE, NOISE.overrides(point))


def test_a_kind_whose_signals_are_all_dropped_opens_with_static_noise_only() -> None:
    base = parse_config(TrainConfig, {"epochs": 30, "noise": {"signals": ["overfitting"]}})
    opening = NOISE.opening(NOISE.distributions(base))
    kinds = Counter(magnitude_of(point)[0] for point in opening)
    assert "magnitude_min@step" not in kinds
    assert kinds["magnitude@step"] == kinds["magnitude_min@weight"] == 5


# Kept with a study.


def test_conditions_and_opening_survive_the_studys_file(tmp_path) -> None:
    found = calibrate(NOISE, BASE, history())
    write_json(tmp_path / "space.json", found.to_json())
    again = CalibratedSpace.from_json(read_mapping(tmp_path / "space.json"))
    assert list(again.distributions) == list(found.distributions)  # conditions look back
    assert [dict(point) for point in again.opening] == [dict(point) for point in found.opening]
    assert again.to_json() == read_mapping(tmp_path / "space.json")
    for point in found.opening:
        overrides = NOISE.overrides(point)
        assert from_overrides(again.distributions, again.conditions, overrides) == point


def test_spaces_without_conditions_are_written_as_they_were() -> None:
    space = calibrate(get_space("adaptive_noise"), BASE, history())
    assert set(space.to_json()) == {"distributions", "notes", "dropped"}
    assert CalibratedSpace.from_json(space.to_json()) == space


def test_shares_count_static_noise_as_begun_at_once() -> None:
    found = shares(NOISE, BASE, history(), n=400)
    assert found.forks[0] == found.first_possible == 0
    # Half of the points are static.
    assert found.at_first > 0.4
