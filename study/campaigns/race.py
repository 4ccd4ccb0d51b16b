"""The race of a study: one phase, in which a run is known only when others have ended."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from study.campaigns.confirm_runs import first_noise
from study.campaigns.phase import Phase
from study.campaigns.session import Session
from study.config import StudyConfig
from study.records.ledger_view import LedgerState, LedgerView, TrialRecord, complete_baseline
from study.records.own_code import present
from study.records.planned_run import PlannedRun, baseline_key
from study.records.race import planned_runs, race_of
from study.statistics.race import Race, rungs, trainings
from trainables.config import TrainConfig

_FRONT = 4


def most_runs(config: StudyConfig) -> tuple[int, int]:
    """The most runs that a study's race may take, and the most baselines."""
    return trainings(rungs(config.wanted, config.most_race_seeds)), config.most_race_seeds - 1


def share_of_search(config: StudyConfig, state: LedgerState) -> float:
    """The share of the time left that is the search's, by the number of trainings still to come.

    How many will race is not known before the search is over; with two objectives it is a front,
    which is taken to be small.
    """
    ended = sum(record.finished for record in state.by_role("trial"))
    field = min(config.wanted, _FRONT) if config.multi_objective else config.wanted
    race = trainings(rungs(field, config.most_race_seeds)) + config.most_race_seeds - 1
    done = sum(r.finished for r in state.by_role("race"))
    trials, raced = max(0, config.wanted - ended), max(0, race - done)
    return trials / (trials + raced) if trials + raced else 1.0


def is_over(config: StudyConfig, state: LedgerState) -> bool:
    race = race_of(config, state)
    return race is None or race.complete


def race_phase(
    config: StudyConfig, session: Session, policy: str, time_left: Callable[[], float | None]
) -> Phase | None:
    """The whole race as one phase; None if nothing is missing.

    Its baselines come first, and a run starts when its own is complete. So the workers start once.
    """
    from study.tune.jobs import GrowingSearcher

    state = session.state()
    race = race_of(config, state)
    if race is None or race.complete:
        return None
    waiting = _Waiting(config, session, policy)
    trials = [TrainConfig.model_validate(state.trials[name].config) for name in race.field]
    return Phase(
        searcher=GrowingSearcher(waiting.startable, waiting.baseline_rows),
        samples=trainings(race.stages) + config.most_race_seeds - 1,
        spec={
            "fork_first": first_noise(trials),
            "fork_disk_bytes": int(config.fork_disk_mb * 1e6 / (config.most_race_seeds - 1)),
        },
        time_left=time_left,
    )


class _Waiting:
    """What can be started by what the ledger says; it is read on while it grows."""

    def __init__(self, config: StudyConfig, session: Session, policy: str) -> None:
        self._config = config
        self._policy = policy
        self._view = LedgerView(session.folder.ledger)
        self._state = self._read_on()
        self._known = {record.key for record in self._complete_baselines()}
        self._read = -1
        self._runs: list[PlannedRun] = []

    def startable(self) -> Sequence[PlannedRun]:
        self._state = self._read_on()
        if self._state.offset != self._read:
            self._read = self._state.offset
            ready = {record.seed for record in self._complete_baselines()}
            planned = planned_runs(self._config, self._state, self._policy)
            self._runs = [run for run in planned if run.role == "baseline" or run.seed in ready]
        return self._runs

    def baseline_rows(self, run: PlannedRun) -> Sequence[Mapping[str, Any]]:
        """Those that the workers were not told when they began."""
        key = baseline_key(run.seed, self._config.code_changes)
        if run.role == "baseline" or key in self._known:
            return ()
        return [row.to_dict() for row in self._state.trials[key].history]

    def _read_on(self) -> LedgerState:
        return present(self._config, self._view.refresh())

    def _complete_baselines(self) -> list[TrialRecord]:
        return [r for r in self._state.by_role("baseline") if complete_baseline(r)]


def race_note(race: Race | None, trials: int) -> str:
    """What the reader must know of a race that could not be run; ``trials`` have ended."""
    if race is None or race.field or not trials:
        return ""
    return "no race was run: no complete trial has noise that began"
