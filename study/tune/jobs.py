"""What Tune hands to the Trainable, and the searcher that hands out runs known beforehand.

A search asks Optuna what to run next; everything else is a list of planned runs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.records.planned_run import PlannedRun, Role


def tune_config(
    key: str,
    role: Role,
    overrides: Mapping[str, Any],
    baseline: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A Trainable's configuration. Overrides travel as text: Tune would split keys with slashes.

    ``baseline``: the rows of its baseline, if that was trained after the workers began.
    """
    config = {"key": key, "role": role, "overrides_json": json.dumps(dict(overrides))}
    return {**config, "baseline_json": json.dumps(list(baseline))} if baseline else config


class StatelessSearcher(Searcher):
    """Keeps nothing for Tune: a study goes on by its own records, not by Tune's snapshots.

    ``passed_over``: how many runs it has recorded itself, since they can't be trained.
    """

    passed_over: int = 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Everything is known already."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class GrowingSearcher(StatelessSearcher):
    """Hands out runs of which some can only be known when others have ended.

    Args:
        startable: the runs that can be started by what is recorded now, the most urgent first;
            those that run may be among them.
        rows_of: the rows of a run's baseline, if that was trained after the workers began.
    """

    def __init__(
        self,
        startable: Callable[[], Sequence[PlannedRun]],
        rows_of: Callable[[PlannedRun], Sequence[Mapping[str, Any]]],
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._startable = startable
        self._rows_of = rows_of
        self._handed: set[str] = set()
        self._running = 0

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next run; None while those that run must end first."""
        run = next((run for run in self._startable() if run.key not in self._handed), None)
        if run is None:
            return None if self._running else str(Searcher.FINISHED)
        self._handed.add(run.key)
        self._running += 1
        return tune_config(run.key, run.role, run.overrides, self._rows_of(run))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """How it ended is read from the records."""
        self._running -= 1


class ListSearcher(StatelessSearcher):
    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        super().__init__(metric=None, mode=None)
        self._waiting = list(runs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if not self._waiting:
            return str(Searcher.FINISHED)
        run = self._waiting.pop(0)
        return tune_config(run.key, run.role, run.overrides)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn: the list is fixed."""
