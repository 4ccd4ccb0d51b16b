"""A single run in MLflow, by the same way as a study: a ledger, and a thread that sends it.

So a store that is slow or away never holds training up, and what it missed is sent when it answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from study.records import events
from study.records.ledger import Ledger
from study.records.ledger_view import StudyInfo, read_ledger
from study.run.files import RunFiles
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics
from trainables.noise.fork import baseline_digest

EXPERIMENT = "noise-train"
"""The MLflow experiment that single runs go to."""

_FLUSH_SECONDS = 60.0
_FLUSH_SECONDS_INTERRUPTED = 10.0
_MEASURED = "best_val_accuracy"


class Tracking:
    """Hears of a run's epochs and its end. This one keeps them to itself."""

    def epoch(self, row: EpochMetrics) -> None:
        """An epoch is done."""

    def end(self, metrics: Mapping[str, float], files: Sequence[Path], seconds: float) -> None:
        """The run has its result."""

    def failed(self, reason: str) -> None:
        """The run ended without one."""


class LedgerTracking(Tracking):
    """Writes the run's ledger; epochs that it has are not written again."""

    def __init__(
        self, ledger: Ledger, key: str, history: Sequence[EpochMetrics], known: int
    ) -> None:
        self._ledger = ledger
        self._key = key
        self._history = list(history)
        self._known = known
        if len(self._history) > known:
            # Epochs from before the run was tracked.
            ledger.append(events.EpochsEvent(key, tuple(self._history[known:])))

    def epoch(self, row: EpochMetrics) -> None:
        self._history.append(row)
        if row.epoch >= self._known:
            self._ledger.append(events.EpochsEvent(self._key, (row,)))

    def end(self, metrics: Mapping[str, float], files: Sequence[Path], seconds: float) -> None:
        for path in files:
            self._ledger.append(events.ArtifactEvent(self._key, str(path.resolve())))
        self._append_end(events.EndEvent(self._key, "complete", values=metrics, seconds=seconds))

    def failed(self, reason: str) -> None:
        self._append_end(events.EndEvent(self._key, "failed", reason))

    def _append_end(self, end: events.EndEvent) -> None:
        injected = next((row.epoch for row in self._history if row.injected), None)
        trained = len(self._history)
        self._ledger.append(replace(end, epochs_trained=trained, first_injection_epoch=injected))


@contextmanager
def tracking(
    uri: str | None,
    files: RunFiles,
    config: TrainConfig,
    history: Sequence[EpochMetrics],
    say: Callable[[str], None],
) -> Iterator[Tracking]:
    """Track the run within, in the store at ``uri`` (resolved; None: not at all).

    ``history`` has the epochs that are done already.
    """
    if uri is None:
        yield Tracking()
        return
    from study.tracking.addresses import artifact_root
    from study.tracking.projector import LedgerProjector
    from study.tracking.store import MlflowStore

    before = read_ledger(files.ledger)
    known = before.trials.get(files.name)
    with Ledger(files.ledger) as ledger:
        _begin(ledger, before.study, files.name, config)
        projector = LedgerProjector(
            files.ledger,
            files.ledger.with_suffix(".offset"),
            MlflowStore(uri, artifact_root(uri, files.folder)),
            say=say,
        )
        projector.start()
        complete = False
        try:
            yield LedgerTracking(ledger, files.name, history, len(known.history) if known else 0)
            complete = True
        finally:
            ledger.append(
                events.StudyEndEvent("complete" if complete else "interrupted", best=files.name)
            )
            if not projector.flush(_FLUSH_SECONDS if complete else _FLUSH_SECONDS_INTERRUPTED):
                say(f"MLflow lacks the end of this run; it is kept in {files.ledger}")
            projector.stop()


def _begin(ledger: Ledger, before: StudyInfo | None, name: str, config: TrainConfig) -> None:
    """Record that a run begins, or goes on; ``before``: what the ledger says of an earlier part."""
    ledger.append(
        events.StudyEvent(
            name=EXPERIMENT,
            uid=before.uid if before else events.new_uid(),
            config={"run": name},
            objectives=(_MEASURED,),
            asked=f"A single run: {name}",
            resumed=before is not None,
            first_step=before.first_step if before else events.FIRST_STEP,
        )
    )
    ledger.append(
        events.StartEvent(
            key=name,
            role="baseline" if config.noise.policy == "off" else "trial",
            seed=config.seed,
            overrides={},
            config=config.model_dump(mode="json"),
            baseline=baseline_digest(config),
        )
    )
