"""Looking after studies on disk: what there is, and what may go."""

from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.table import Table

from study.campaigns.confirm_plan import stored_confirmation
from study.campaigns.confirmation import by_verdict, confirmation_of
from study.campaigns.experiment_grid import baselines, noisy_runs, stored_experiment
from study.campaigns.experiment_result import report
from study.campaigns.race import is_over
from study.config import StudyConfig
from study.formats import DASH, or_dash, signed
from study.records.folder import StudyFolder, find_records, open_study
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import present
from study.records.planned_run import baseline_key
from study.records.storage import Storage, Where
from study.records.summary import Summary
from trainables.errors import InputError
from trainables.frames import TitledList
from trainables.object_store import Location


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study or grid in a line, each word as ``noise-study list`` shows it.

    Attributes:
        state: complete, interrupted …; damaged where its records can't be read.
        run: what is trained.
        trials: ended / wanted.
        gain: paired difference of the best one to its baseline.
        confirmed: the verdict.
        began: the day.
    """

    name: str
    state: str
    run: str
    trials: str = ""
    best: str = ""
    gain: str = ""
    confirmed: str = ""
    began: str = ""


_ABOUT = "gain: paired difference to the baseline; confirmed: of the best one"


def list_studies(storage: Where = "studies") -> TitledList[ListedStudy]:
    """The studies and grids under a storage, by name."""
    lines = [_line(folder) for folder in find_records(Storage.of(storage))]
    title = f"{len(lines)} {'study or grid' if len(lines) == 1 else 'studies and grids'}"
    return TitledList(lines, title, asdict, [_ABOUT] if lines else [])


def studies_table(storage: Where) -> Table:
    """A line a study or grid: state, trials, best, what its confirmation says, when."""
    where = Storage.of(storage)
    title = f"studies in {where.folder if where.remote is None else where.shown}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # A name is there to be typed: where it is narrow, what is trained takes more lines.
    folded = {"run", "confirmed"}
    for column in (each.name for each in fields(ListedStudy)):
        table.add_column(
            column,
            no_wrap=column not in folded,
            overflow="fold",
            min_width=len("confirmed") if column == "confirmed" else None,
        )
    table.caption = _ABOUT
    for line in list_studies(where):
        table.add_row(*astuple(line))
    return table


def _line(folder: StudyFolder) -> ListedStudy:
    try:
        return _study_line(folder) if folder.config.exists() else _grid_line(folder)
    except InputError as error:
        return ListedStudy(folder.path.name, "damaged", str(error))


def _study_line(folder: StudyFolder) -> ListedStudy:
    config = folder.stored_config()
    assert config is not None
    state = present(config, read_ledger(folder.ledger))
    ended = sum(record.finished for record in state.by_role("trial"))
    summary = _summary(folder)
    trials = summary.trials if summary else []
    best = next((t for t in trials if summary and t.trial_id == summary.best), None)
    paired = best.paired_difference if best else None
    return ListedStudy(
        config.name,
        _state(state),
        config.train.task.name or f"{config.train.model.classifier}, {config.train.data.what}",
        f"{ended}/{config.wanted}",
        or_dash(best and best.trial_id),
        signed(paired if isinstance(paired, float) else None),
        _confirmed(folder, config, state, best.trial_id if best else ""),
        _began(state),
    )


def _grid_line(folder: StudyFolder) -> ListedStudy:
    config = stored_experiment(folder)
    assert config is not None
    state = read_ledger(folder.ledger)
    result = report(config, state)
    differences = {run.key: run.differences.get("difference") for run in result.runs}
    wanted = len(baselines(config)) + len(noisy_runs(config))
    return ListedStudy(
        config.name,
        _state(state),
        f"grid: {', '.join(config.classifiers)}, {config.train.data.what}",
        f"{sum(record.finished for record in state.trials.values())}/{wanted}",
        DASH,  # a run's key is long, and the grid's table has it
        signed(differences[result.best] if result.best else None),
        DASH,
        _began(state),
    )


def _confirmed(folder: StudyFolder, config: StudyConfig, state: LedgerState, best: str) -> str:
    """The verdict of the best trial; of others, where it was not confirmed, with their names."""
    try:
        found = confirmation_of(folder, config, state)
        verdicts = by_verdict(found) if found else {}
        if best in verdicts:
            return verdicts[best].word
        others = (f"{trial} {judged.word}" for trial, judged in verdicts.items())
        return ", ".join(others) or DASH
    except InputError as error:
        return f"damaged: {error}"


def _state(state: LedgerState) -> str:
    return (state.study.state or "not over") if state.study else "empty"


def _began(state: LedgerState) -> str:
    return _date(state.study.started) if state.study else DASH


def _date(started_ms: int) -> str:
    began = datetime.fromtimestamp(started_ms / 1000, tz=UTC).astimezone()
    return f"{began:%Y-%m-%d}"


def _summary(folder: StudyFolder) -> Summary | None:
    try:
        return Summary.model_validate_json(folder.summary.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def clean_study(storage: Where, name: str) -> str:
    """Remove the checkpoints that nothing needs any more; returns a sentence about it.

    A finished trial needs none, but the final weights of the best one and of its baseline are
    kept: they are registered, and compared by class. What an unfinished study would go on from,
    its trials' and the baselines', stays.
    """
    folder = open_study(storage, name)
    with folder.locked():
        state = read_ledger(folder.ledger)
        config = folder.stored_config()
        over = state.study is not None and state.study.state == "complete"
        over = over and (config is None or is_over(config, present(config, state)))
        keep = _needed(folder, config, state, over=over)
        found = [path for path in folder.checkpoints.glob("*/*") if not path.is_dir()]
        removed = [path for path in found if path not in keep]
        size = sum(path.stat().st_size for path in removed)
        for path in removed:
            path.unlink()
        for empty in folder.checkpoints.glob("*"):
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
    return f"{name}: removed {len(removed)} checkpoints, {size / 1e6:.1f} MB; kept {len(keep)}" + (
        "" if over else " (the study is not finished)"
    )


def _needed(
    folder: StudyFolder, config: StudyConfig | None, state: LedgerState, *, over: bool
) -> set[Location]:
    needed: set[Location] = set()
    best = state.study.best if state.study else None
    changes = config.code_changes if config else 0
    winner = state.trials.get(best or "")
    pair = {best} if winner is None else {best, baseline_key(winner.seed, changes)}
    # Which of them is registered, its confirmation decides.
    confirmed = stored_confirmation(folder)
    pair |= set(confirmed.trials) if confirmed else set()
    for path in folder.checkpoints.glob("*/*"):
        record = state.trials.get(path.parent.name)
        finished = record is not None and record.finished
        if path.parent.name in pair or (not over and not finished):
            needed.add(path)
    return needed
