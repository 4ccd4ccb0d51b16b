"""Runs in MLflow, written and read.

MLflow is imported by the first call that needs it, not with this module: that takes seconds, and
whoever only wants a name from here shouldn't pay for it. A call either succeeds or raises one of
two errors: ``StoreUnavailableError`` (try again later) or ``StoreRefusedError`` (never will).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from study.tracking.addresses import VIEW_KEY
from study.tracking.batches import MAX_PARAMETER, calls, cut, cut_tags, dataset_input
from study.tracking.connection import Connection
from study.tracking.types import PLACE_TAG, STUDY_RUN, FoundRun, MetricPoint, RunStatus
from trainables.uris import redact_uri

_KIND = ("mlflow.experimentKind", "custom_model_development")
"""MLflow's pages open with the runs of a training, not with traces of a language model's."""


class MlflowStore:
    """Runs of studies in one MLflow store; nothing is contacted before the first call."""

    def __init__(self, uri: str, root: str | None = None) -> None:
        """``uri`` is absolute (``resolve_uri``).

        ``root``: where experiments keep their artifacts; None: the store's own default.
        """
        self.connection = Connection(uri)
        self._root = root

    def __repr__(self) -> str:
        return f"MlflowStore({redact_uri(self.uri)!r})"

    @property
    def uri(self) -> str:
        """The tracking URI, with its secrets."""
        return self.connection.uri

    def experiment(self, name: str) -> str:
        """The id of an experiment, which is made, or restored, if need be."""
        with self.connection.calling() as client:
            found = client.get_experiment_by_name(name)
            if found is None:
                return str(
                    client.create_experiment(
                        name, artifact_location=self._location(name), tags=dict([_KIND])
                    )
                )
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            if _KIND[0] not in found.tags:
                client.set_experiment_tag(found.experiment_id, *_KIND)
            return str(found.experiment_id)

    def known_experiment(self, name: str) -> str | None:
        """The id of an experiment; None if there is none of this name."""
        with self.connection.calling() as client:
            found = client.get_experiment_by_name(name)
            return None if found is None else str(found.experiment_id)

    def _location(self, name: str) -> str | None:
        return None if self._root is None else f"{self._root}/{quote(name, safe='')}"

    def create_run(
        self, experiment_id: str, name: str, tags: Mapping[str, str], started: int
    ) -> str:
        """Make a run, RUNNING since ``started`` (ms); its id.

        After a ``StoreUnavailableError`` the run may exist all the same: ``find_runs`` tells.
        """
        with self.connection.calling() as client:
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
        with self.connection.calling() as client:
            from mlflow.entities import Metric, Param, RunTag

            points = [Metric(*point) for point in metrics]
            texts = [Param(k, cut(v, MAX_PARAMETER)) for k, v in (params or {}).items()]
            marks = [RunTag(k, v) for k, v in cut_tags(tags or {}).items()]
            for points_, texts_, marks_ in calls(points, texts, marks):
                client.log_batch(run_id, metrics=points_, params=texts_, tags=marks_)

    def log_text(self, run_id: str, text: str, file: str) -> None:
        with self.connection.calling() as client:
            client.log_text(run_id, text, file)

    def log_file(self, run_id: str, path: Path, folder: str = "") -> None:
        with self.connection.calling() as client:
            client.log_artifact(run_id, str(path), folder or None)

    def files(self, run_id: str) -> list[str]:
        """The files at the top of a run's artifacts."""
        with self.connection.calling() as client:
            return [found.path for found in client.list_artifacts(run_id) if not found.is_dir]

    def log_dataset(self, run_id: str, name: str, source: Mapping[str, Any]) -> None:
        """Say which data set a run used, in MLflow's own form."""
        with self.connection.calling() as client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            text, digest = dataset_input(source)
            dataset = Dataset(name=name, digest=digest, source_type="code", source=text)
            use = InputTag("mlflow.data.context", "train")
            client.log_inputs(run_id, datasets=[DatasetInput(dataset, [use])])

    def set_status(self, run_id: str, status: RunStatus, ended: int | None = None) -> None:
        """End a run (``ended`` in ms), or let it run again."""
        with self.connection.calling() as client:
            if status == "RUNNING":
                client.update_run(run_id, status)
            else:
                client.set_terminated(run_id, status, ended)

    def delete_run(self, run_id: str) -> None:
        """Delete a run; MLflow keeps it for a while among what was deleted."""
        with self.connection.calling() as client:
            client.delete_run(run_id)

    def share_view(self, experiment_id: str, state: Mapping[str, Any]) -> None:
        """Keep a view of the runs table in the experiment; ``view_link`` opens it."""
        with self.connection.calling() as client:
            client.set_experiment_tag(
                experiment_id, f"mlflow.sharedViewState.{VIEW_KEY}", json.dumps(state)
            )

    def find_runs(self, experiment_id: str, uid: str) -> dict[str, FoundRun]:
        """All runs of a study by trial key, the parent's under ``STUDY_RUN``.

        A run whose creation was answered too late may be there twice: the empty one is deleted.
        """
        return self._found(experiment_id, f"tags.study_id = '{uid}'")

    def runs_of(self, experiment_id: str, uid: str) -> list[tuple[str, Any]]:
        """MLflow's own runs of a study with their keys; a key may be there twice."""
        with self.connection.calling() as client:
            return list(_by_key(_all_pages(client, experiment_id, f"tags.study_id = '{uid}'")))

    def running_studies(self, experiment_id: str, place: str) -> set[str]:
        """The identities of the studies recorded in a place whose run is RUNNING."""
        which = f"tags.{PLACE_TAG} = '{place}' and attributes.status = 'RUNNING'"
        with self.connection.calling() as client:
            runs = _all_pages(client, experiment_id, which)
            return {run.data.tags["study_id"] for run in runs}

    def find_run(self, experiment_id: str, uid: str, key: str) -> FoundRun | None:
        """One run of a study by its key, as ``find_runs``; None if there is none."""
        which = "tags.role = 'study'" if key == STUDY_RUN else f"tags.trial_id = '{key}'"
        return self._found(experiment_id, f"tags.study_id = '{uid}' and {which}").get(key)

    def _found(self, experiment_id: str, condition: str) -> dict[str, FoundRun]:
        found: dict[str, FoundRun] = {}
        with self.connection.calling() as client:
            for key, run in _by_key(_all_pages(client, experiment_id, condition)):
                this = FoundRun(
                    run_id=run.info.run_id,
                    status=run.info.status,
                    started=run.info.start_time,
                    has_metrics=bool(run.data.metrics or run.data.params),
                )
                if key in found:
                    # The fuller one is kept, of two equal ones the older.
                    pair = [this, found[key]]
                    this, double = sorted(pair, key=lambda run: (not run.has_metrics, run.started))
                    if not double.has_metrics:
                        client.delete_run(double.run_id)
                found[key] = this
        return found

    def has_runs(self, name: str) -> bool:
        """Whether there is a study's own run in the experiment of this name."""
        experiment = self.find_experiment(name)
        if experiment is None:
            return False
        with self.connection.calling() as client:
            return bool(client.search_runs([experiment], "tags.role = 'study'", max_results=1))

    def find_experiment(self, name: str) -> str | None:
        with self.connection.calling() as client:
            found = client.get_experiment_by_name(name)
            return str(found.experiment_id) if found else None

    def metric_history(self, run_id: str, key: str) -> list[MetricPoint]:
        """Every stored value of a metric, by step."""
        with self.connection.calling() as client:
            points = client.get_metric_history(run_id, key)
            return sorted(
                (MetricPoint(p.key, p.value, p.timestamp, p.step) for p in points),
                key=lambda point: point.step,
            )

    def run(self, run_id: str) -> Any:
        """MLflow's own ``Run``: ``info``, ``data.metrics``, ``data.params``, ``data.tags``."""
        with self.connection.calling() as client:
            return client.get_run(run_id)


def _by_key(runs: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    for run in runs:
        tags = run.data.tags
        key = STUDY_RUN if tags.get("role") == "study" else tags.get("trial_id")
        if key is not None:
            yield key, run


def _all_pages(client: Any, experiment_id: str, condition: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_runs([experiment_id], condition, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
