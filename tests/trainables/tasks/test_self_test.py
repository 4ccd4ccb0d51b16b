"""The self-test: what is repeatable passes, what is not is told with its reason."""

import pytest

from tests.support import own_tasks
from tests.support.own_tasks import Line, task_config
from trainables.errors import InputError
from trainables.noise_config import NoiseConfig
from trainables.tasks.self_test import self_test

KINDS = [NoiseConfig(policy="always", kind=kind) for kind in ("gradient", "weight")]


def test_a_repeatable_task_passes() -> None:
    assert self_test(task_config(Line), KINDS).repeatable


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (own_tasks.OtherOrder, "the same seed gives other batches in the first epoch"),
        (own_tasks.OtherWeights, "a generator that is not seeded"),
        (own_tasks.GoesOnOtherwise, "their order depends on what was drawn before"),
        (own_tasks.ForgetsMomentum, "state_dict lacks something"),
    ],
)
def test_what_is_not_repeatable_is_told_with_its_reason(kind: type, told: str) -> None:
    [problem] = self_test(task_config(kind)).problems
    assert told in problem


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match="can't be kept in a checkpoint"):
        self_test(task_config(own_tasks.KeepsAnObject))


def test_a_task_that_diverges_is_refused() -> None:
    with pytest.raises(InputError, match="it diverged in the self-test"):
        self_test(task_config(own_tasks.Diverges))


def test_noise_is_tried() -> None:
    with pytest.raises(InputError, match="noise on labels"):
        self_test(task_config(Line), [NoiseConfig(policy="always", kind="label")])
