"""Jobs: runs that are known beforehand (baselines, grids), and the searcher that hands them out.

A search asks Optuna what to run next; everything else in this project is a list of jobs. Both hand
the same flat dictionary to the Trainable.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ray.tune.search import Searcher

Role = Literal["baseline", "trial", "confirm", "placebo"]


@dataclass(frozen=True)
class Job:
    """One run: its stable key, its role, and what it changes in the base configuration."""

    key: str
    role: Role
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def tune_config(self) -> dict[str, Any]:
        """The dictionary that the Trainable gets."""
        return tune_config(self.key, self.role, self.overrides)


def tune_config(key: str, role: Role, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A Trainable's configuration. Overrides travel as text: Tune would split keys with slashes."""
    return {"key": key, "role": role, "overrides_json": json.dumps(dict(overrides))}


class JobSearcher(Searcher):
    """Hands out a list of jobs in order, and nothing else."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        super().__init__(metric=None, mode=None)
        self._waiting = list(jobs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next job's configuration, or that there is none left."""
        if not self._waiting:
            return str(Searcher.FINISHED)
        return self._waiting.pop(0).tune_config()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to learn: the list is fixed."""

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Accept whatever Tune was configured with."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: a study goes on by its ledger, not by Tune's snapshots."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""
