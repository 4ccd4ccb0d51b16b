"""Models in MLflow's registry."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME_OUTPUTS = 1e-4
"""Relative and absolute: the exported graph may sum in another order than the network."""


CHAMPION = "champion"
"""The alias under which a study's winner is found in the model registry."""


@dataclass(frozen=True, slots=True)
class ModelToLog:
    """A trained model, with what its users need.

    Attributes:
        module: on the CPU, in eval mode; one array in, one array out. The first dimension of both
            is the batch.
        example: an input, of more than one sample.
        outputs: what the module gives for it: whoever loads the model must get the same.
        params, tags: text about it.
        metrics: its figures, on the data set below.
        dataset: name and settings of the data set, as for ``log_dataset``.
        description: for the registry's page (Markdown).
    """

    module: Any
    example: NDArray[Any]
    outputs: NDArray[Any]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    dataset: tuple[str, Mapping[str, Any]]
    description: str


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A version of a model in the registry."""

    name: str
    version: str
    model_id: str

    @property
    def uri(self) -> str:
        """The address under which MLflow loads it."""
        return f"models:/{self.name}/{self.version}"


def model_name(name: str) -> str:
    """A name that a logged model may have: some characters are kept for addresses."""
    return re.sub(r"[/:.%\"']", "-", name)


def write_model(model: ModelToLog, folder: Path, run_id: str, model_id: str) -> None:
    """Write a model as MLflow stores one, without pickle."""
    import mlflow.pytorch
    import torch
    from mlflow.models import Model, infer_signature

    # The package's name alone: the builds for a GPU have versions that other indexes lack.
    versions = [f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}"]
    versions.append(f"torch=={torch.__version__.partition('+')[0]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pytorch.save_model(
            model.module,
            str(folder),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
            signature=infer_signature(model.example, model.outputs),
            input_example=model.example,
            pip_requirements=versions,
            serialization_format="pt2",
        )


def predictions(path: str, inputs: NDArray[Any]) -> NDArray[Any]:
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # On the CPU, where it was stored, whatever this machine has.
        loaded = mlflow.pyfunc.load_model(path, model_config={"device": "cpu"})
        return np.asarray(loaded.predict(inputs))
