"""Models in MLflow's registry: stored, loaded again, and registered if they predict the same."""

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.records.events import now_ms
from study.tracking.batches import cut_tags
from study.tracking.connection import Connection
from study.tracking.logged_models import link_model, model_name, new_model
from study.tracking.types import MetricPoint
from trainables.errors import InputError

_SAME_OUTPUTS = 1e-4
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
        metrics: its figures, on the data set below.
        dataset: name and settings of the data set, as for ``log_dataset``.
        description: for the registry's page (Markdown).
        preprocessing: how files become inputs, where something is to be said of it: it goes with
            the model (``metadata`` of MLflow's).
    """

    module: Any
    example: NDArray[Any]
    outputs: NDArray[Any]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    dataset: tuple[str, Mapping[str, Any]]
    description: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    name: str
    version: str


def register_model(
    connection: Connection,
    name: str,
    experiment_id: str,
    run_id: str,
    model: ModelToLog,
) -> RegisteredModel:
    """Store a run's model and register it as ``CHAMPION`` once it is proven to load.

    The loaded model has to give the outputs that ``model`` promises, or nothing is registered.
    """
    logged = _stored(connection, name, experiment_id, run_id, model)
    with connection.calling() as client:
        _make_name(client, name)
        version = client.create_model_version(
            name,
            source=logged.artifact_location,
            run_id=run_id,
            tags=cut_tags({**model.tags, "model_id": logged.model_id}),
            description=model.description,
            model_id=logged.model_id,
        )
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return RegisteredModel(name, str(version.version))


def _stored(
    connection: Connection, name: str, experiment_id: str, run_id: str, model: ModelToLog
) -> Any:
    """MLflow's logged model: a graph made by ``torch.export`` (MLflow's format pt2).

    There is no pickle in it, and loading it needs none of our code.
    """
    with connection.calling() as client, tempfile.TemporaryDirectory() as scratch:
        logged = new_model(
            client, experiment_id, run_id, model_name(name), tags=model.tags, params=model.params
        )
        saved = Path(scratch) / "saved"
        write_model(model, saved, run_id, logged.model_id)
        client.log_model_artifacts(logged.model_id, str(saved))
        now = now_ms()
        metrics = [MetricPoint(k, v, now, 0) for k, v in model.metrics.items()]
        link_model(client, run_id, logged.model_id, metrics, model.dataset)
        # By its place: MLflow looks addresses up by the process's settings, not by this store.
        path = _fetched(connection.uri, logged.artifact_location, Path(scratch) / "loaded")
        wrong = _predicts_otherwise(path, model)
        if wrong:
            client.finalize_logged_model(logged.model_id, "FAILED")
    if wrong:
        raise InputError(f"--register = {name!r}: nothing is registered: {wrong}")
    return logged


def _make_name(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _fetched(uri: str, place: str, folder: Path) -> str:
    from mlflow.artifacts import download_artifacts

    folder.mkdir()
    return str(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=uri))


def _predicts_otherwise(path: str, model: ModelToLog) -> str:
    """What is wrong with a model that was fetched, once it is loaded; empty if nothing."""
    # One sample alone, too: an export may have fixed the size of the batch.
    for part in (slice(None), slice(1)):
        try:
            given = _predictions(path, model.example[part])
        except Exception as error:
            return f"the model that MLflow gives back can't predict ({error})"
        wanted = model.outputs[part]
        if given.shape != wanted.shape or not np.allclose(
            given, wanted, rtol=_SAME_OUTPUTS, atol=_SAME_OUTPUTS
        ):
            return "the model that MLflow gives back does not predict the same"
    return ""


def write_model(model: ModelToLog, folder: Path, run_id: str, model_id: str) -> None:
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
            mlflow_model=Model(
                run_id=run_id,
                model_id=model_id,
                metadata={"preprocessing": dict(model.preprocessing)},
            ),
            signature=infer_signature(model.example, model.outputs),
            input_example=model.example,
            pip_requirements=versions,
            serialization_format="pt2",
        )


def _predictions(path: str, inputs: NDArray[Any]) -> NDArray[Any]:
    import mlflow.pyfunc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # On the CPU, where it was stored, whatever this machine has.
        loaded = mlflow.pyfunc.load_model(path, model_config={"device": "cpu"})
        return np.asarray(loaded.predict(inputs))
