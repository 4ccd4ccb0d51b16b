"""The searcher: Optuna for Tune, on a journal that survives crashes.

Tune's own OptunaSearch tells Optuna that a trial which was stopped early is complete. It leaves a
diverged one running for ever, and can't go on with a study. This one hands out our own trial keys,
tells each trial's state for what it is, and goes on from the journal and the study's ledger.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
)
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher

from search_spaces.conditions import Conditions, build_point, from_overrides, to_overrides
from study.records.ledger_view import TrialRecord
from study.search.journal import BatchingJournal
from study.search.optuna_parts import storage_id
from study.search.optuna_study import open_study, suggest
from study.search.outcome import (
    TEACHES_NOTHING,
    WITHOUT_VALUE,
    Outcome,
    judge_failure,
    judge_record,
    judge_result,
)
from study.search.samplers import check_sampler, make_sampler
from study.tune.jobs import StatelessSearcher, tune_config
from trainables.metrics import Mode, modes_of, objective_value

CONFIG_INDEX = "config_index"
"""User attribute of a trial that runs a given configuration: its index in the list."""

WARM = "warm_start"
"""User attribute of a trial that another study had: which one. It is none of this study's."""

PassOver = Callable[[str, Mapping[str, Any]], bool]

WarmTrial = tuple[str, Mapping[str, Any], Sequence[float]]
"""Where a trial of another study comes from, its point, and its values by objective."""

_KEY_PREFIX = "trial-"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def trial_key(number: int) -> str:
    """Our stable name of a study's trial ``number``."""
    return f"{_KEY_PREFIX}{number:04d}"


class StudySearcher(StatelessSearcher):
    """Asks Optuna what to try, or hands out given configurations, and tells it what came out.

    Optuna learns of a trial's end the next time Tune calls, after the ledger has recorded it. So a
    crash in between leaves a trial that is over in the ledger alone, never in the journal alone.
    """

    def __init__(
        self,
        name: str,
        journal: str | Path,
        distributions: Mapping[str, BaseDistribution],
        *,
        objectives: Sequence[str] | Mapping[str, Mode],
        epochs: int,
        sampler: str = "tpe",
        seed: int = 0,
        conditions: Conditions | None = None,
        opening: Sequence[Mapping[str, Any]] = (),
        given: Sequence[Mapping[str, Any]] | None = None,
        records: Mapping[str, TrialRecord] | None = None,
        stopped: Collection[str] = (),
        warm: Sequence[WarmTrial] = (),
        pass_over: PassOver = lambda key, overrides: False,
    ) -> None:
        """Open the journal, which is repaired and under the study's lock, and take stock.

        Args:
            journal: path of Optuna's journal; it is made if it does not exist.
            distributions: the search space, keyed by dimension; ignored with ``given``.
            objectives: one or two; with their modes where they are not ``OBJECTIVES``.
            sampler: one of ``SAMPLERS``.
            seed: the sampler's.
            conditions: where the space's dimensions are there; None: everywhere.
            opening: points of the space that the first trials have, by their numbers.
            given: overrides of the trials to run instead of a search.
            records: what the ledger says of the study's trials, by key.
            stopped: keys of trials that a person ends; it may grow.
            warm: trials of another study, which stand before the study's own in the journal.
            pass_over: whether a trial, by key and overrides, can't be trained and is recorded so.
        """
        check_sampler(sampler, len(objectives))
        super().__init__(list(objectives), modes_of(objectives))
        self._backend = BatchingJournal(journal)
        self._storage = JournalStorage(self._backend)
        self._study = open_study(name, self._storage, modes_of(objectives))
        self._space = dict(distributions)
        self._conditions, self._opening = conditions or {}, tuple(opening)
        self._given = None if given is None else tuple(given)
        self._objectives, self._epochs = tuple(objectives), epochs
        self._records = dict(records or {})
        self._stopped, self._pass_over = stopped, pass_over
        self._number_of: dict[str, int] = {}  # by Tune's trial id
        self._curves: dict[int, dict[int, float]] = {}  # by number: epochs completed -> value
        self._untold: dict[int, Outcome | None] = {}  # None: failed, the reason decides
        self._reasons: dict[str, str] = {}
        self._take_stock(sampler, seed, warm)

    def contradictions(self) -> list[str]:
        """The ended trials about which the journal says something else than the ledger.

        The journal has no checksums, and the ledger may have lost lines.
        """
        return [
            self._key(trial.number)
            for trial in self._trials(*_ENDED)[self._warm :]
            # A trial that only fills a gap in the numbers has neither.
            if trial.params or trial.user_attrs
            if not self._agrees(trial, self._records.get(self._key(trial.number)))
        ]

    def _agrees(self, trial: FrozenTrial, record: TrialRecord | None) -> bool:
        if record is None or not record.finished:
            return False
        if trial.state != TrialState.COMPLETE or record.state != "complete":
            return True
        return tuple(trial.values) == judge_record(record, self._objectives).values

    # What Tune calls.

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's configuration: first what was left unfinished, then something new.

        None where that can't be trained: it has ended, and counts as one that was handed out.
        """
        self._tell_untold()
        if self._unfinished:
            trial = self._reattach(self._unfinished.pop(0))
        elif self._given is None:
            trial = self._study.ask()
        else:
            return str(Searcher.FINISHED)
        key, overrides = self._key(trial.number), self._point(trial)
        if self._given is None and self._pass_over(key, overrides):
            self.passed_over += 1
            self._tell(trial.number, WITHOUT_VALUE)
            return None
        self._number_of[trial_id] = trial.number
        self._curves[trial.number] = self._recorded_curve(self._records.get(key))
        return tune_config(key, "trial", overrides)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._tell_untold()
        self._note(self._number_of[trial_id], result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Remember how the trial ended. One that never reported stays, to be taken up again."""
        self._tell_untold()
        number = self._number_of[trial_id]
        if error:
            self._untold[number] = None
            return
        result = result or {}
        if (
            self._key(number) in self._stopped
            and result.get("training_iteration", 0) < self._epochs
        ):
            self._untold[number] = TEACHES_NOTHING
            return
        # Tune hands the result that ends a trial over here and nowhere else.
        self._note(number, result)
        outcome = judge_result(result, self._objectives, self._epochs)
        if outcome is not None:
            self._untold[number] = outcome

    # What the study calls.

    def note_error(self, key: str, reason: str) -> None:
        self._reasons[key] = reason

    def finalise(self, records: Mapping[str, TrialRecord] | None = None) -> int:
        """Leave no trial RUNNING once Tune has returned; returns how many wait.

        Optuna is told of the trials that have ended by now. Interrupted ones wait in its queue,
        with their parameters, and are handed out first when the study goes on.
        """
        self._tell_untold()
        self._tell_ended(records or {})
        running = self._trials(TrialState.RUNNING)
        with self._backend.batch():
            for trial in running:
                self._storage.set_trial_state_values(storage_id(trial), TrialState.WAITING)
        return len(running)

    # Taking stock.

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _take_stock(self, sampler: str, seed: int, warm: Sequence[WarmTrial]) -> None:
        self._warm = self._add_warm(warm)
        self._study.sampler = make_sampler(sampler, seed, len(self._trials()))
        self._add_missing()
        self._tell_ended(self._records)
        # A trial that was cut off while it ran goes on before one that waits for its first epoch.
        cut_off, waiting = self._trials(TrialState.RUNNING), self._trials(TrialState.WAITING)
        self._unfinished = [trial.number for trial in (*cut_off, *waiting)]

    def _key(self, number: int) -> str:
        """Our name of Optuna's trial ``number``; those of a warm start come first."""
        return trial_key(number - self._warm)

    def _add_warm(self, warm: Sequence[WarmTrial]) -> int:
        """Add the trials of a warm start that the journal lacks; returns how many there are."""
        trials = self._trials()
        there = sum(WARM in trial.user_attrs for trial in trials)
        # A kill may have come in their midst; they are added before the first of the study's own.
        for name, params, values in warm[there:] if there == len(trials) else ():
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=dict(params),
                    distributions={dimension: self._space[dimension] for dimension in params},
                    values=list(values),
                    user_attrs={WARM: name},
                )
            )
            there += 1
        return there

    def _add_missing(self) -> None:
        """Add the given configurations, the opening, and what the ledger has and the journal lost.

        A trial's number is its place in the journal: if one were missing, the next new trial would
        get a key that is in use.
        """
        keys = [key for key in self._records if key.startswith(_KEY_PREFIX)]
        last = max((int(key.removeprefix(_KEY_PREFIX)) for key in keys), default=-1)
        wanted = max(last + 1, len(self._opening)) if self._given is None else len(self._given)
        for number in range(len(self._trials()) - self._warm, wanted):
            record = self._records.get(trial_key(number))
            if self._given is not None:
                self._study.enqueue_trial({}, user_attrs={CONFIG_INDEX: number})
            elif record is not None:
                self._study.enqueue_trial(
                    from_overrides(self._space, self._conditions, record.overrides)
                )
            elif number < len(self._opening):
                self._study.enqueue_trial(dict(self._opening[number]))
            else:
                self._study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))

    def _tell_ended(self, records: Mapping[str, TrialRecord]) -> None:
        for trial in self._trials(TrialState.RUNNING, TrialState.WAITING):
            record = records.get(self._key(trial.number))
            if record is None or record.state is None:
                continue
            self._point(self._reattach(trial.number))
            self._curves[trial.number] = self._recorded_curve(record)
            self._tell(trial.number, judge_record(record, self._objectives))

    def _reattach(self, number: int) -> optuna.Trial:
        """Take up a trial that Optuna holds as running or waiting."""
        frozen = self._trials()[number]
        if frozen.state == TrialState.WAITING:
            self._storage.set_trial_state_values(storage_id(frozen), TrialState.RUNNING)
        return optuna.Trial(self._study, storage_id(frozen))

    def _point(self, trial: optuna.Trial) -> dict[str, Any]:
        """The trial's overrides: a given configuration as it is, or those of a point of the space.

        A dimension that the trial has already keeps its value, so that asking again is harmless.
        """
        if self._given is not None:
            return dict(self._given[trial.user_attrs[CONFIG_INDEX]])
        with self._backend.batch():
            point = build_point(
                self._space,
                self._conditions,
                lambda name: suggest(trial, name, self._space[name]),
            )
        return to_overrides(point)

    def _recorded_curve(self, record: TrialRecord | None) -> dict[int, float]:
        """The ledger's values of the epochs that the trial itself trained, by epochs completed."""
        if record is None or len(self._objectives) > 1:
            return {}
        return {
            row.epoch + 1: objective_value(self._objectives[0], record.history[: index + 1])
            for index, row in enumerate(record.history)
            if index >= record.shared_epochs
        }

    # Telling.

    def _note(self, number: int, result: Mapping[str, Any]) -> None:
        # Optuna knows no intermediate values of several objectives.
        if len(self._objectives) > 1 or self._objectives[0] not in result:
            return
        value = float(result[self._objectives[0]])
        if math.isfinite(value):
            self._curves[number][int(result["training_iteration"])] = value

    def _tell_untold(self) -> None:
        untold, self._untold = self._untold, {}
        for number, outcome in untold.items():
            self._tell(number, outcome or judge_failure(self._reasons.get(self._key(number), "")))

    def _tell(self, number: int, outcome: Outcome) -> None:
        trial_id = storage_id(self._trials()[number])
        curve = self._curves.pop(number, {}) if outcome.curve else {}
        with self._backend.batch():
            for epochs_done, value in sorted(curve.items()):
                self._storage.set_trial_intermediate_value(trial_id, epochs_done, value)
        self._study.tell(number, outcome.values, state=outcome.state)
