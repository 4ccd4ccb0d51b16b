"""Which runs have the source that a study's own code has by now."""

from typing import Any

import pytest

from study.config import StudyConfig
from study.records.ledger_view import TrialRecord
from study.records.own_code import code_of, is_present
from trainables.config import TrainConfig
from trainables.settings import parse_config

OPTIMIZER = "alpha:opt"
AUGMENT = "zeta:aug"


def record(config: TrainConfig) -> TrialRecord:
    return TrialRecord(
        key="trial-0000", role="trial", seed=0, overrides={}, baseline="",
        config=config.model_dump(mode="json"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "before", "now"),
    [
        # Recorded by name; a configuration names augment first.
        (
            {"data": {"augment": AUGMENT}, "optimizer": {"optimizer": OPTIMIZER}},
            {AUGMENT: ("zeta 1",), OPTIMIZER: ("alpha 1",)},
            {AUGMENT: ("zeta 1",), OPTIMIZER: ("alpha 2",)},
        ),
        (
            {"model": {"classifier": "net:build"}, "optimizer": {"optimizer": OPTIMIZER}},
            {"net:build": ("net 1", "parts 1"), OPTIMIZER: ("alpha 1", "parts 1")},
            {"net:build": ("net 1", "parts 2"), OPTIMIZER: ("alpha 1", "parts 2")},
        ),
        (
            {"model": {"classifier": "net:build"}},
            {"net:build": ("net 1", "a 1")},
            {"net:build": ("net 1", "a 2")},
        ),
    ],
)
def test_a_new_run_has_the_accepted_source_and_an_earlier_one_has_not(
    values: dict[str, Any], before: dict[str, tuple[str, ...]], now: dict[str, tuple[str, ...]]
) -> None:
    train = parse_config(TrainConfig, values)
    study = StudyConfig(name="mine", train=train.with_identities(now), code_changes=1)
    new, earlier = (record(train.with_identities(known)) for known in (now, before))
    assert code_of(new) == study.train.code
    assert is_present(study, new)
    assert not is_present(study, earlier)
    assert not is_present(study, record(train))


def test_the_identity_of_one_name_is_its_own_named_module_first() -> None:
    train = parse_config(TrainConfig, {"model": {"classifier": "net:build"}})
    assert train.with_identities({"net:build": ("net 1", "a 1")}).code == ("net 1", "a 1")
