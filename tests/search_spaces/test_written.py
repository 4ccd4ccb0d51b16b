"""Ranges as people write them: what they mean, and what is refused, by name, with the remedy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.written import NumberRange, from_distribution, read_dimension
from trainables.errors import InputError


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("noise/patience", "1..20", IntDistribution(1, 20)),
        ("noise/patience", "1..9:step=2", IntDistribution(1, 9, step=2)),
        ("noise/patience", "1..64:log", IntDistribution(1, 64, log=True)),
        ("noise/patience", "none,3", CategoricalDistribution((None, 3))),
        ("noise/magnitude_min", "1e-3..1:log", FloatDistribution(1e-3, 1, log=True)),
        ("noise/magnitude_min@weak", " 0 .. 2 ", FloatDistribution(0, 2)),
        ("noise/magnitude", "0..1:step=0.25", FloatDistribution(0, 1, step=0.25)),
        ("noise/magnitude", "0.1,1", CategoricalDistribution((0.1, 1.0))),
        ("noise/schedule", "cosine, constant", CategoricalDistribution(("cosine", "constant"))),
        ("noise/schedule", ["cosine"], CategoricalDistribution(("cosine",))),
        ("noise/window", "5", IntDistribution(5, 5)),
        ("noise/window", 5, IntDistribution(5, 5)),
        ("noise/permanent", "true,false", CategoricalDistribution((True, False))),
        ("noise/policy", "always", CategoricalDistribution(("always",))),
        # As the configuration has it: the order of signals never matters.
        ("noise/signals", "overfitting+stuck", CategoricalDistribution(("stuck+overfitting",))),
    ],
)
def test_what_is_written_is_what_is_searched(name, written, meant) -> None:
    found = read_dimension(name, written, "here")
    assert found.distribution() == meant
    # What a study stores of it means the same, as does the distribution itself.
    assert read_dimension(name, found.written, "here") == found
    again = from_distribution(name, meant, "here")
    assert read_dimension(name, again, "here").distribution() == meant


@given(
    ends=st.lists(st.floats(1e-30, 1e30), min_size=2, max_size=2, unique=True), log=st.booleans()
)
def test_a_stored_range_has_the_same_bits(ends, log) -> None:
    found = NumberRange(*sorted(ends), log=log)
    assert read_dimension("noise/magnitude", found.written, "here") == found


@pytest.mark.parametrize(
    ("name", "written", "said"),
    [
        ("noise/patienc", "1..2", ["there is no setting 'noise/patienc'", "'noise/patience'"]),
        ("patience", "1..2", ["there is no setting 'patience'", "did you mean 'noise/patience'"]),
        ("optimizer/lr", "1..2", ["'optimizer/lr'", "only settings of the noise", "--lr"]),
        ("noise/layers", "a,b", ["'noise/layers'", "a list can't be searched", "--noise-layer"]),
        ("noise/policy", "off", ["noise/policy = 'off'", "off is the baseline"]),
        ("noise/patience", "5..1", ["noise/patience = '5..1'", "begins at 5, above its end 1"]),
        ("noise/patience", "-1..3", ["noise/patience = '-1..3'", "'-1'", "greater than or equal"]),
        ("noise/patience", "1.5..3", ["noise/patience = '1.5..3'", "'1.5'", "integer"]),
        ("noise/patience", "a..3", ["noise/patience = 'a..3'", "'a'", "integer"]),
        ("noise/patience", "none..3", ["between two numbers"]),
        ("noise/patience", "1..3:lin", ["'lin'", "allowed: log, step=N"]),
        ("noise/patience", "1..3:step=0", ["step = 0", "above 0"]),
        ("noise/patience", "1..3:step=x", ["step = 'x'", "no number"]),
        ("noise/patience", "1..3:step=1.5", ["step = 1.5", "whole number"]),
        ("noise/patience", "1..3:step=5", ["step = 5", "longer than the range"]),
        ("noise/patience", "1,,2", ["a value is missing", "LOW..HIGH"]),
        ("noise/patience", "1,1", ["1 is there twice"]),
        ("noise/patience", [], ["a value is missing"]),
        ("noise/patience", {"low": 1}, ["a mapping", "LOW..HIGH"]),
        ("noise/patience", True, ["noise/patience = True", "true and false"]),
        ("noise/magnitude", "0..1:log", ["begins above 0"]),
        ("noise/magnitude", "0..inf", ["'inf'", "finite"]),
        ("noise/magnitude", "nan", ["finite"]),
        ("noise/magnitude", "0..1e31", ["'1e31'", "less than or equal"]),
        ("noise/window", "1..5", ["'1'", "greater than or equal to 2"]),
        ("noise/schedule", "cosin", ["noise/schedule = 'cosin'", "did you mean 'cosine'"]),
        ("noise/schedule", "cosine..linear", ["names have no range"]),
        ("noise/signals", "stuck,stuk", ["'stuk'", "did you mean 'stuck'"]),
        ("noise/magnitude@a b", "1", ["noise/magnitude@a b", "after the @"]),
        (7, "1", ["7 is no text"]),
    ],
)
def test_what_is_wrong_is_said_with_field_value_and_remedy(name, written, said) -> None:
    with pytest.raises(InputError) as refused:
        read_dimension(name, written, "range (--range)")
    for words in ("range (--range): ", *said):
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "distribution", "said"),
    [
        ("noise/patience", FloatDistribution(1, 2), "the setting takes int"),
        ("noise/magnitude", IntDistribution(1, 2), "the setting takes float"),
        ("noise/schedule", IntDistribution(1, 2), "the setting takes named choices"),
        ("noise/patience", range(3), "of type range; give a distribution of Optuna"),
    ],
)
def test_a_distribution_must_be_of_the_settings_type(name, distribution, said) -> None:
    with pytest.raises(InputError, match=said):
        from_distribution(name, distribution, "here")
