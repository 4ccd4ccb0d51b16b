"""The pinned baseline: the same training without noise, on each seed, outside the search space."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from study.config import StudyConfig
from study.records.events import StartEvent
from study.records.ledger_view import LedgerState, TrialRecord
from study.tune.jobs import Job
from trainables.config import TrainConfig, apply_overrides
from trainables.metrics import EpochMetrics
from trainables.noise.fork import baseline_digest


def baseline_key(seed: int) -> str:
    """The key of the baseline's run on a seed."""
    return f"baseline-seed{seed}"


def baseline_jobs(config: StudyConfig, state: LedgerState) -> list[Job]:
    """The baseline's runs that are not complete yet, the trials' own seed first."""
    jobs = [
        Job(baseline_key(s), "baseline", {"noise/policy": "off", "seed": s}) for s in config.seeds
    ]
    return [job for job in jobs if not _complete(state.trials.get(job.key))]


def _complete(record: TrialRecord | None) -> bool:
    # One that has lost epochs, because lines of the ledger are damaged, is trained again.
    return (
        record is not None
        and record.state == "complete"
        and len(record.history) == int(record.config["epochs"])
    )


def baseline_histories(state: LedgerState) -> dict[str, tuple[EpochMetrics, ...]]:
    """Digest → the whole history of each complete baseline."""
    return {r.baseline: r.history for r in state.by_role("baseline") if _complete(r)}


class DescribeRun:
    """Tells the ledger what a Trainable's configuration means; it pickles with the callback."""

    def __init__(self, base: TrainConfig, policy: str) -> None:
        """Take the base configuration and the policy of its trials."""
        self._base = base.model_dump_json()
        self._policy = policy

    def __call__(self, tune_config: Mapping[str, Any]) -> StartEvent:
        """The start of the run that ``tune_config`` configures."""
        overrides = json.loads(tune_config["overrides_json"])
        base = TrainConfig.model_validate_json(self._base)
        config = apply_overrides(base, {"noise/policy": self._policy, **overrides})
        return StartEvent(
            key=tune_config["key"],
            role=tune_config["role"],
            seed=config.seed,
            overrides=overrides,
            config=config.model_dump(mode="json"),
            baseline=baseline_digest(config),
        )


def waiting_note(jobs: Sequence[Job], concurrent: int) -> str:
    """A sentence for the log where the baseline leaves workers idle; empty where it does not."""
    if not jobs:
        return ""
    idle = -len(jobs) % concurrent
    if not idle:
        return ""
    rounds = math.ceil(len(jobs) / concurrent)
    waiting = "wait" if idle > 1 else "waits"
    runs = f"{len(jobs)} runs ({rounds} in a row)" if len(jobs) > 1 else "run"
    return (
        f"{idle} of {concurrent} workers {waiting} for the baseline's {runs}; "
        f"--baseline-seeds {len(jobs) + idle} would keep all of them busy, "
        "--fork never needs no baseline first"
    )
