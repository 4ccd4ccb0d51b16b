"""MLflow's runs of one study: each is made once, though the answer to its making may be lost."""

import hashlib
import logging
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from study.records.events import StartEvent, now_ms
from study.records.planned_run import seeded_key
from study.tracking.reader import INTERRUPTED, Reader
from study.tracking.runs_view import ORDER_TAG, first_order
from study.tracking.store import MlflowStore
from study.tracking.types import PLACE_TAG, STUDY_RUN, RunStatus

log = logging.getLogger(__name__)


def place_of(folder: Path) -> str:
    """A folder on this machine, in a word: somebody else's study may have the same name."""
    where = f"{socket.gethostname()}:{folder.resolve()}"
    return hashlib.sha256(where.encode(errors="surrogateescape")).hexdigest()[:16]


class MlflowRuns:
    """The runs by trial key, the parent's under ``STUDY_RUN``; this process ``made`` some."""

    def __init__(self, store: MlflowStore, place: str = "") -> None:
        """``place``: which folder the study is recorded in (``place_of``)."""
        self.store = store
        self.place = place
        self.experiment = ""
        self.ids: dict[str, str] = {}
        self.made: set[str] = set()
        self._status: dict[str, str] = {}
        # Keys under which there may be a run that is not known here; None: any key.
        self._unsure: set[str] | None = None
        self._answer_lost = False

    @property
    def of_trials(self) -> dict[str, str]:
        """The ids without the parent's; another thread may ask."""
        return {key: run for key, run in list(self.ids.items()) if key != STUDY_RUN}

    def begin(self, experiment: str, ids: Mapping[str, str]) -> None:
        """Go on with what an earlier process knew, which may have made one more run."""
        self.experiment, self.ids, self._status = experiment, dict(ids), {}
        self._unsure = None

    def close_earlier(self, uid: str) -> None:
        """Mark runs of an earlier study in the same place as interrupted, if they still run.

        Only one process can be there, and it is this one: the earlier records were removed.
        """
        for other in self.store.running_studies(self.experiment, self.place) - {uid}:
            for run in self.store.find_runs(self.experiment, other).values():
                if run.status == "RUNNING":
                    self.store.log(run.run_id, tags=INTERRUPTED)
                    self.store.set_status(run.run_id, "KILLED", now_ms())

    def find_all(self, uid: str) -> None:
        """Ask the store which runs of the study there are."""
        found = self.store.find_runs(self.experiment, uid)
        self.ids = {key: run.run_id for key, run in found.items()}
        self._status = {key: run.status for key, run in found.items()}
        self._unsure = set()

    def all_known(self) -> None:
        """From here on, runs are made by this process alone."""
        self._unsure = set()

    def id_of(self, key: str, reader: Reader) -> str:
        """A run's id. The run is looked for if it may be there already, and made if it is not."""
        if key in self.ids:
            return self.ids[key]
        assert reader.study is not None
        if self._unsure is None or key in self._unsure:
            found = self.store.find_run(self.experiment, reader.study.uid, key)
            if found is not None:
                self.ids[key], self._status[key] = found.run_id, found.status
                return found.run_id
        run_id = self._create(key, reader)
        self.made.add(key)
        self.ids[key], self._status[key] = run_id, "RUNNING"
        return run_id

    def is_running(self, key: str) -> bool:
        return self._status.get(key) == "RUNNING"

    def set_status(self, key: str, status: RunStatus, ended: int | None = None) -> None:
        """End a run (``ended`` in ms), or let it run again, unless MLflow is known to say so."""
        if self._status.get(key) != status:
            self.store.set_status(self.ids[key], status, ended)
            self._status[key] = status

    def close_interrupted(self) -> None:
        """Mark what runs in MLflow, though its study's process is gone, as interrupted."""
        for key in [key for key in self._status if self.is_running(key)]:
            self.store.log(self.ids[key], tags=INTERRUPTED)
            self.set_status(key, "KILLED", now_ms())

    def remove_doubles(self, uid: str) -> None:
        """A making whose answer was lost may have made a second run after all."""
        if self._answer_lost:
            self.find_all(uid)
            self._answer_lost = False

    def delete(self, key: str) -> None:
        """Delete a run, as MLflow does it: it can be restored there. The next one is made anew."""
        self.store.delete_run(self.ids.pop(key))
        self._status.pop(key, None)
        self.made.discard(key)

    def remove_unknown(self, keys: Collection[str]) -> None:
        """Delete runs of whose beginning the finished study's ledger knows nothing any more."""
        for key in self.ids.keys() - {STUDY_RUN, *keys}:
            log.warning("%s: MLflow has a run that the ledger has lost; it is deleted there", key)
            self.delete(key)

    def _create(self, key: str, reader: Reader) -> str:
        study = reader.study
        assert study is not None
        tags = {"study": study.name, "study_id": study.uid, "status": "running"}
        if key == STUDY_RUN:
            name, started = study.name, study.time
            tags |= {"role": "study", PLACE_TAG: self.place, ORDER_TAG: first_order("study")}
        else:
            start = reader.runs[key].start
            name, started = start.key, start.time
            tags |= {
                "role": start.role,
                "trial_id": start.key,
                "seed": str(start.seed),
                ORDER_TAG: first_order(start.role),
                "mlflow.parentRunId": self.above(start),
            }
        try:
            return self.store.create_run(self.experiment, name, tags, started)
        except Exception:
            # The store may have made it all the same, and only its answer was lost.
            self._answer_lost = True
            if self._unsure is not None:
                self._unsure.add(key)
            raise

    def above(self, start: StartEvent) -> str:
        """The id of the run that another stands under: the runs of a race under their trial."""
        trial = start.key.removesuffix(seeded_key("", start.seed))
        return self.ids[trial if start.role == "race" and trial in self.ids else STUDY_RUN]
