"""``verify_study``: a study's records held against each other. Nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.campaigns.confirm_plan import ConfirmConfig, confirm_folder, stored_confirmation
from study.campaigns.confirmation import check_confirmed, is_of_other_code
from study.campaigns.experiment_grid import AXES, ExperimentConfig, stored_experiment
from study.campaigns.experiment_result import ExperimentResult, report, result_files
from study.campaigns.own_code import for_searcher
from study.campaigns.session import check_records
from study.campaigns.verified import Records, Verified
from study.config import StudyConfig
from study.records.assumed import assumed_by, told
from study.records.file_lock import is_held
from study.records.findings import Finding, checkpoint_findings
from study.records.folder import StudyFolder, open_records
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import present
from study.records.planned_run import baseline_key
from study.records.storage import Storage, Where
from study.records.summary import Summary, summarise, winner_config
from study.search.space import check_stored_space
from study.search.warm_start import read_warm_start
from trainables.config import TrainConfig
from trainables.errors import InputError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def verify_study(storage: Where, name: str, tracking_uri: str | None = None) -> Verified:
    """Hold a study's ledger, checkpoints, journal, results and MLflow against each other.

    A grid has no journal; its results are its tables.

    Args:
        storage: where the studies are.
        name: the study's, or the grid's, name.
        tracking_uri: where MLflow is; None: where the study sends its records.
    """
    where = Storage.of(storage)
    folder = open_records(where, name)
    values = {"storage": where.given, "work_dir": where.work_dir}
    if tracking_uri:
        values["tracking_uri"] = tracking_uri
    found = Verified()
    grid = stored_experiment(folder)
    if grid is not None and not folder.config.exists():
        grid = grid.model_copy(update=values)
        check_records(folder, grid)
        _Grid(folder, grid, found).verify()
        return found
    config = folder.stored_config()
    assert config is not None
    config = config.model_copy(update=values)
    check_records(folder, config)
    _check_given(folder, config, found)
    _Search(folder, config, found).verify()
    try:
        confirm = stored_confirmation(folder)
    except InputError as error:
        found.findings.append(Finding("damaged", str(error)))
        return found
    if confirm is not None:
        home = confirm_folder(folder)
        named = config.model_copy(update={"name": f"{config.name}-confirm"})
        _Confirmation(home, named, found, "confirm: ").verify(folder, config, confirm)
    return found


def _check_given(folder: StudyFolder, config: StudyConfig, found: Verified) -> None:
    """What a search was begun with: its space, and what another study gave its sampler."""
    try:
        check_stored_space(folder)
        if folder.warm_start.exists():
            read_warm_start(folder)
    except InputError as error:
        found.findings.append(Finding("damaged", str(error)))
    if config.warm_start and folder.journal.exists() and not folder.warm_start.exists():
        what = f"{folder.warm_start.name}: what the sampler was told of {config.warm_start}"
        found.findings.append(Finding("missing", what))


@dataclass
class _Search(Records[StudyConfig]):
    def verify(self) -> None:
        held, runs, trials = is_held(self.folder.lock), self.runs(), self._journal()
        stored = [self.document(path) for path in (self.folder.summary, self.folder.best_config)]
        state = self.ledger(held=held)
        over = state.study is not None and state.study.state is not None and not held
        # A process that was killed before it said that it goes on has ended nothing.
        if state.study and state.study.config.get("code_changes", 0) != self.config.code_changes:
            over = False
        winner = state.trials.get(state.study.best or "") if state.study else None
        changes = self.config.code_changes
        needed = {winner.key, baseline_key(winner.seed, changes)} if winner else set()
        self.add(checkpoint_findings(self.folder, state, needed))
        if trials is not None:
            from study.search.journal_findings import journal_findings

            every = {record.key: record for record in state.by_role("trial")}
            records = for_searcher(self.config, every)
            self.add(journal_findings(trials, records, self.config.objective, over=over))
        if over:
            self._results(state, *stored)
        self.mirrored(runs, state, _summary_ids(self.folder.summary), held=held)

    def _journal(self) -> "list[FrozenTrial] | None":
        journal = self.folder.journal
        # A changed source has set the journal aside; it is made anew when the search goes on.
        trials = present(self.config, read_ledger(self.folder.ledger)).by_role("trial")
        if not journal.exists():
            if trials:
                self.add([Finding("missing", f"{journal.name}: Optuna's journal is not there")])
            return None
        from study.search.journal_findings import journal_trials

        try:
            return journal_trials(self.config.name, journal)
        except Exception as error:
            # A changed byte in it may surface as any exception of Optuna's.
            text = f"{journal.name}: {type(error).__name__}: {error}"
            if trials:
                self.add([Finding("damaged", text)])
            return None

    def _results(self, state: LedgerState, summary: Any, best: Any) -> None:
        now = summarise(self.config, state)
        winner = winner_config(now, state)
        self.compare(self.folder.summary, summary, now.model_dump(mode="json"))
        wanted = winner.model_dump(mode="json") if winner else None
        self.compare(self.folder.best_config, best, wanted)
        self._assumed(winner, state)

    def _assumed(self, winner: TrainConfig | None, state: LedgerState) -> None:
        """What the ledger does not tell is taken as it stands; earlier versions wrote no file."""
        stored = self.document(self.folder.assumed)
        if stored is None or winner is None:
            return
        known = told(self.folder, self.config, winner)
        now = assumed_by(winner, self.config, state, known)
        self.compare(self.folder.assumed, stored, now.model_dump(mode="json") if now else None)


@dataclass
class _Confirmation(Records[StudyConfig]):
    def verify(self, search: StudyFolder, study: StudyConfig, confirm: ConfirmConfig) -> None:
        if is_of_other_code(search, study, confirm):
            self.remark("of trials that another source was trained with, which are not ranked")
        else:
            try:
                check_confirmed(search, study, read_ledger(search.ledger), confirm)
            except InputError as error:
                self.add([Finding("different", str(error))])
        held, runs = is_held(self.folder.lock), self.runs()
        state = self.ledger(held=held)
        self.add(checkpoint_findings(self.folder, state, set()))
        self.mirrored(runs, state, _summary_ids(self.folder.summary), held=held)


@dataclass
class _Grid(Records[ExperimentConfig]):
    def verify(self) -> None:
        held, runs = is_held(self.folder.lock), self.runs()
        markdown, table, values = result_files(self.folder)
        stored = self.document(values)
        state = self.ledger(held=held)
        self.add(checkpoint_findings(self.folder, state, set()))
        # A process that was killed before it said that the grid has grown has ended nothing.
        begun = state.study is not None and _axes(state.study.config) == _axes(
            self.config.model_dump(mode="json")
        )
        if begun and state.study is not None and state.study.state is not None and not held:
            self.compare(values, stored, report(self.config, state).model_dump(mode="json"))
            for path in (markdown, table):
                self.compare(path, None, path.name)
        self.mirrored(runs, state, _grid_ids(values), held=held)


def _axes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {axis: values.get(axis) for axis in AXES}


def _summary_ids(path: Path) -> dict[str, str]:
    """MLflow's run ids that a summary names, by key; none where it is damaged."""
    try:
        summary = Summary.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {trial.trial_id: trial.run_id for trial in summary.trials if trial.run_id}


def _grid_ids(path: Path) -> dict[str, str]:
    """The same of a grid's result."""
    try:
        result = ExperimentResult.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {run.key: run.run_id for run in result.runs if run.run_id}
