"""What Tune hands to the Trainable, and the searcher that hands out runs known beforehand.

A search asks Optuna what to run next; everything else is a list of planned runs.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.records.planned_run import PlannedRun, Role


def tune_config(key: str, role: Role, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A Trainable's configuration. Overrides travel as text: Tune would split keys with slashes."""
    return {"key": key, "role": role, "overrides_json": json.dumps(dict(overrides))}


class StatelessSearcher(Searcher):
    """Keeps nothing for Tune: a study goes on by its own records, not by Tune's snapshots."""

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Everything is known already."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


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
