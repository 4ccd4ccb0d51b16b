"""What verifying any folder of runs shares: its ledger, its results on the disk, MLflow."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from study.config import RunsConfig
from study.records.findings import Finding, differing, ledger_findings
from study.records.folder import StudyFolder, storage_of
from study.records.folder_files import first_study_event
from study.records.ledger_view import LedgerState, read_ledger
from study.tracking.addresses import resolve_uri, sqlite_file
from study.tracking.offset import load
from study.tracking.run_findings import Mirror, StoredRun, stored_runs
from study.tracking.store import MlflowStore
from study.tracking.types import StoreRefusedError, StoreUnavailableError
from trainables.documents import read_document
from trainables.errors import InputError
from trainables.uris import redact_uri

Config = TypeVar("Config", bound=RunsConfig)

Sent = tuple[int, str | None, dict[str, list[StoredRun]]]
"""How much has been sent to MLflow, the objective, and its runs."""


@dataclass
class Verified:
    """What was found.

    Attributes:
        findings: what is missing, doubled, different or damaged.
        remarks: what is no fault: the study runs, or something is not sent yet.
        runs: how many runs were looked at.
    """

    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    runs: int = 0

    def sentence(self) -> str:
        if not self.findings:
            return f"whole: {self.runs} runs, nothing missing, doubled or different"
        counts = Counter(finding.kind for finding in self.findings)
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        return f"not whole: {self.runs} runs; {told}"


@dataclass
class Records(Generic[Config]):
    """One ledger and what follows from it; ``before`` stands before each line about it.

    What follows from the ledger is read before it: of a study that runs, the ledger has more then.
    """

    folder: StudyFolder
    config: Config
    found: Verified
    before: str = ""

    def add(self, findings: Iterable[Finding]) -> None:
        self.found.findings += [Finding(f.kind, f"{self.before}{f.what}") for f in findings]

    def remark(self, text: str) -> None:
        self.found.remarks.append(f"{self.before}{text}")

    def ledger(self, *, held: bool) -> LedgerState:
        state = read_ledger(self.folder.ledger)
        self.add(ledger_findings(self.folder.ledger, state))
        self.found.runs += len(state.trials)
        unfinished = sum(not record.finished for record in state.trials.values())
        ended = state.study.state if state.study else None
        if held:
            self.remark(f"is being run; {unfinished} runs are on their way")
        elif ended is None or ended != "complete":
            self.remark(f"{ended or 'interrupted'}; {unfinished} runs have not ended")
        return state

    def document(self, path: Path) -> Any:
        """What a file says; None where it is not there, or damaged, which is found here."""
        if not path.exists():
            return None
        try:
            return read_document(path)
        except InputError as error:
            self.add([Finding("damaged", str(error))])
            return None

    def compare(self, path: Path, stored: Any, computed: Any) -> None:
        """A result on the disk beside the one that the ledger gives."""
        if stored is None:
            if computed is not None and not path.exists():
                self.add([Finding("missing", f"{path.name}: is not there")])
            return
        for where in differing(stored, computed):
            text = f"{path.name}: {where or 'all of it'} is not what the ledger gives"
            self.add([Finding("different", text)])

    def runs(self) -> Sent | None:
        """What MLflow has; None where there is nothing to ask it for, or it does not answer."""
        first = first_study_event(self.folder.ledger)
        if first is None:
            return None
        storage = storage_of(self.config).folder
        uri = resolve_uri(self.config.tracking_uri, storage)
        saved = load(self.folder.mlflow_offset, redact_uri(uri))
        sent = saved.offset if saved is not None and saved.uid == first.uid else 0
        store, file = MlflowStore(uri), sqlite_file(uri)
        objective = first.objectives[0] if first.objectives else None
        try:
            experiment = None
            if file is None or file.exists():
                experiment = store.find_experiment(first.name)
            runs = {} if experiment is None else stored_runs(store, experiment, first.uid)
        except (StoreUnavailableError, StoreRefusedError) as error:
            self.remark(f"MLflow at {redact_uri(uri)} does not answer, not looked at: {error}")
            return None
        return sent, objective, runs

    def mirrored(
        self, stored: Sent | None, state: LedgerState, named: Mapping[str, str], *, held: bool
    ) -> None:
        """MLflow's runs beside the ledger, and beside the ids that the results name."""
        if stored is None:
            return
        offset, objective, runs = stored
        behind = max(0, self.folder.ledger.stat().st_size - offset)
        if behind and not held:
            self.remark(f"{behind} bytes of the ledger are not sent to MLflow yet: sync does it")
        sent = read_ledger(self.folder.ledger, offset)
        self.add(Mirror(runs, sent, state, objective, held).findings())
        for key, run_id in named.items():
            if key in runs and run_id not in {run.run_id for run in runs[key]}:
                self.add([Finding("different", f"{key}: the results name another run in MLflow")])
