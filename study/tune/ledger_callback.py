"""Tune's callback: what trials report becomes events of the ledger.

It runs in the driver's loop, so it does nothing slow and, while there is a ledger, raises nothing.
An exception on a result would end the whole study; one on a trial's end would turn a finished trial
into a failed one.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from ray import tune
from ray.tune.experiment import Trial

from study.errors import RecordsRemovedError
from study.records.events import EndEvent, EpochsEvent, Event, NoteEvent, StartEvent, TrialState
from study.records.ledger import Ledger
from study.records.ledger_view import TrialRecord, read_ledger, same_numbers
from study.records.requests import STOPPED_BY_HAND
from study.statistics.paired import paired_differences
from study.tune.failures import failure_reason
from trainables.epochs import epoch_number
from trainables.metrics import EpochMetrics, objective_values, test_figures
from trainables.noise.controller import fork_epoch
from trainables.noise.fork import annotate
from trainables.noise_config import NoiseConfig

log = logging.getLogger(__name__)

Describe = Callable[[Mapping[str, Any]], StartEvent]
_FIELDS = tuple(EpochMetrics.__dataclass_fields__)

Hook = TypeVar("Hook", bound=Callable[..., None])


class _OpenRun:
    """What the callback remembers of a run that has not ended."""

    def __init__(self, start: StartEvent, record: TrialRecord | None = None) -> None:
        """``record``: what the ledger has of the run."""
        self.start = start
        self.diverged = ""
        self.seconds: float | None = None
        self.test: dict[str, float] = {}
        self.rows = {row.epoch: row for row in record.history} if record else {}
        # The epochs that it shares with its baseline come first: it leaves that course once.
        self.shared = set(range(record.shared_epochs if record else 0))
        self.tags = dict(record.tags if record else {})
        fork = self.tags.get("fork_epoch")
        self.fork_epoch = int(fork) if fork else None

    @property
    def budget(self) -> int:
        return int(self.start.config["epochs"])

    @property
    def history(self) -> list[EpochMetrics]:
        return [self.rows[epoch] for epoch in sorted(self.rows)]


def _never_raise(hook: Hook) -> Hook:
    @functools.wraps(hook)
    def guarded(self: "LedgerCallback", *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except RecordsRemovedError as removed:
            # There is nothing left that training could be recorded in: Tune is to end.
            self.removed = removed
            raise
        except Exception as error:
            self.failed(hook.__name__, error)

    return cast(Hook, guarded)


class LedgerCallback(tune.Callback):
    """Writes starts, epochs and ends of trials to the ledger.

    An epoch is written once. What a resumed trial reports again is compared and left out. A trial
    that stopped because the whole search ended (interrupt, time budget) is not ended here: it goes
    on when the study is resumed.

    Attributes:
        reasons: of the phase's trial scheduler, by key: why it stopped a trial early.
    """

    def __init__(
        self,
        path: Path,
        describe: Describe,
        baselines: Mapping[str, Sequence[EpochMetrics]] | None = None,
        baseline_tests: Mapping[str, Mapping[str, float]] | None = None,
        stopped: Collection[str] = (),
    ) -> None:
        """Nothing is opened before ``setup``: Tune pickles callbacks.

        ``baselines`` and ``baseline_tests``: digest of a baseline → its whole history, and its
        figures on the test set, if trials are evaluated there, too. ``stopped``: keys of runs that
        a person ends; it may grow.
        """
        self.path = Path(path)
        self.error: Exception | None = None
        self.removed: RecordsRemovedError | None = None
        self._describe = describe
        self._baselines = dict(baselines or {})
        self._baseline_tests = dict(baseline_tests or {})
        self._stopped = stopped
        self.reasons: Mapping[str, str] = {}
        self._ledger: Ledger | None = None
        self._runs: dict[str, _OpenRun] = {}
        self._ended: set[str] = set()
        self._baseline_keys: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ledger": None, "_runs": {}, "error": None}

    def setup(self, **info: Any) -> None:
        """Open the ledger (OSError: better no training than none on record) and recall it."""
        self._ledger = Ledger(self.path)
        for key, record in read_ledger(self.path).trials.items():
            if record.role == "baseline":
                self._baseline_keys[record.baseline] = key
            if record.finished:
                self._ended.add(key)
            else:
                self._runs[key] = _OpenRun(_start_of(record), record)

    @_never_raise
    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Record the start, once for each key: a retry or a resume is the same run."""
        self._run(trial)

    @_never_raise
    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Record the epoch; before the first, record what the trial shares with its baseline."""
        if "epoch" not in result:
            return
        run = self._run(trial)
        row = EpochMetrics.from_dict({name: result[name] for name in _FIELDS if name in result})
        start_epoch = int(result.get("start_epoch", 0))
        run.diverged = str(result.get("diverged", ""))
        run.seconds = result.get("time_total_s", run.seconds)
        run.test = test_figures(result)
        self._share(run, upto=min(row.epoch, start_epoch))
        self._add(run, row, shared=row.epoch < start_epoch)
        for tag in ("node", "note"):
            text = str(result.get(tag) or "")
            if text and text != run.tags.get(tag):
                run.tags[tag] = text
                self._write(NoteEvent(run.start.key, {tag: text}))

    @_never_raise
    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        """Record the end: complete, stopped early or by hand, or diverged."""
        run = self._runs.get(trial.config["key"])
        by_hand = trial.config["key"] in self._stopped
        if run is not None and by_hand and len(run.rows) < run.budget:
            self._end(run, "failed", f"{STOPPED_BY_HAND} after {len(run.rows)} epochs")
            return
        if run is None or not run.rows:
            return
        last = run.history[-1]
        if run.diverged or not last.finite:
            self._end(
                run, "failed", run.diverged or f"diverged in epoch {epoch_number(last.epoch)}"
            )
        elif last.epoch + 1 >= run.budget:
            self._end(run, "complete", "")
        else:
            why = self.reasons.get(run.start.key)
            reason = f"stopped early after {last.epoch + 1} epochs"
            self._end(run, "pruned", f"{reason}: {why}" if why else reason)

    @_never_raise
    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Record the failure that no retry is left for, with its reason."""
        if trial.config["key"] not in self._ended:
            self._end(self._run(trial), "failed", failure_reason(trial))

    @_never_raise
    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        if self._ledger is not None:
            ledger, self._ledger = self._ledger, None
            ledger.close()

    def go_on(
        self,
        describe: Describe,
        baselines: Mapping[str, Sequence[EpochMetrics]],
        baseline_tests: Mapping[str, Mapping[str, float]],
    ) -> None:
        """Know what the runs of the next phase are compared with."""
        self._describe = describe
        self._baselines, self._baseline_tests = dict(baselines), dict(baseline_tests)

    @_never_raise
    def settle(self) -> None:
        """Try once more to write what the disk refused."""
        if self._ledger is not None:
            self._ledger.flush()

    def failed(self, where: str, error: Exception) -> None:
        """Say once and loudly that recording failed; the first error stays in ``error``."""
        if self.error is None:
            self.error = error
            log.error(
                "%s: the study's records could not be written (%s: %s: %s). Training goes on; what "
                "the disk refused is kept in memory and tried again with the next record",
                self.path,
                where,
                type(error).__name__,
                error,
                exc_info=None if isinstance(error, OSError) else error,
            )

    def _run(self, trial: Trial) -> _OpenRun:
        """The trial's run; it begins if it is new, or begins again if it had ended."""
        key = trial.config["key"]
        run = self._runs.get(key)
        if run is not None:
            return run
        start = self._describe(trial.config)
        assert start.key == key, f"describe() gave {start.key!r} for {key!r}"
        ended = read_ledger(self.path).trials[key] if key in self._ended else None
        run = _OpenRun(start, ended)
        self._ended.discard(key)
        if start.role == "baseline":
            self._baseline_keys[start.baseline] = key
        self._runs[key] = run
        self._write(start)
        return run

    def _share(self, run: _OpenRun, upto: int) -> None:
        """Record the baseline's epochs before ``upto`` as the trial's own, where it lacks them."""
        missing = [epoch for epoch in range(upto) if epoch not in run.rows]
        if not missing:
            return
        start = run.start
        baseline = self._baselines.get(start.baseline)
        if baseline is None or len(baseline) < upto:
            raise LookupError(
                f"{start.key} shares {upto} epochs with the baseline {start.baseline}, whose "
                "history is not known"
            )
        noise = NoiseConfig.model_validate(start.config["noise"])
        run.fork_epoch = fork_epoch(baseline, noise, run.budget)
        rows = annotate(baseline[:upto], noise, run.budget)
        shared = tuple(rows[epoch] for epoch in missing)
        run.rows.update({row.epoch: row for row in shared})
        run.shared.update(missing)
        origin = self._baseline_keys.get(start.baseline, start.baseline)
        never = run.fork_epoch is None
        how = {"never_injected": "true"} if never else {"fork_epoch": str(run.fork_epoch)}
        # First, since nothing asks for it again once the epochs are there.
        self._write(NoteEvent(start.key, {"forked_from": origin, **how}))
        self._write(EpochsEvent(start.key, shared, shared=True))

    def _add(self, run: _OpenRun, row: EpochMetrics, *, shared: bool) -> None:
        recorded = run.rows.get(row.epoch)
        if recorded is None:
            run.rows[row.epoch] = row
            if shared:
                run.shared.add(row.epoch)
            self._write(EpochsEvent(run.start.key, (row,), shared=shared))
        elif not same_numbers(recorded, row):
            log.warning(
                "%s: epoch %d came out differently when it was repeated; the first figures are "
                "kept (training is not deterministic there)",
                run.start.key,
                epoch_number(row.epoch),
            )

    def _end(self, run: _OpenRun, state: TrialState, reason: str) -> None:
        key, history = run.start.key, run.history
        values = {**objective_values(history), **run.test} if history and state != "failed" else {}
        event = EndEvent(
            key=key,
            state=state,
            reason=reason,
            values=values,
            paired_difference=self._paired_difference(run, values),
            epochs_trained=len(history) - len(run.shared),
            fork_epoch=run.fork_epoch,
            first_injection_epoch=next((row.epoch for row in history if row.injected), None),
            seconds=run.seconds,
        )
        if run.start.role == "baseline" and state == "complete":
            self._baselines[run.start.baseline] = history
        del self._runs[key]
        self._ended.add(key)
        self._write(event)

    def _paired_difference(self, run: _OpenRun, values: Mapping[str, float]) -> dict[str, float]:
        """By objective: the run's value − its baseline's after as many epochs."""
        same = (self._baselines.get(run.start.baseline) or ())[: len(run.rows)]
        if run.start.role == "baseline" or len(same) < len(run.rows) or not values:
            return {}
        baseline = {**objective_values(same), **self._baseline_tests.get(run.start.baseline, {})}
        return paired_differences(values, baseline)

    def _write(self, event: Event) -> None:
        if self._ledger is None:
            raise RuntimeError("the ledger is not open")
        self._ledger.append(event)


def _start_of(record: TrialRecord) -> StartEvent:
    return StartEvent(
        key=record.key,
        role=record.role,
        seed=record.seed,
        overrides=record.overrides,
        config=record.config,
        baseline=record.baseline,
        time=record.started,
    )
