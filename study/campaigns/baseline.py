"""The pinned baseline: the same training without noise, on each seed, outside the search space."""

import json
import math
from collections.abc import Mapping
from typing import Any

from study.config import StudyConfig
from study.records.events import StartEvent
from study.records.ledger_view import LedgerState, complete_baseline
from study.records.planned_run import PlannedRun, baseline_run
from trainables.config import TrainConfig, apply_overrides
from trainables.errors import InputError
from trainables.metrics import EpochMetrics, test_figures
from trainables.noise.fork import baseline_digest


def missing_baselines(config: StudyConfig, state: LedgerState) -> list[PlannedRun]:
    """The baseline's runs that are not complete yet, the trials' own seed first."""
    runs = [baseline_run(seed, config.code_changes) for seed in config.seeds]
    return [run for run in runs if not complete_baseline(state.trials.get(run.key))]


def baseline_histories(state: LedgerState) -> dict[str, tuple[EpochMetrics, ...]]:
    """Digest → the whole history of each complete baseline."""
    return {r.baseline: r.history for r in state.by_role("baseline") if complete_baseline(r)}


def baseline_tests(state: LedgerState) -> dict[str, dict[str, float]]:
    """Digest of a complete baseline → its figures on the test set, as far as it has any.

    Baselines that were recorded before there were figures of the final weights lack these.
    """
    found = {
        record.baseline: test_figures(record.values)
        for record in state.by_role("baseline")
        if record.state == "complete"
    }
    return {digest: figures for digest, figures in found.items() if figures}


class DescribeRun:
    """Tells the ledger what a Trainable's configuration means; it pickles with the callback."""

    def __init__(self, base: TrainConfig, policy: str) -> None:
        self._base = base.model_dump_json()
        self._policy = policy

    def __call__(self, tune_config: Mapping[str, Any]) -> StartEvent:
        overrides = json.loads(tune_config["overrides_json"])
        base = TrainConfig.model_validate_json(self._base)
        try:
            config = apply_overrides(base, {"noise/policy": self._policy, **overrides})
        except InputError:
            # Its worker fails with what is wrong. It is a run all the same, with a record.
            config = base
        return StartEvent(
            key=tune_config["key"],
            role=tune_config["role"],
            seed=config.seed,
            overrides=overrides,
            config=config.model_dump(mode="json"),
            baseline=baseline_digest(config),
        )


def waiting_note(count: int, concurrent: int) -> str:
    """A sentence where ``count`` runs of the baseline leave workers idle; empty elsewhere."""
    idle = -count % concurrent
    if not idle:
        return ""
    rounds = math.ceil(count / concurrent)
    waiting = "wait" if idle > 1 else "waits"
    runs = f"{count} runs ({rounds} in a row)" if count > 1 else "run"
    return (
        f"{idle} of {concurrent} workers {waiting} for the baseline's {runs}; "
        f"--baseline-seeds {count + idle} would keep all of them busy, "
        "--fork never needs no baseline first"
    )
