"""A training that a campaign plans: its key, its role, and what it changes in the base run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["baseline", "tuning", "trial", "race", "confirm", "placebo", "clock"]
BASELINE = "baseline"

NOISELESS: frozenset[str] = frozenset({"baseline", "tuning"})
"""The roles of runs that never have noise; all others are compared with a baseline."""


def seeded_key(name: str, seed: int) -> str:
    """The key of what is trained on several seeds, e.g. ``trial-0007-placebo-seed2``."""
    return f"{name}-seed{seed}"


def baseline_key(seed: int, code_changes: int = 0) -> str:
    return baseline_run(seed, code_changes).key


@dataclass(frozen=True)
class PlannedRun:
    """One training; ``name`` is what is trained, on however many seeds.

    ``changes``: what it changes in the base configuration besides the seed, by path.
    """

    role: Role
    name: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its identity: in the ledger, in MLflow, in the names of its checkpoints."""
        return seeded_key(self.name, self.seed)

    @property
    def overrides(self) -> dict[str, Any]:
        """All that it changes in the base configuration, by path."""
        return {**self.changes, "seed": self.seed}


def baseline_run(seed: int, code_changes: int = 0) -> PlannedRun:
    """``code_changes``: how often the study went on with a changed source, with new baselines."""
    name = f"{BASELINE}-code{code_changes + 1}" if code_changes else BASELINE
    return PlannedRun("baseline", name, seed, {"noise/policy": "off"})
