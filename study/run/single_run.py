"""A single run from its configuration to its result: what ``noise-train`` does.

Nothing in ``SingleRunOptions`` changes a run's numbers. So a trial's configuration gives, here, the
trial's metrics again, however it is shown and stored.
"""

import contextlib
import hashlib
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from study.checks import changed_since, check_train, with_present_code
from study.records.json_files import plain, write_json
from study.records.register import Register, new_entry, note_reading
from study.run.dashboard import LiveView, PlainView, watching
from study.run.epoch_log import EpochLog
from study.run.evaluation import evaluate_test_set, measure_sharpness
from study.run.files import UNNAMED, RunFiles, noise_label
from study.run.lr_plot import draw_lr_schedule
from study.run.results import RunResult, final_metrics, per_class
from study.run.stop import StopNow, StopRequest
from study.run.tracking import Tracking, tracking
from study.run.watched import Watched
from study.run.weights_file import write_weights
from study.tracking.addresses import resolve_uri
from trainables.checkpoint import load_run, save_state
from trainables.classifier_metrics import check_measures
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset, resolve_data
from trainables.epoch_details import Detail
from trainables.epochs import epoch_number
from trainables.errors import CheckpointError, InputError
from trainables.evaluation import EvalResult, figures_on_test
from trainables.loop import train_epochs
from trainables.metrics import EpochMetrics
from trainables.paths import check_writable
from trainables.tasks.image_task import ImageTraining


@dataclass(frozen=True)
class SingleRunOptions:
    """How a run is shown and stored.

    Attributes:
        checkpoint_dir: holds the weights and ``metrics/``.
        save_as: the weights file's name; ``none.pth``: one made of model, noise, epoch, accuracy.
        resume: go on with an interrupted run.
        visualize_lr: draw the learning-rate schedule to a PNG.
        graphs: show graphs in the dashboard.
        detailed_metrics: record the training set's metrics per class.
        layer_norms: record the norms of every layer before and after the noise.
        tracking_uri: MLflow store that the run also goes to.
    """

    checkpoint_dir: str = "./checkpoints"
    save_as: str = UNNAMED
    resume: bool = False
    visualize_lr: bool = False
    graphs: bool = False
    detailed_metrics: bool = False
    layer_norms: bool = False
    tracking_uri: str | None = None


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """The run was asked to stop, and left a checkpoint after as many complete ``epochs``."""

    def __init__(self, files: RunFiles, epochs: int, signal: int) -> None:
        super().__init__(f"interrupted after {epochs} epochs")
        self.files = files
        self.epochs = epochs
        self.signal = signal


class DivergedError(RuntimeError):
    """Training gave a number that is not finite before any epoch was complete."""


def train_run(config: TrainConfig, options: SingleRunOptions, console: Console) -> RunResult:
    """Train one run, or go on with it, and evaluate its best weights once on the test set.

    Nothing is written before everything that can be wrong has been checked. SIGINT and SIGTERM
    raise ``Interrupted``, weights that can't be evaluated ``DivergedError``. After an ``OSError``,
    what was written before is whole.
    """
    check_writable(Path(options.checkpoint_dir), "--checkpoint-dir")
    notice = changed_since(config)
    checked = check_train(with_present_code(config))
    # By the content of its weights, wherever they lie.
    named = config.model_copy(update={"model": checked.model})
    files = RunFiles.of(options.checkpoint_dir, named, options.save_as)
    uri = resolve_uri(options.tracking_uri, files.folder) if options.tracking_uri else None
    wanted, config = config.device, checked
    if options.resume:
        files.check_resumable(config)
        config = files.as_begun(config)
    elif notice:
        console.print(notice, markup=False, highlight=False)
    if wanted == "auto" and config.device == "cpu":
        console.print("there is no GPU that torch can use: the run uses the CPU", highlight=False)
    run = _SingleRun(config, options, files, uri, console)
    with files.locked():
        return run.run()


class _SingleRun:
    def __init__(
        self,
        config: TrainConfig,
        options: SingleRunOptions,
        files: RunFiles,
        uri: str | None,
        console: Console,
    ) -> None:
        self.options = options
        self.uri = uri
        self.files = files
        self.console = console
        dataset = _load_data(config, console)
        check_measures(config.measured, len(dataset.classes))
        self.config = config.model_copy(update={"data": resolve_data(config.data, dataset)})
        self.classes = dataset.classes
        self.test_set = dataset.test_set
        self.images = dataset.counts
        data = DeviceData(dataset, torch.device(self.config.device))
        self.training = ImageTraining(
            self.config,
            data,
            Detail(
                per_class=True,
                train_per_class=options.detailed_metrics,
                noise_norms=True,
                optimizer_norms=True,
            ),
        )
        self.seconds_before = 0.0
        self.began = time.monotonic()

    def run(self) -> RunResult:
        if self.training.pretrained is not None:
            self._say(self.training.pretrained.summary())
        self._begin_or_resume()
        if not (self.files.finished or self.files.images.exists()):
            write_json(self.files.images, self.images)
        if self.options.visualize_lr:
            draw_lr_schedule(self.config, self.training.steps_per_epoch, self.files.lr_plot)
            self._say(f"learning-rate schedule: {self.files.lr_plot}")
        if not self.files.finished:
            history = self.training.history
            with tracking(self.uri, self.files, self.config, history, self._say) as tracked:
                self._train(tracked)
                self._evaluate(tracked)
        return self._result()

    def _begin_or_resume(self) -> None:
        if not self.options.resume:
            kept = self.files.begin(self.config)
            if kept is not None:
                self._say(kept)
            return
        # Now with what the data set filled in.
        self.files.check_resumable(self.config)
        if not self.files.state.exists():
            self._say(f"run {self.files.name} has no complete epoch yet: it starts from the first")
            return
        try:
            state = load_run(self.files.state)
        except CheckpointError as error:
            raise InputError(
                f"--resume: {error}; without --resume the run starts afresh, and what is there is "
                "kept under another name"
            ) from None
        self.training.load_state_dict(state)
        self.seconds_before = float(state.get("seconds", 0.0))
        self._say(f"run {self.files.name} goes on after epoch {len(self.training.history)}")

    def _train(self, tracked: Tracking) -> None:
        training = self.training
        log = EpochLog(
            self.files,
            self.classes,
            start=len(training.history),
            per_layer=self.options.layer_norms,
        )
        watched = Watched.of(self.config, self._title(), training.history)
        stop = StopRequest()
        with (
            contextlib.closing(log),
            stop.listening(),
            watching(self.console, watched, graphs=self.options.graphs) as view,
        ):

            def on_step(step: int, steps: int) -> None:
                view.step(step, steps)
                stop.check()

            try:
                stop.check()
                if self._diverged() is None:
                    for row in train_epochs(training, on_step):
                        self._epoch_done(row, log, view)
                        tracked.epoch(row)
                        stop.check()
                        if not row.finite:
                            break
            except StopNow:
                complete = len(training.history)
                raise Interrupted(self.files, complete, stop.signal) from None

    def _epoch_done(self, row: EpochMetrics, log: EpochLog, view: PlainView | LiveView) -> None:
        training = self.training
        assert training.injection is not None
        assert training.details is not None
        log.write(row, training.injection, training.details)
        best = training.best
        if best is not None and best.row.epoch == row.epoch:
            self.files.write_weights(self.config, self.classes, best.row, best.weights)
        # Last: what this checkpoint contains is in the other files already.
        save_state(self.files.state, {**training.state_dict(), "seconds": self._seconds()})
        view.epoch(row, training.injection)

    def _evaluate(self, tracked: Tracking) -> None:
        training, files, diverged = self.training, self.files, self._diverged()
        best = training.best
        if best is None:
            reason = "training diverged in its first epoch: there are no weights to evaluate"
            tracked.failed(reason)
            raise DivergedError(f"{reason}; try a lower --lr, or weaker noise")
        self._say(
            f"evaluating the best weights (epoch {epoch_number(best.row.epoch)}) and the last on "
            "the test set"
        )
        try:
            final = None if diverged is not None else self._final()
            training.task.load_weights(best.weights)
            test = evaluate_test_set(training.evaluated, training.data, self.config)
            flatness = measure_sharpness(training.evaluated, training.data, self.config)
        except KeyboardInterrupt:
            raise Interrupted(files, len(training.history), signal.SIGINT) from None
        self._register_reading()
        tests = figures_on_test(test, final)
        metrics = final_metrics(training.history, best.row, tests, flatness, self._seconds())
        if diverged is not None:
            metrics["diverged_epoch"] = diverged
        classes = per_class(self.classes, test.per_class_accuracy, test.per_class_loss)
        write_json(files.per_class, plain(classes))
        write_json(files.final, plain(metrics))
        # A finished run has nothing to go on with.
        files.state.unlink(missing_ok=True)
        if diverged is None:
            tracked.end(
                metrics,
                [*files.results(), *files.weights_files(), files.final_weights],
                self._seconds(),
            )
        else:
            tracked.failed(f"diverged in epoch {epoch_number(diverged)}")

    def _register_reading(self) -> None:
        """Register that the test set was read; once, also if a run that goes on reads it again."""
        (weights, *_) = self.files.weights_files()
        same = hashlib.sha256(weights.read_bytes()).hexdigest()
        entry = new_entry(
            self.test_set,
            same,
            what="read",
            by="noise-train",
            name=self.files.name,
            seeds=(self.config.seed,),
        )
        note_reading(Register.near(self.files.folder), entry, self._say)

    def _final(self) -> EvalResult:
        """Keep the final weights, and evaluate them."""
        training, last = self.training, self.training.history[-1]
        weights = training.evaluated.state_dict()
        write_weights(self.files.final_weights, self.config, self.classes, last, weights)
        return evaluate_test_set(training.evaluated, training.data, self.config)

    def _result(self) -> RunResult:
        weights, metrics, by_class = self.files.result()
        return RunResult(
            config=self.config,
            files=self.files,
            weights=weights,
            metrics=metrics,
            per_class=by_class,
            diverged=metrics.get("diverged_epoch"),
        )

    def _diverged(self) -> int | None:
        return next((row.epoch for row in self.training.history if not row.finite), None)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.began

    def _title(self) -> str:
        config = self.config
        return (
            f"{config.model.classifier} on {config.data.what}, {noise_label(config)}, "
            f"seed {config.seed}, {config.device}"
        )

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)


def _load_data(config: TrainConfig, console: Console) -> Dataset:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"reading {config.data.dataset}", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        return load_dataset(config.data, progress)
