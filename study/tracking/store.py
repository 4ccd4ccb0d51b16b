"""The tracking store: the only file that imports MLflow, for writing and for reading.

MLflow is imported by the first call that needs it, not with this module: that takes seconds, and
whoever only wants a name from here shouldn't pay for it. A call either succeeds or raises one of
two errors: ``StoreUnavailableError`` (try again later) or ``StoreRefusedError`` (never will).
"""

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from study.tracking.addresses import VIEW_KEY, is_server, prepare_environment
from study.tracking.batches import MAX_PARAMETER, calls, cut, cut_tags, dataset_input
from study.tracking.logged_models import MAX_MODEL_PARAMETER
from study.tracking.registry import (
    CHAMPION,
    SAME_OUTPUTS,
    ModelToLog,
    RegisteredModel,
    model_name,
    predictions,
    write_model,
)
from study.tracking.types import (
    STUDY_RUN,
    FoundRun,
    MetricPoint,
    RunStatus,
    StoredStudy,
    StoreRefusedError,
    StoreUnavailableError,
    fuller,
    stored_study,
)
from trainables.errors import InputError
from trainables.uris import redact_uri

log = logging.getLogger(__name__)
_NOISY_LOGGERS = (
    "alembic",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry",
    "mlflow.tracking.fluent",
    "urllib3",
)
_REFUSALS = frozenset({"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"})


class MlflowStore:
    """Runs of studies in one MLflow store; nothing is contacted before the first call."""

    def __init__(self, uri: str, root: str | None = None) -> None:
        """A store.

        Args:
            uri: the tracking URI, absolute (``resolve_uri``).
            root: where experiments keep their artifacts (``artifact_root``); None: the store's
                own default.
        """
        self.uri = uri
        self._root = root

    def __repr__(self) -> str:
        return f"MlflowStore({redact_uri(self.uri)!r})"

    @cached_property
    def _client(self) -> Any:
        prepare_environment()
        from mlflow import MlflowClient

        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def _calling(self) -> Iterator[Any]:
        """The client, with its errors translated and freed of secrets."""
        try:
            yield self._client
        except Exception as error:
            text = self._scrubbed(f"{type(error).__name__}: {error}")
            kind = StoreRefusedError if self._is_refusal(error) else StoreUnavailableError
            raise kind(text) from None

    def _is_refusal(self, error: Exception) -> bool:
        from mlflow.exceptions import MlflowException, RestException

        # Of a server only MLflow's own answers count: a proxy says 404, too, while it is down.
        answered = RestException if is_server(self.uri) else MlflowException
        return isinstance(error, answered) and error.error_code in _REFUSALS

    def _scrubbed(self, text: str) -> str:
        password = urlsplit(self.uri).password
        if password:
            text = text.replace(password, "***")
        first = redact_uri(text).strip().splitlines()[0]
        return first[:300]

    # Writing

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made, or restored, if need be."""
        with self._calling() as client:
            found = client.get_experiment_by_name(name)
            if found is None:
                return str(client.create_experiment(name, artifact_location=self._location(name)))
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def _location(self, name: str) -> str | None:
        return None if self._root is None else f"{self._root}/{quote(name, safe='')}"

    def create_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str], started: int
    ) -> str:
        """Make a run, RUNNING since ``started`` (ms); its id.

        After a ``StoreUnavailableError`` the run may exist all the same: ``find_runs`` tells.
        """
        with self._calling() as client:
            run = client.create_run(
                experiment_id, start_time=started, tags=cut_tags(tags), run_name=name
            )
            return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        metrics: Sequence[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write metrics, parameters and tags in as few calls as MLflow's limits allow.

        Sending the same again changes nothing: MLflow drops a metric whose value, step and time it
        has. Long values are cut.
        """
        with self._calling() as client:
            from mlflow.entities import Metric, Param, RunTag

            points = [Metric(m.key, m.value, m.time, m.step) for m in metrics]
            texts = [Param(k, cut(v, MAX_PARAMETER)) for k, v in (params or {}).items()]
            marks = [RunTag(k, v) for k, v in cut_tags(tags or {}).items()]
            for points_, texts_, marks_ in calls(points, texts, marks):
                client.log_batch(run_id, metrics=points_, params=texts_, tags=marks_)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        """Store ``text`` as the artifact ``file``."""
        with self._calling() as client:
            client.log_text(run_id, text, file)

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        """Store a file among the run's artifacts."""
        with self._calling() as client:
            client.log_artifact(run_id, str(path), folder or None)

    def files(self, run_id: str) -> list[str]:
        """The files at the top of a run's artifacts."""
        with self._calling() as client:
            return [found.path for found in client.list_artifacts(run_id) if not found.is_dir]

    def log_dataset(self, run_id: str, name: str, source: Mapping[str, Any]) -> None:
        """Say which data set a run used, in MLflow's own form."""
        with self._calling() as client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            text, digest = dataset_input(source)
            dataset = Dataset(name=name, digest=digest, source_type="code", source=text)
            use = InputTag("mlflow.data.context", "train")
            client.log_inputs(run_id, datasets=[DatasetInput(dataset, [use])])

    def log_external_model(
        self,
        experiment_id: str,
        run_id: str,
        name: str,
        *,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        metrics: Sequence[MetricPoint],
        dataset: tuple[str, Mapping[str, Any]],
    ) -> str:
        """Say which model a run trained, in MLflow's own form, without storing its weights.

        MLflow calls a model external whose weights lie outside of it. A run's model is made once:
        after a ``StoreUnavailableError`` the same call goes on with it.

        Args:
            experiment_id: the run's experiment.
            run_id: the run.
            name: of the model.
            params, tags: text about it, at most as for runs.
            metrics: its figures.
            dataset: name and settings of the data set that they are from.

        Returns:
            The model's id.
        """
        with self._calling() as client:
            found = client.search_logged_models(
                [experiment_id], f"source_run_id = '{run_id}' AND name = '{name}'", max_results=1
            )
            if found:
                model = found[0]
            else:
                marks = {**tags, "mlflow.model.isExternal": "true"}
                model = self._new_model(
                    client, experiment_id, run_id, name, tags=marks, params=params
                )
            if str(model.status) != "READY":
                self._link_model(client, run_id, model.model_id, metrics, dataset)
            return str(model.model_id)

    def _new_model(
        self,
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
            params={key: cut(value, MAX_MODEL_PARAMETER) for key, value in params.items()},
            model_type="image classifier",
        )

    def _link_model(
        self,
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
            Metric(
                point.key,
                point.value,
                point.time,
                point.step,
                model_id=model_id,
                dataset_name=name,
                dataset_digest=digest,
                run_id=run_id,
            )
            for point in metrics
        ]
        client.log_batch(run_id, metrics=points)
        client.finalize_logged_model(model_id, "READY")

    def register_model(
        self, name: str, experiment_id: str, run_id: str, model: ModelToLog, alias: str = CHAMPION
    ) -> RegisteredModel:
        """Store a run's model and register it; it gets the alias once it is proven to load.

        It is stored as a graph made by ``torch.export`` (MLflow's format pt2): no pickle, and
        loading it needs none of our code. The loaded model has to give the outputs that ``model``
        promises, or nothing is registered.

        Raises:
            StoreUnavailableError, StoreRefusedError: as every call.
            InputError: if the model that MLflow gives back does not give the same outputs.
        """
        with self._calling() as client, tempfile.TemporaryDirectory() as scratch:
            logged = self._new_model(
                client,
                experiment_id,
                run_id,
                model_name(name),
                tags=model.tags,
                params=model.params,
            )
            saved = Path(scratch) / "saved"
            write_model(model, saved, run_id, logged.model_id)
            client.log_model_artifacts(logged.model_id, str(saved))
            now = int(time.time() * 1000)
            metrics = [MetricPoint(k, v, now, 0) for k, v in model.metrics.items()]
            self._link_model(client, run_id, logged.model_id, metrics, model.dataset)
            # By its place: MLflow looks addresses up by the process's settings, not by this store.
            place = logged.artifact_location
            wrong = self._loads_otherwise(place, model, Path(scratch) / "loaded")
            if wrong:
                client.finalize_logged_model(logged.model_id, "FAILED")
        if wrong:
            raise InputError(f"--register = {name!r}: nothing is registered: {wrong}")
        with self._calling() as client:
            self._registered_name(client, name)
            version = client.create_model_version(
                name,
                source=place,
                run_id=run_id,
                tags=cut_tags({**model.tags, "model_id": logged.model_id}),
                description=model.description,
                model_id=logged.model_id,
            )
            client.set_registered_model_alias(name, alias, version.version)
        return RegisteredModel(name, str(version.version), str(logged.model_id))

    def _registered_name(self, client: Any, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _loads_otherwise(self, place: str, model: ModelToLog, folder: Path) -> str:
        """What is wrong with a stored model once it is fetched and loaded; empty if nothing."""
        path = self._fetched(place, folder)
        # One sample alone, too: an export may have fixed the size of the batch.
        for part in (slice(None), slice(1)):
            try:
                found = predictions(path, model.example[part])
            except Exception as error:
                return f"the model that MLflow gives back can't predict ({error})"
            wanted = model.outputs[part]
            if found.shape != wanted.shape or not np.allclose(
                found, wanted, rtol=SAME_OUTPUTS, atol=SAME_OUTPUTS
            ):
                return "the model that MLflow gives back does not predict the same"
        return ""

    def _fetched(self, place: str, folder: Path) -> str:
        """Where a stored model lies after it was fetched into ``folder``."""
        from mlflow.artifacts import download_artifacts

        folder.mkdir(exist_ok=True)
        return str(
            download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=self.uri)
        )

    def set_status(self, run_id: str, status: RunStatus, ended: int | None = None) -> None:
        """End a run (``ended`` in ms), or let it run again."""
        with self._calling() as client:
            if status == "RUNNING":
                client.update_run(run_id, status)
            else:
                client.set_terminated(run_id, status, ended)

    def delete_run(self, run_id: str) -> None:
        """Move a run to MLflow's bin."""
        with self._calling() as client:
            client.delete_run(run_id)

    def share_view(self, experiment_id: str, columns: Sequence[str], order_by: str) -> None:
        """Keep a view of the runs table in the experiment; ``view_link`` opens it.

        The table's columns are the browser's, not the store's; a shared view is the one way to
        hand over a readable choice of them. A page that doesn't know it shows its own columns.
        """
        state = {"selectedColumns": list(columns), "orderByKey": order_by, "orderByAsc": False}
        with self._calling() as client:
            client.set_experiment_tag(
                experiment_id, f"mlflow.sharedViewState.{VIEW_KEY}", json.dumps(state)
            )

    # Reading

    def find_runs(self, experiment_id: str, uid: str) -> dict[str, FoundRun]:
        """All runs of a study by trial key, the parent's under ``STUDY_RUN``.

        A run whose creation was answered too late may be there twice: the empty one is deleted.
        """
        return self._found(experiment_id, f"tags.study_id = '{uid}'")

    def find_run(self, experiment_id: str, uid: str, key: str) -> FoundRun | None:
        """One run of a study by its key, as ``find_runs``; None if there is none."""
        which = "tags.role = 'study'" if key == STUDY_RUN else f"tags.trial_id = '{key}'"
        return self._found(experiment_id, f"tags.study_id = '{uid}' and {which}").get(key)

    def _found(self, experiment_id: str, condition: str) -> dict[str, FoundRun]:
        found: dict[str, FoundRun] = {}
        with self._calling() as client:
            for run in _all_pages(client, experiment_id, condition):
                tags = run.data.tags
                key = STUDY_RUN if tags.get("role") == "study" else tags.get("trial_id")
                if key is None:
                    continue
                this = FoundRun(
                    run_id=run.info.run_id,
                    status=run.info.status,
                    started=run.info.start_time,
                    has_metrics=bool(run.data.metrics or run.data.params),
                )
                other = found.get(key)
                keep = this if other is None else fuller(this, other)
                if other is not None:
                    double = other if keep is this else this
                    if not double.has_metrics:
                        client.delete_run(double.run_id)
                found[key] = keep
        return found

    def find_experiment(self, name: str) -> str | None:
        """The id of an experiment; None if there is none of this name."""
        with self._calling() as client:
            found = client.get_experiment_by_name(name)
            return str(found.experiment_id) if found else None

    def studies(self) -> list[StoredStudy]:
        """All studies in the store, the newest first."""
        with self._calling() as client:
            studies = [
                stored_study(run)
                for experiment in client.search_experiments()
                for run in _all_pages(client, experiment.experiment_id, "tags.role = 'study'")
            ]
        return sorted(studies, key=lambda study: study.started, reverse=True)

    def metric_history(self, run_id: str, key: str) -> list[MetricPoint]:
        """Every stored value of a metric, by step."""
        with self._calling() as client:
            points = client.get_metric_history(run_id, key)
            return sorted(
                (MetricPoint(p.key, p.value, p.timestamp, p.step) for p in points),
                key=lambda point: point.step,
            )

    def run(self, run_id: str) -> Any:
        """MLflow's own ``Run``: ``info``, ``data.metrics``, ``data.params``, ``data.tags``."""
        with self._calling() as client:
            return client.get_run(run_id)


def _all_pages(client: Any, experiment_id: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
