"""Confirmations made up of records, for what is decided and said about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.campaigns.confirm_plan import ConfirmConfig, run_key
from study.campaigns.confirmation import Confirmation
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState, StudyInfo, TrialRecord
from study.records.summary import VALIDATION_IMAGES
from tests.support.trained_studies import ADAPTIVE, BASE, EPOCHS
from trainables.config import apply_overrides
from trainables.metrics import METRICS, EpochMetrics
from trainables.noise.fork import baseline_digest

STUDY = StudyConfig(name="s", train=BASE, baseline_seeds=3, objective=("best_val_accuracy",))
NOISE = {"noise/policy": "on_stagnation", **ADAPTIVE}


def rows(noisy: Mapping[int, float] | None = None, accuracy: float = 0.5) -> tuple[Any, ...]:
    """A history with noise of these magnitudes in these epochs."""
    noisy = noisy or {}
    return tuple(
        EpochMetrics(
            epoch, 1.0, 0.5, 1.0, accuracy, 1.0, 1.0, 0.1,
            "gradient" if epoch in noisy else "none", noisy.get(epoch, 0.0),
        )
        for epoch in range(EPOCHS)
    )  # fmt: skip


def record(
    key: str,
    role: str,
    seed: int,
    *,
    state: Any = "complete",
    test: float | None = None,
    noisy: Mapping[int, float] | None = None,
    accuracy: float = 0.5,
) -> TrialRecord:
    overrides = {"noise/policy": "off"} if role == "baseline" else NOISE
    config = apply_overrides(BASE, {**overrides, "seed": seed})
    return TrialRecord(
        key=key,
        role=role,
        seed=seed,
        overrides=overrides,
        config=config.model_dump(mode="json"),
        baseline=baseline_digest(config),
        history=rows(noisy, accuracy),
        state=state,
        values={} if test is None else dict.fromkeys(METRICS, test),
    )


def search(*accuracies: float) -> LedgerState:
    records = [record(f"baseline-seed{seed}", "baseline", seed) for seed in range(3)]
    records += [
        record(f"trial-{n:04d}", "trial", 0, noisy={4: 0.5}, accuracy=accuracy)
        for n, accuracy in enumerate(accuracies)
    ]
    records.append(record("trial-0099", "trial", 0, state="pruned", accuracy=0.99))
    return LedgerState(None, {r.key: r for r in records})


def confirmation(
    config: ConfirmConfig, *records: TrialRecord, images: int | None = None
) -> Confirmation:
    """``images``: how many validation has, where that is recorded."""
    folder = StudyFolder(Path("nowhere"))
    info = None
    if images is not None:
        tags = {VALIDATION_IMAGES: str(images)}
        info = StudyInfo("s-confirm", "", {}, "?", tags, 0, None, None, 0)
    state = LedgerState(info, {r.key: r for r in records})
    return Confirmation(folder, STUDY, search(0.6, 0.7), config, state)


def runs(
    trial: str, role: Any, values: Mapping[int, float | None], *, draw: int = 1, **more: Any
) -> list[Any]:
    """Runs by seed with a value for every metric; None: failed."""
    return [
        record(
            run_key(role, trial, seed, draw), role, seed, test=value,
            state="failed" if value is None else "complete", **more,
        )
        for seed, value in values.items()
    ]  # fmt: skip
