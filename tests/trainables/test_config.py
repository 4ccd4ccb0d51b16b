import pytest

from trainables.config import OptimizerConfig, TrainConfig
from trainables.errors import InputError
from trainables.settings import nest, parse_config


def test_noise_in_steps_is_refused_where_the_optimiser_divides_it_away() -> None:
    values = {"noise": {"scaling": "step"}, "optimizer": {"optimizer": "Adam"}}
    with pytest.raises(InputError, match=r"noise\.scaling = 'step'.*'Adam'.*Take scaling relative"):
        parse_config(TrainConfig, values)
    assert parse_config(TrainConfig, values | {"optimizer": {}}).noise.scaling == "step"


def test_a_step_is_the_rates_and_the_momentums() -> None:
    assert OptimizerConfig(lr=0.2, momentum=0.0).step_rate == 0.2
    assert OptimizerConfig(lr=0.2, momentum=0.75).step_rate == pytest.approx(0.8)
    assert OptimizerConfig(optimizer="Adam").step_rate is None


@pytest.mark.parametrize("path", ["epochs", "seed", "optimizer/lr", "noise/patience"])
def test_true_is_no_number(path: str) -> None:
    with pytest.raises(InputError, match="true and false are not allowed here") as told:
        parse_config(TrainConfig, nest({path: True}))
    assert path.rpartition("/")[2] in str(told.value)


def test_slices_are_recorded_where_there_are_any_and_others_have_none() -> None:
    assert "slice" not in TrainConfig().model_dump()
    assert TrainConfig.model_validate_json(TrainConfig().model_dump_json()).slice == 0
    sliced = TrainConfig(slice=32)
    assert TrainConfig.model_validate_json(sliced.model_dump_json()) == sliced
