"""``verify_study``: a study's records held against each other. Nothing is changed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.campaigns.confirm_plan import confirm_folder, stored_confirmation
from study.campaigns.confirmation import check_confirmed, is_of_other_code
from study.campaigns.own_code import for_searcher
from study.campaigns.session import check_records
from study.config import StudyConfig
from study.records.file_lock import is_held
from study.records.findings import Finding, checkpoint_findings, differing, ledger_findings
from study.records.folder import StudyFolder, open_study, storage_of
from study.records.folder_files import first_study_event
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import present
from study.records.planned_run import baseline_key
from study.records.storage import Storage, Where
from study.records.summary import Summary, summarise, winner_config
from study.search.space import check_stored_space
from study.search.warm_start import read_warm_start
from study.tracking.addresses import resolve_uri, sqlite_file
from study.tracking.offset import load
from study.tracking.run_findings import Mirror, StoredRun, stored_runs
from study.tracking.store import MlflowStore
from study.tracking.types import StoreRefusedError, StoreUnavailableError
from trainables.documents import read_document
from trainables.errors import InputError
from trainables.uris import redact_uri

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


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


def verify_study(storage: Where, name: str, tracking_uri: str | None = None) -> Verified:
    """Hold a study's ledger, checkpoints, journal, results and MLflow against each other.

    Args:
        storage: where the studies are.
        name: the study's name.
        tracking_uri: where MLflow is; None: where the study sends its records.
    """
    where = Storage.of(storage)
    folder = open_study(where, name)
    config = folder.stored_config()
    assert config is not None
    values = {"storage": where.given, "work_dir": where.work_dir}
    if tracking_uri:
        values["tracking_uri"] = tracking_uri
    config = config.model_copy(update=values)
    check_records(folder, config)
    found = Verified()
    try:
        check_stored_space(folder)
        if folder.warm_start.exists():
            read_warm_start(folder)
    except InputError as error:
        found.findings.append(Finding("damaged", str(error)))
    if config.warm_start and folder.journal.exists() and not folder.warm_start.exists():
        what = f"{folder.warm_start.name}: what the sampler was told of {config.warm_start}"
        found.findings.append(Finding("missing", what))
    _Folder(folder, config, found).verify_search()
    if stored_confirmation(folder) is not None:
        home = confirm_folder(folder)
        named = config.model_copy(update={"name": f"{config.name}-confirm"})
        _Folder(home, named, found, "confirm: ").verify_confirmation(folder, config)
    return found


@dataclass
class _Folder:
    """One ledger and what follows from it; ``before`` stands before each line about it.

    What follows from the ledger is read before it: of a study that runs, the ledger has more then.
    """

    folder: StudyFolder
    config: StudyConfig
    found: Verified
    before: str = ""

    def verify_search(self) -> None:
        held, runs, trials = is_held(self.folder.lock), self._runs(), self._journal()
        stored = [self._document(path) for path in (self.folder.summary, self.folder.best_config)]
        state = self._ledger(held=held)
        over = state.study is not None and state.study.state is not None and not held
        # A process that was killed before it said that it goes on has ended nothing.
        if state.study and state.study.config.get("code_changes", 0) != self.config.code_changes:
            over = False
        winner = state.trials.get(state.study.best or "") if state.study else None
        changes = self.config.code_changes
        needed = {winner.key, baseline_key(winner.seed, changes)} if winner else set()
        self._add(checkpoint_findings(self.folder, state, needed))
        if trials is not None:
            from study.search.journal_findings import journal_findings

            every = {record.key: record for record in state.by_role("trial")}
            records = for_searcher(self.config, every)
            self._add(journal_findings(trials, records, self.config.objective, over=over))
        if over:
            self._results(state, *stored)
        self._mirrored(runs, state, held=held)

    def verify_confirmation(self, search: StudyFolder, study: StudyConfig) -> None:
        confirm = stored_confirmation(search)
        assert confirm is not None
        if is_of_other_code(search, study, confirm):
            self._remark("of trials that another source was trained with, which are not ranked")
        else:
            try:
                check_confirmed(search, study, read_ledger(search.ledger), confirm)
            except InputError as error:
                self._add([Finding("different", str(error))])
        held, runs = is_held(self.folder.lock), self._runs()
        state = self._ledger(held=held)
        self._add(checkpoint_findings(self.folder, state, set()))
        self._mirrored(runs, state, held=held)

    def _add(self, findings: Iterable[Finding]) -> None:
        self.found.findings += [Finding(f.kind, f"{self.before}{f.what}") for f in findings]

    def _remark(self, text: str) -> None:
        self.found.remarks.append(f"{self.before}{text}")

    def _ledger(self, *, held: bool) -> LedgerState:
        state = read_ledger(self.folder.ledger)
        self._add(ledger_findings(self.folder.ledger, state))
        self.found.runs += len(state.trials)
        unfinished = sum(not record.finished for record in state.trials.values())
        ended = state.study.state if state.study else None
        if held:
            self._remark(f"is being run; {unfinished} runs are on their way")
        elif ended is None or ended != "complete":
            self._remark(f"{ended or 'interrupted'}; {unfinished} runs have not ended")
        return state

    def _journal(self) -> "list[FrozenTrial] | None":
        journal = self.folder.journal
        # A changed source has set the journal aside; it is made anew when the search goes on.
        trials = present(self.config, read_ledger(self.folder.ledger)).by_role("trial")
        if not journal.exists():
            if trials:
                self._add([Finding("missing", f"{journal.name}: Optuna's journal is not there")])
            return None
        from study.search.journal_findings import journal_trials

        try:
            return journal_trials(self.config.name, journal)
        except Exception as error:
            # A changed byte in it may surface as any exception of Optuna's.
            text = f"{journal.name}: {type(error).__name__}: {error}"
            if trials:
                self._add([Finding("damaged", text)])
            return None

    def _document(self, path: Path) -> Any:
        """What a file says; None where it is not there, or damaged, which is found here."""
        if not path.exists():
            return None
        try:
            return read_document(path)
        except InputError as error:
            self._add([Finding("damaged", str(error))])
            return None

    def _results(self, state: LedgerState, summary: Any, best: Any) -> None:
        """The results on the disk beside those that the ledger gives."""
        now = summarise(self.config, state)
        winner = winner_config(now, state)
        wanted = {
            self.folder.summary: (summary, now.model_dump(mode="json")),
            self.folder.best_config: (best, winner.model_dump(mode="json") if winner else None),
        }
        for path, (stored, computed) in wanted.items():
            if stored is None:
                if computed is not None and not path.exists():
                    self._add([Finding("missing", f"{path.name}: is not there")])
                continue
            for where in differing(stored, computed):
                text = f"{path.name}: {where or 'all of it'} is not what the ledger gives"
                self._add([Finding("different", text)])

    def _runs(self) -> "tuple[int, str | None, dict[str, list[StoredRun]]] | None":
        """How much has been sent to MLflow, the objective, and its runs; None where it has none."""
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
            self._remark(f"MLflow at {redact_uri(uri)} does not answer, not looked at: {error}")
            return None
        return sent, objective, runs

    def _mirrored(
        self,
        found: "tuple[int, str | None, dict[str, list[StoredRun]]] | None",
        state: LedgerState,
        *,
        held: bool,
    ) -> None:
        if found is None:
            return
        offset, objective, runs = found
        behind = max(0, self.folder.ledger.stat().st_size - offset)
        if behind and not held:
            self._remark(f"{behind} bytes of the ledger are not sent to MLflow yet: sync does it")
        sent = read_ledger(self.folder.ledger, offset)
        self._add(Mirror(runs, sent, state, objective, held).findings())
        self._add(self._run_id_findings(runs))

    def _run_id_findings(self, runs: "dict[str, list[StoredRun]]") -> Iterator[Finding]:
        """Runs that the summary names and MLflow has under another id."""
        summary = self._summary_ids()
        for key, run_id in summary.items():
            if key in runs and run_id not in {run.run_id for run in runs[key]}:
                yield Finding("different", f"{key}: summary.json names another run in MLflow")

    def _summary_ids(self) -> dict[str, str]:
        try:
            summary = Summary.model_validate_json(self.folder.summary.read_bytes())
        except (OSError, ValueError):
            return {}
        return {trial.trial_id: trial.run_id for trial in summary.trials if trial.run_id}
