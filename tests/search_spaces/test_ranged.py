"""A user's ranges on top of a space: they win over the space, its opening and calibration."""

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.calibration import calibrate
from search_spaces.own_space import checked_document, own_spec
from search_spaces.ranged import check_points, why_not, with_ranges
from search_spaces.registry import SPACES, get_space, possible_injections
from search_spaces.sampling import sample
from search_spaces.written import NumberRange
from tests.search_spaces.test_calibration import BASE, history
from trainables.errors import InputError

NOISE = get_space("noise")


def test_a_range_by_path_holds_for_every_dimension_of_it() -> None:
    space = with_ranges(NOISE, {"noise/magnitude_min": "1e-3..0.5:log"})
    box = space.distributions(BASE)
    mine = FloatDistribution(1e-3, 0.5, log=True)
    names = [name for name in box if name.startswith("noise/magnitude_min@")]
    assert len(names) == 3
    assert {box[name] for name in names} == {mine}
    assert box["noise/magnitude@step"] == NOISE.distributions(BASE)["noise/magnitude@step"]
    # In its place: the sampler asks for the dimensions in their order.
    assert list(box) == list(NOISE.distributions(BASE))
    one = with_ranges(NOISE, {"noise/magnitude_min@weight": 0.1, "noise/magnitude_min": "1..2"})
    assert one.distributions(BASE)["noise/magnitude_min@weight"] == FloatDistribution(0.1, 0.1)
    assert one.distributions(BASE)["noise/magnitude_min@step"] == FloatDistribution(1, 2)


def test_what_the_space_does_not_search_is_added() -> None:
    space = with_ranges(get_space("static_noise"), {"noise/permanent": [True, False]})
    assert list(space.distributions(BASE))[-1] == "noise/permanent"
    check_points(space, BASE)


@pytest.mark.parametrize(
    "ranges",
    [
        {"noise/magnitude": "0.02..0.03:log", "noise/magnitude_min": "0..0.4"},
        {"noise/magnitude": [0.2, 0.7], "noise/magnitude_min": 0.2},
        {"noise/schedule": "linear,cosine"},
        {"noise/kind": "weight", "noise/policy": "always", "noise/scaling": "absolute"},
        {"noise/scaling": "relative,step"},
        {"noise/signals": "stuck", "noise/patience": 3, "noise/window": 3},
        {"noise/distribution": "uniform"},
    ],
)
@pytest.mark.parametrize("name", ["noise", "static_noise"])
def test_the_first_trials_lie_within_the_ranges(name: str, ranges: dict) -> None:
    ours = {
        path: written
        for path, written in ranges.items()
        if name == "noise"
        or path
        not in {
            *(
                "noise/policy",
                "noise/signals",
                "noise/patience",
                "noise/window",
                "noise/magnitude_min",
            )
        }
    }
    space = with_ranges(get_space(name), ours)
    box = space.distributions(BASE)
    opening = space.opening(box)
    assert opening
    assert len({str(point) for point in opening}) == len(opening)
    for point in opening:
        assert why_not(BASE, space.overrides(point)) == ""
        for dimension, value in point.items():
            found = box[dimension]
            if isinstance(found, CategoricalDistribution):
                assert value in found.choices
            else:
                assert found.low <= value <= found.high


@pytest.mark.parametrize("name", SPACES)
def test_without_ranges_a_space_is_what_it_was(name: str) -> None:
    assert with_ranges(get_space(name), {}) is get_space(name)


def test_calibration_leaves_a_users_range_alone_and_says_so() -> None:
    plain = get_space("adaptive_noise")
    given = {"noise/plateau_delta": "1e-4..1e-3:log"}
    found = calibrate(with_ranges(plain, given), BASE, history())
    assert found.distributions["noise/plateau_delta"] == FloatDistribution(1e-4, 1e-3, log=True)
    assert "noise/plateau_delta: the range you gave is kept as it is" in found.notes
    others = calibrate(plain, BASE, history()).distributions
    threshold = "noise/weight_update_threshold"
    assert found.distributions[threshold] == others[threshold]
    assert others["noise/plateau_delta"] != found.distributions["noise/plateau_delta"]


def test_calibration_leaves_out_no_signal_that_a_user_named() -> None:
    flat = history()
    plain = calibrate(get_space("adaptive_noise"), BASE, flat)
    assert plain.dropped
    left_out = next(iter(plain.dropped))
    ranges = {"noise/signals": ["low_weight_update", left_out]}
    found = calibrate(with_ranges(get_space("adaptive_noise"), ranges), BASE, flat)
    assert found.distributions["noise/signals"] == CategoricalDistribution(
        ("low_weight_update", left_out)
    )
    assert not found.dropped
    assert any(f"signal {left_out} stays in the range you gave" in note for note in found.notes)


def test_the_earliest_noise_follows_the_ranges() -> None:
    ranges = {"noise/warmup_epochs": "7,9", "noise/policy": "on_stagnation"}
    assert possible_injections(with_ranges(get_space("adaptive_noise"), ranges), BASE) == [7]
    conditional = own_spec(
        "x.yaml",
        checked_document(
            {
                "dimensions": {
                    "noise/signals": "stuck,val_loss_plateau",
                    "noise/patience": 0,
                    "noise/trigger_epochs": 1,
                    "noise/warmup_epochs": "15..18",
                },
                "conditions": {"noise/warmup_epochs": {"noise/signals": "stuck"}},
            },
            "x",
        ),
    )
    # Some points have the base's warm-up.
    assert possible_injections(conditional, BASE) == [BASE.noise.warmup_epochs]


def test_points_without_a_beginning_are_counted_and_the_reason_is_theirs() -> None:
    half = BASE.epochs
    space = with_ranges(get_space("adaptive_noise"), {"noise/warmup_epochs": f"0..{2 * half - 1}"})
    found = check_points(space, BASE)
    assert 0.4 < found.without / found.points < 0.6
    assert f"epochs = {half}: noise could never begin" in found.reason
    columns = sample(space.distributions(BASE), 50, seed=1)
    for index in range(50):
        point = {name: column[index] for name, column in columns.items()}
        late = point["noise/warmup_epochs"] + point["noise/trigger_epochs"] - 1 >= half
        assert bool(why_not(BASE, space.overrides(point))) or not late


@pytest.mark.parametrize(
    ("name", "ranges", "said"),
    [
        ("noise", {"noise/warmup_epochs": 500, "noise/policy": "on_stagnation"}, "at none of its"),
        ("noise", {"noise/signals": "stuck+overfitting"}, "both noise/scaling and"),
        ("noise", {"noise/policy": "always", "noise/patience": "1..3"}, "no trial of space noise"),
        ("noise", {"noise/magnitude@wieght": 1}, "did you mean 'noise/magnitude@weight'"),
    ],
)
def test_a_space_of_which_nothing_can_be_trained_is_refused(name, ranges, said) -> None:
    with pytest.raises(InputError, match=said):
        check_points(with_ranges(get_space(name), ranges), BASE)


def test_whole_numbers_stay_whole() -> None:
    space = with_ranges(get_space("adaptive_noise"), {"noise/patience": "1..4"})
    assert space.distributions(BASE)["noise/patience"] == IntDistribution(1, 4)


def test_the_first_trials_lie_on_the_steps_of_a_range() -> None:
    space = with_ranges(get_space("static_noise"), {"noise/magnitude": "0.1..1:step=0.3"})
    drawn = [point["noise/magnitude"] for point in space.opening(space.distributions(BASE))]
    assert all(min(abs(value - step) for step in (0.1, 0.4, 0.7, 1.0)) < 1e-9 for value in drawn)
    assert not NumberRange(0.1, 1.0, step=0.3).contains(0.316)
    assert NumberRange(0.1, 1.0, step=0.3).contains(0.7)
    assert not NumberRange(1, 9, step=2).contains(4)
