"""What a reported epoch costs the driver, by our callback and by Ray's for MLflow."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.child import call
from benchmarks.replay import curve, numbers_of, result_of
from benchmarks.rows import Benchmark, Goal, Measured, Options
from trainables.config import TrainConfig

PAUSE = 0.005
"""Seconds between two reports: less than any epoch takes, and enough for the projector to run."""


class _Trial:
    """What callbacks read of Tune's trial."""

    def __init__(self, number: int, overrides: dict[str, Any]) -> None:
        self.trial_id = f"{number:05d}"
        self.error_file = None
        self.config = {
            "key": f"trial-{number:04d}",
            "role": "trial",
            "overrides_json": json.dumps(overrides),
        }

    def __str__(self) -> str:
        return f"trial_{self.trial_id}"


def _trials(count: int, epochs: int) -> list[tuple[_Trial, list[dict[str, Any]]]]:
    made = []
    for number in range(count):
        trial = _Trial(number, {"noise/magnitude": number / 100})
        rows = curve(str(number), epochs)
        key = trial.config["key"]
        made.append((trial, [result_of(rows[: i + 1], key, epochs) for i in range(epochs)]))
    return made


def _report(callback: Any, trials: int, epochs: int, *, numbers_only: bool) -> float:
    """Mean seconds that ``on_trial_result`` holds the driver up."""
    held = 0.0
    made = _trials(trials, epochs)
    for trial, _ in made:
        callback.on_trial_start(0, [], trial)
    for epoch in range(epochs):
        for trial, results in made:
            result = numbers_of(results[epoch]) if numbers_only else results[epoch]
            began = time.perf_counter()
            callback.on_trial_result(0, [], trial, result)
            held += time.perf_counter() - began
            time.sleep(PAUSE)
    for trial, _ in made:
        callback.on_trial_complete(0, [], trial)
    return held / (trials * epochs)


def ours(*, trials: int, epochs: int) -> dict[str, float]:
    """Our callback with the thread that writes to MLflow on SQLite, as a study runs them."""
    from study.campaigns.baseline import DescribeRun
    from study.records.events import StudyEvent, new_uid
    from study.records.ledger import Ledger
    from study.tracking.addresses import artifact_root, resolve_uri
    from study.tracking.projector import LedgerProjector
    from study.tracking.store import MlflowStore
    from study.tune.ledger_callback import LedgerCallback

    base = TrainConfig(epochs=epochs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = folder / "ledger.jsonl"
        with Ledger(ledger) as opened:
            opened.append(
                StudyEvent(
                    name="bench",
                    uid=new_uid(),
                    config={"train": base.model_dump(mode="json")},
                    objectives=("best_val_accuracy",),
                    asked="",
                )
            )
        uri = resolve_uri(None, folder)
        projector = LedgerProjector(
            ledger, folder / "mlflow.offset", MlflowStore(uri, artifact_root(uri, folder))
        )
        projector.start()
        projector.flush(120)  # the making of the database is not a report's cost, on either side
        callback = LedgerCallback(ledger, DescribeRun(base, "always"))
        callback.setup()
        cpu = time.process_time()
        held = _report(callback, trials, epochs, numbers_only=False)
        callback.on_experiment_end([])
        sent = projector.flush(600)
        cpu = time.process_time() - cpu
        projector.stop(30)
        if callback.error is not None or not sent:
            raise RuntimeError(f"not everything reached MLflow: {callback.error}")
    return {"held": held, "cpu": cpu / (trials * epochs)}


def stock(*, trials: int, epochs: int) -> dict[str, float]:
    """Ray's callback for MLflow on SQLite, given the same metrics."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    with tempfile.TemporaryDirectory() as name:
        callback = MLflowLoggerCallback(
            tracking_uri=f"sqlite:///{name}/mlflow.db", experiment_name="bench"
        )
        callback.setup()
        cpu = time.process_time()
        held = _report(callback, trials, epochs, numbers_only=True)
        cpu = time.process_time() - cpu
    return {"held": held, "cpu": cpu / (trials * epochs)}


def _report_overhead(options: Options) -> Measured:
    size: dict[str, Any] = (
        {"trials": 2, "epochs": 3} if options.quick else {"trials": 8, "epochs": 20}
    )
    pairs, cpu = [], []
    for _ in range(options.rounds):
        a = call("benchmarks.tracking_rows:ours", **size)
        b = call("benchmarks.tracking_rows:stock", **size)
        pairs.append((1e3 * a["held"], 1e3 * b["held"]))
        cpu.append((1e3 * a["cpu"], 1e3 * b["cpu"]))
    mean = [sum(side) / len(cpu) for side in zip(*cpu, strict=True)]
    return Measured(
        pairs,
        "time for which a report holds the driver up, the writing thread running beside it; CPU "
        "time an epoch of the whole process, starts and ends of trials included: "
        f"{mean[0]:.1f} ms against {mean[1]:.1f} ms",
    )


BENCHMARKS = (
    Benchmark("report_overhead", "ms/epoch", Goal(25.0, ">="), "other/ours", _report_overhead),
)
