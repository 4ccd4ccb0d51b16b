"""Logged models: what MLflow shows of a trial's weights."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from study.records.events import EndEvent
from study.tracking.batches import cut, cut_tags, dataset_input
from study.tracking.connection import Connection
from study.tracking.reader import KnownRun, Reader, parameters, redacted
from study.tracking.types import MetricPoint, StoreRefusedError

log = logging.getLogger(__name__)

_MAX_PARAMETER = 250
_KEPT_FOR_ADDRESSES = re.compile(r"[/:.%\"']")


def model_name(name: str) -> str:
    """A name that a logged model may have: some characters are kept for addresses."""
    return _KEPT_FOR_ADDRESSES.sub("-", name)


def log_compared_models(
    connection: Connection, experiment_id: str, run_ids: Mapping[str, str], reader: Reader
) -> None:
    """The models that a reader compares, in MLflow's own form: the baselines' and the best.

    Not every trial's: five calls each would be a part of a short trial's time.
    """
    best = reader.study_end.best if reader.study_end is not None else None
    for key, known in reader.runs.items():
        if known.start.role != "baseline" and key != best:
            continue
        if known.refused or key not in run_ids or known.end is None:
            continue
        step = reader.steps.whole(max(known.epochs, default=0))
        try:
            _log_external_model(
                connection, experiment_id, run_ids[key], known, known.end, step=step
            )
        except StoreRefusedError as error:
            log.error("MLflow refuses the model of %s: %s", key, error)


def _parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """What made the model, without what only says where and how it ran."""
    images = ("data/dataset", "data/batch_size", "data/image_size", "data/channels")
    wanted = ("model/", "optimizer/", "noise/", *images, "epochs", "seed")
    return {key: text for key, text in parameters(config).items() if key.startswith(wanted)}


def _log_external_model(
    connection: Connection,
    experiment_id: str,
    run_id: str,
    known: KnownRun,
    end: EndEvent,
    *,
    step: int,
) -> None:
    """Say which model a run trained, in MLflow's own form, without storing its weights.

    MLflow calls a model external whose weights lie outside of it. A run's model is made once:
    after a ``StoreUnavailableError`` the same call goes on with it.
    """
    start, config = known.start, known.start.config
    data = redacted(config.get("data", {}))
    dataset = (str(data.get("dataset")), data)
    metrics = [MetricPoint(k, v, end.time, step) for k, v in end.values.items()]
    params = _parameters(config)
    tags = {"trial_id": start.key, "role": start.role, "mlflow.model.isExternal": "true"}
    name = model_name(f"{config.get('model', {}).get('classifier', 'model')}-{start.key}")
    which = f"source_run_id = '{run_id}' AND name = '{name}'"
    with connection.calling() as client:
        found = client.search_logged_models([experiment_id], which, max_results=1)
        if not found:
            found = [new_model(client, experiment_id, run_id, name, tags=tags, params=params)]
        if str(found[0].status) != "READY":
            link_model(client, run_id, found[0].model_id, metrics, dataset)


def new_model(
    client: Any,
    experiment_id: str,
    run_id: str,
    name: str,
    *,
    tags: Mapping[str, str],
    params: Mapping[str, str],
) -> Any:
    return client.create_logged_model(
        experiment_id,
        name=name,
        source_run_id=run_id,
        tags=cut_tags(tags),
        params={key: cut(value, _MAX_PARAMETER) for key, value in params.items()},
        model_type="image classifier",
    )


def link_model(
    client: Any,
    run_id: str,
    model_id: str,
    metrics: Sequence[MetricPoint],
    dataset: tuple[str, Mapping[str, Any]],
) -> None:
    """Tie a model to its run, give it its figures, and call it ready."""
    from mlflow.entities import LoggedModelOutput, Metric

    name, source = dataset
    _, digest = dataset_input(source)
    outputs = client.get_run(run_id).outputs
    if model_id not in {known.model_id for known in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    points = [
        Metric(*point, model_id=model_id, dataset_name=name, dataset_digest=digest, run_id=run_id)
        for point in metrics
    ]
    client.log_batch(run_id, metrics=points)
    client.finalize_logged_model(model_id, "READY")
