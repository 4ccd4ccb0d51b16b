"""Names of logged models: a grid's keys hold what MLflow keeps for addresses."""

import pytest
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_logged_model_name

from study.tracking.logged_models import model_name


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("BabyCNN-baseline-seed0", "BabyCNN-baseline-seed0"),
        ("BabyCNN-BabyCNN-SGD-lr0.01-seed0", "BabyCNN-BabyCNN-SGD-lr0-01-seed0"),
        ("models:Tiny-trial's/0%", "models-Tiny-trial-s-0-"),
    ],
)
def test_mlflow_takes_the_name(name: str, taken: str) -> None:
    assert model_name(name) == taken
    _validate_logged_model_name(taken)
    if name != taken:
        with pytest.raises(MlflowException):
            _validate_logged_model_name(name)
