"""Studies from Python: ``run_study(StudyConfig(...))`` does what the command does.

The order of events: everything that can be refused is refused; the data set is read; the study is
locked, and what an earlier process left is put in order; the pinned baseline is trained; the search
runs; the result is computed from the ledger. Each step skips what the ledger says is done.
"""

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search_spaces.registry import first_possible_injection, get_space
from study.campaigns.baseline import DescribeRun, baseline_histories, baseline_jobs, waiting_note
from study.campaigns.campaign import (
    FLUSH_SECONDS,
    FLUSH_SECONDS_AWAY,
    STOPPING,
    no_space_left,
    read_images,
    resume_command,
)
from study.campaigns.live import live_view
from study.campaigns.session import Session, connected
from study.checks import check_study, checked_entry
from study.config import StudyConfig
from study.errors import InterruptedStudyError, StudyFailedError
from study.records.events import EndEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, storage_of
from study.records.json_files import write_json
from study.records.summary import Summary, summarise, winner_config
from study.search.space import check_stored_space, study_space
from study.tune.interrupts import interruptible
from trainables.data.dataset import Dataset
from trainables.data.image_sets import resolve_data
from trainables.errors import InputError

if TYPE_CHECKING:
    from study.tune.capacity import Capacity


def run_study(config: StudyConfig, *, console: Console | None = None) -> Summary:
    """Run a study, or go on with it, to its end.

    Args:
        config: the study. Its pinned baseline is ``config.train`` without noise.
        console: where to show progress; None: nowhere.

    Returns:
        The summary, as it is written to ``STORAGE/NAME/summary.json``.

    Raises:
        InputError: for bad input, before anything is started or written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished trials are kept.
        StudyFailedError: if there is no baseline to compare with.
    """
    began = time.monotonic()
    config = check_study(config)
    folder = StudyFolder.fetched(storage_of(config), config.name)
    folder.check_same_study(config)
    check_stored_space(folder)
    dataset = read_images(config, console)
    train = config.train
    data = resolve_data(train.data, dataset)
    asked_for = config
    config = config.model_copy(update={"train": train.model_copy(update={"data": data})})
    stopping = interruptible(f"{config.name}: {STOPPING}")
    with no_space_left(config), connected(config), folder.locked(), stopping:
        # Another process may have run a study of this name while the images were read.
        folder.check_same_study(asked_for)
        session = Session(folder, config, console)
        return _StudyRun(config, session, dataset, began).to_the_end()


@dataclass
class _StudyRun:
    """One process's part of a study, from the lock to the summary."""

    config: StudyConfig
    session: Session
    dataset: Dataset
    began: float
    _callbacks: list[Any] = field(default_factory=list)

    def to_the_end(self) -> Summary:
        """Train what is missing, then write the results, however the training ended."""
        # Before MLflow is imported in its thread: two threads that import at once get in each
        # other's way.
        import study.search.searcher  # noqa: F401

        config, session = self.config, self.session
        self.folder.write_config(config)
        session.begin(objectives=config.objective, asked=asked(config))
        ended: StudyState = "failed"
        with session.mirrored() as projector:
            try:
                self._put_in_order()
                with live_view(session.console, config, self.folder.ledger):
                    self._train()
                ended = "complete"
            except KeyboardInterrupt:
                ended = "interrupted"
            finally:
                summary = self._write_results(ended, projector)
        if ended == "interrupted":
            raise InterruptedStudyError(self._how_to_go_on())
        return summary

    # The frame: what an earlier process left, the results.

    @property
    def folder(self) -> StudyFolder:
        """The study's files."""
        return self.session.folder

    def _put_in_order(self) -> None:
        """Repair what an earlier process left, and say what is lost."""
        from study.search.journal import repair_or_replace_journal

        for line in repair_or_replace_journal(self.folder.journal):
            self.session.note(line)
        self.session.put_in_order()

    def _write_results(self, ended: StudyState, projector: Any) -> Summary:
        state = self.session.state()
        summary = summarise(self.config, state)
        best = summary.best[0] if isinstance(summary.best, list) and summary.best else summary.best
        self.session.append(StudyEndEvent(ended, best=best if isinstance(best, str) else None))
        winner = winner_config(summary, state)
        if winner is not None:
            write_json(self.folder.best_config, winner.model_dump(mode="json"))
        # Before the wait for MLflow, which may be away, and after it, with MLflow's run ids.
        write_json(self.folder.summary, summary.model_dump(mode="json"))
        away = projector.status.error is not None
        if not projector.flush(timeout=FLUSH_SECONDS_AWAY if away else FLUSH_SECONDS):
            self.session.say(
                "MLflow does not have everything yet; it is kept, and sent by: "
                + shlex.join(
                    ["noise-study", "sync", self.config.name, *storage_of(self.config).words]
                )
            )
        summary = summarise(self.config, state, projector.run_ids)
        write_json(self.folder.summary, summary.model_dump(mode="json"))
        return summary

    def _how_to_go_on(self) -> str:
        return (
            f"{self.config.name}: interrupted; what is finished is kept. Go on with: "
            f"{resume_command(self.config)}"
        )

    # The training: the baseline, then the search.

    def _check_all_ended(self) -> None:
        trials = self.session.state().by_role("trial")
        missing = self.config.wanted - sum(r.finished for r in trials)
        if missing > 0 and not self._time_is_up():
            raise StudyFailedError(
                f"{self.config.name}: {missing} trials have no recorded end"
                f"{self._why_unrecorded()}. What is finished is kept; go on with: "
                f"{resume_command(self.config)}"
            )

    def _why_unrecorded(self) -> str:
        errors = [callback.error for callback in self._callbacks if callback.error is not None]
        return f" ({type(errors[0]).__name__}: {errors[0]})" if errors else ""

    def _time_is_up(self) -> bool:
        return self._time_left() == 0.0

    def _time_left(self) -> float | None:
        budget = self.config.time_budget
        return None if budget is None else max(0.0, budget - (time.monotonic() - self.began))

    def _train(self) -> None:
        from study.tune.capacity import capacity
        from study.tune.connect import ray_session

        state = self.session.state()
        finished = sum(record.finished for record in state.by_role("trial"))
        jobs = baseline_jobs(self.config, state)
        if not jobs and finished >= self.config.wanted:
            self.session.say(f"{self.config.name}: complete already, nothing is left to run")
            return
        with ray_session(self.config):
            room = capacity(self.config)
            self.session.say(room.describe(self.config))
            self._train_baseline(jobs, room)
            self._search()
        self._check_all_ended()

    def _spec(self, **fields: Any) -> Any:
        from study.tune.capacity import several_nodes
        from study.tune.runner import gpu_memory_fraction, put_datasets
        from trainables.tune_trainable import TrialSpec

        if not hasattr(self, "_references"):
            self._references = put_datasets([(self.config.train, self.dataset)])
        return TrialSpec(
            base=self.config.train.model_dump_json(),
            policy=get_space(self.config.space).policy,
            checkpoint_root=self.folder.checkpoint_root,
            datasets=self._references,
            fork=self.config.fork == "auto",
            grace=self.config.grace,
            memory_fraction=gpu_memory_fraction(self.config),
            tell_node=several_nodes(),
            **fields,
        )

    def _callback(self) -> Any:
        from study.tune.ledger_callback import LedgerCallback

        callback = LedgerCallback(
            self.folder.ledger,
            DescribeRun(self.config.train, get_space(self.config.space).policy),
            baseline_histories(self.session.state()),
        )
        self._callbacks.append(callback)
        return callback

    def _earliest_injections(self) -> list[int]:
        """The first epochs in which the trials' noise could begin."""
        config = self.config
        if config.configs is None:
            return [first_possible_injection(get_space(config.space), config.train)]
        earliest = [
            checked_entry(config, index, entry).noise.earliest_injection()
            for index, entry in enumerate(config.configs)
        ]
        return [epoch for epoch in earliest if epoch is not None]

    def _train_baseline(self, jobs: Sequence[Any], room: "Capacity") -> None:
        from study.tune.jobs import JobSearcher
        from study.tune.runner import run_trials

        if jobs:
            idle = waiting_note(jobs, room.concurrent)
            if idle:
                self.session.say(idle)
            spec = self._spec(
                # What begins with the first epoch shares nothing that could be kept.
                fork_first=min(filter(None, self._earliest_injections()), default=None),
                fork_disk_bytes=int(self.config.fork_disk_mb * 1e6),
                fork_seed=self.config.train.seed,
            )
            run_trials(
                self.config,
                spec,
                JobSearcher(jobs),
                samples=len(jobs),
                callbacks=[self._callback()],
            )
        self._check_baseline()

    def _check_baseline(self) -> None:
        state = self.session.state()
        failed = [r for r in state.by_role("baseline") if r.state == "failed"]
        if failed:
            raise StudyFailedError(
                f"{failed[0].key}: {failed[0].reason}. Without the baseline nothing can be "
                "compared: mend the base configuration (a smaller --lr, say)"
            )
        missing = [job.key for job in baseline_jobs(self.config, state)]
        if missing:
            raise StudyFailedError(
                f"{', '.join(missing)}: no recorded end{self._why_unrecorded()}. What is finished "
                f"is kept; go on with: {resume_command(self.config)}"
            )

    def _search(self) -> None:
        from study.search.searcher import ReasonCallback
        from study.tune.runner import run_trials

        config, state = self.config, self.session.state()
        main = next(r for r in state.by_role("baseline") if r.seed == config.train.seed)
        space = study_space(config, self.folder, main.history)
        for note in space.notes:
            self.session.note(note)
        if config.multi_objective and config.early_stopping:
            self.session.note(
                "two objectives: no trial is stopped early, there is no single best to lag"
            )
        records = {r.key: r for r in state.by_role("trial")}
        missing = self.config.wanted - sum(r.finished for r in records.values())
        if missing <= 0:
            return
        time_left = self._time_left()
        if time_left == 0.0:  # to Tune that would mean no limit
            self.session.note(
                f"the time budget of {config.time_budget:g} s was over before the search: no trial "
                f"was run in it. Go on with more time: {resume_command(config)} --time-budget S"
            )
            return
        searcher = self._searcher_that_fits(space.distributions, records)
        baselines = {
            digest: [row.to_dict() for row in history]
            for digest, history in baseline_histories(state).items()
        }
        try:
            run_trials(
                config,
                self._spec(baselines=baselines),
                searcher,
                samples=missing,
                callbacks=[self._callback(), ReasonCallback(searcher)],
                scheduler=self._scheduler(records),
                time_budget=time_left,
            )
        finally:
            if self._time_is_up():
                self._end_unfinished()
            searcher.finalise(self.session.state().trials)

    def _searcher_that_fits(self, distributions: Any, records: Any) -> Any:
        """The searcher; if Optuna's journal is damaged or knows better, on a new journal."""
        try:
            searcher = self._searcher(distributions, records)
            wrong = searcher.contradictions()
            about = f"does not agree with the ledger about {', '.join(wrong)}" if wrong else ""
        except InputError:
            raise
        except Exception as error:
            # A changed byte in it may surface as any exception of Optuna's.
            if not self.folder.journal.exists():
                raise
            about = f"is damaged ({type(error).__name__}: {error})"
        if not about:
            return searcher
        self.session.note(f"{self.folder.journal.name} {about}; {self._replace_journal()}")
        return self._searcher(distributions, records)

    def _searcher(self, distributions: Any, records: Any) -> Any:
        from study.search.searcher import StudySearcher

        config = self.config
        return StudySearcher(
            config.name,
            self.folder.journal,
            distributions,
            objectives=config.objective,
            epochs=config.train.epochs,
            sampler=config.sampler,
            seed=config.train.seed,
            given=config.configs,
            records=records,
        )

    def _replace_journal(self) -> str:
        from study.search.journal import replace_journal

        return replace_journal(self.folder.journal)

    def _scheduler(self, records: Any) -> Any:
        if not self.config.stops_early:
            return None
        from study.tune.early_stopping import ForkAwareASHA

        first = min([*self._earliest_injections(), self.config.train.epochs])
        scheduler = ForkAwareASHA(
            self.config.objective[0],
            epochs=self.config.train.epochs,
            grace_period=first + 1 + self.config.grace,
            reduction_factor=self.config.reduction_factor,
        )
        scheduler.replay(records, self.config.grace)
        return scheduler

    def _end_unfinished(self) -> None:
        """The time budget is over: what still ran has been stopped early, by the clock."""
        state = self.session.state()
        open_trials = [r for r in state.by_role("trial") if not r.finished]
        for record in open_trials:
            self.session.append(
                EndEvent(
                    key=record.key,
                    state="pruned",
                    reason=f"the time budget ended after {len(record.history)} epochs",
                    epochs_trained=record.epochs_trained,
                    first_injection_epoch=record.first_injection_epoch,
                )
            )
        ended = len(state.by_role("trial"))
        if open_trials or ended < self.config.wanted:
            self.session.note(
                f"the time budget of {self.config.time_budget:g} s ended the study after {ended} "
                f"of {self.config.wanted} trials; {len(open_trials)} of them were stopped by it"
            )


def asked(config: StudyConfig) -> str:
    """What a study asks, in a sentence."""
    train = config.train
    what = get_space(config.space).description
    return (
        f"Does noise help {train.model.classifier} on {train.data.dataset} within {train.epochs} "
        f"epochs ({train.optimizer.optimizer}, learning rate {train.optimizer.lr:g})? "
        f"Searched for {' and '.join(config.objective)}; space {config.space}: {what}."
    )
