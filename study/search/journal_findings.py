"""Optuna's journal held against the ledger, without a change to it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from study.records.findings import Finding
from study.records.ledger_view import TrialRecord
from study.search.journal import whole_entries
from study.search.outcome import judge_record
from study.search.searcher import WARM, trial_key


def journal_trials(name: str, journal: Path) -> list[FrozenTrial]:
    """Optuna's trials in their order; any exception of Optuna's where the journal is damaged."""
    with TemporaryDirectory(prefix="noise-study-") as folder:
        # Of a study that runs, or was killed, the last entry may be half there.
        copy = Path(folder) / journal.name
        copy.write_bytes(whole_entries(journal))
        storage = JournalStorage(JournalFileBackend(str(copy)))
        return optuna.load_study(study_name=name, storage=storage).get_trials()


def journal_findings(
    trials: Sequence[FrozenTrial],
    records: Mapping[str, TrialRecord],
    objectives: Sequence[str],
    *,
    over: bool,
) -> Iterator[Finding]:
    """What Optuna was told otherwise than the ledger has it.

    ``records``: the study's trials, read after the journal, which is told later; ``over``: there
    is nothing left to tell.
    """
    # Those of a warm start come first, and are none of the study's.
    own = [trial for trial in trials if WARM not in trial.user_attrs]
    warm = len(trials) - len(own)
    known = {trial_key(trial.number - warm): trial for trial in own}
    for key, record in records.items():
        trial = known.get(key)
        if trial is None:
            if over:
                yield Finding("missing", f"{key}: Optuna's journal has no such trial")
        elif record.state is None:
            if trial.state.is_finished():
                yield Finding("different", f"{key}: ended in Optuna's journal alone")
        elif not trial.state.is_finished():
            if over:
                yield Finding("missing", f"{key}: Optuna was not told that it has ended")
        else:
            wanted = judge_record(record, objectives)
            values = tuple(trial.values) if trial.values is not None else None
            if trial.state != wanted.state or (wanted.values and values != wanted.values):
                told = f"{trial.state.name} {values or ''}".strip()
                yield Finding("different", f"{key}: {record.state}, but Optuna was told {told}")
    for key, trial in known.items():
        # A trial that only fills a gap in the numbers has neither.
        if trial.state.is_finished() and key not in records and (trial.params or trial.user_attrs):
            yield Finding("different", f"{key}: Optuna's journal has it, and the ledger has not")
