"""Studies from Python: ``run_study(StudyConfig(...))`` does what the command does.

The baseline is tuned if that is asked for, the pinned baseline is trained, then the search runs,
then the race. Each step skips what the ledger says is done.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from study.campaigns.baseline import missing_baselines, waiting_note
from study.campaigns.campaign import Campaign, command, held
from study.campaigns.counted import search_counted
from study.campaigns.finished import give_receipt, is_untouched, kept_summary
from study.campaigns.images import record_images, study_images, weights_notes
from study.campaigns.live import Counted
from study.campaigns.own_code import checked_with_code, late_codes, leave_behind, record_late
from study.campaigns.phase import Phase
from study.campaigns.race import is_over, race_note, race_phase, share_of_search
from study.campaigns.search_parts import (
    asked,
    earliest_injections,
    passed_over_note,
    searcher_that_fits,
    trial_scheduler,
)
from study.campaigns.self_tested import tested
from study.campaigns.session import Session, check_records
from study.campaigns.tuning import tuning_phases
from study.checks import check_runs
from study.config import StudyConfig
from study.config_changes import as_asked
from study.records.assumed import write_assumed
from study.records.events import EndEvent, NoteEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, storage_of
from study.records.json_files import write_json
from study.records.race import CUT_SHORT, race_of
from study.records.summary import Summary, summarise, winner_config
from study.records.verdict import end_tags, trial_tags
from study.search.own_space import space_of
from study.search.space import check_stored_space
from study.search.warm_start import check_source

if TYPE_CHECKING:
    from study.search.searcher import StudySearcher
    from study.tracking.projector import LedgerProjector
    from study.tune.capacity import Capacity
    from study.tune.limits import Limits


def run_study(
    config: StudyConfig,
    *,
    console: Console | None = None,
    fetched: bool = False,
    accept_changed_code: bool = False,
) -> Summary:
    """Run a study, or go on with it, to its end.

    Args:
        config: the study. Its pinned baseline is ``config.train`` without noise.
        console: where to show progress; None: nowhere.
        fetched: the study's records were just brought from its object store (``resumed``).
        accept_changed_code: go on though the source of the study's own code was changed.

    Raises:
        InterruptedStudyError: after Ctrl-C; finished and unfinished trials are kept.
        StudyFailedError: if there is no baseline to compare with.
    """
    began = time.monotonic()
    check_runs(config)
    folder = StudyFolder.of(storage_of(config), config.name)
    config = as_asked(checked_with_code(config, folder, fetched, accept=accept_changed_code))
    config, remark = tested(config, folder, console)
    folder.check_same_study(config)
    check_records(folder, config)
    check_stored_space(folder)
    check_source(config, folder)
    train, images = study_images(config.train, console)
    asked_for = config
    config = config.model_copy(update={"train": train})
    again = command("resume", config)
    with held(config, folder, [dataset for _, dataset in images], again):
        # Another process may have run a study of this name while the images were read.
        folder.check_same_study(asked_for)
        check_records(folder, config)
        question = asked(config)
        config = folder.with_tuned_base(config)
        return _SearchCampaign(
            config=config,
            session=Session(folder, config, console),
            images=[(config.train, dataset) for _, dataset in images],
            remark=remark,
            objectives=config.objective,
            asked=question,
            policy=space_of(config).policy,
            again=again,
            sends=command("sync", config),
            began=began,
        ).to_the_end()


@dataclass(kw_only=True)
class _SearchCampaign(Campaign[StudyConfig, Summary]):
    """A search beside its pinned baseline.

    ``began`` is when the time budget did (monotonic); ``remark`` is noted at the beginning.
    """

    began: float
    remark: str = ""
    _search_end: float | None = field(default=None, init=False)
    _phase: Literal["before", "search", "race"] = field(default="before", init=False)

    # The frame.

    def kept(self) -> Summary | None:
        if not (is_untouched(self.folder, self.config) and self.is_complete()):
            return None
        return kept_summary(self.folder, self.config, self.session.whole_state())

    def all_told(self) -> None:
        give_receipt(self.folder, self.config)

    def import_ahead(self) -> None:
        import study.search.searcher  # noqa: F401

    def store(self) -> None:
        from study.search.journal import set_aside

        stored = self.folder.stored_config()
        if stored and stored.code_changes != self.config.code_changes:
            set_aside(self.folder.journal)
        self.folder.write_config(self.config)

    def counted(self) -> Counted:
        return search_counted(self.config)

    def put_in_order(self) -> None:
        from study.search.journal import repair_or_replace_journal

        for line in repair_or_replace_journal(self.folder.journal):
            self.session.note(line)
        for line in filter(None, (self.remark, *weights_notes(self.images))):
            self.session.note(line)
        record_images(self.session, self.images)
        leave_behind(self.session, self.config)
        record_late(self.session, late_codes(self.config))
        super().put_in_order()
        if self.is_complete():
            # A kill may have left the last ends in the ledger alone: the searcher tells Optuna.
            self._searcher()

    def write_end(self, ended: StudyState, projector: "LedgerProjector") -> Summary:
        state = self.session.whole_state()
        summary = summarise(self.config, state)
        self._tell_trials(summary)
        best = summary.first.trial_id if summary.first else None
        self.session.append(StudyEndEvent(ended, best=best, tags=end_tags(self.config, summary)))
        winner = winner_config(summary, state)
        if winner is not None:
            write_json(self.folder.best_config, winner.model_dump(mode="json"))
            images = self.images[0][1] if self.images else None
            write_assumed(self.folder, self.config, winner, state, images)
        # Before the wait for MLflow, which may be away, and after it, with MLflow's run ids.
        write_json(self.folder.summary, summary.model_dump(mode="json"))
        if not self.flush(projector):
            self.say_unsent()
        summary = summarise(self.config, state, projector.run_ids)
        write_json(self.folder.summary, summary.model_dump(mode="json"))
        return summary

    def _tell_trials(self, summary: Summary) -> None:
        """Note on each trial that raced what the race shows of it, if that is new."""
        known = self.session.whole_state().trials
        for trial in summary.trials:
            tags = trial_tags(trial)
            if tags.items() - known[trial.trial_id].tags.items():
                self.session.append(NoteEvent(trial.trial_id, tags))

    # The training: the tuning, the baseline, the search.

    def is_complete(self) -> bool:
        state = self.session.state()
        missing = missing_baselines(self.config, state) or self._missing()
        return not missing and is_over(self.config, state) and not self.config.is_to_be_tuned

    def phases(self, room: "Capacity") -> Iterator[Phase]:
        if self.config.is_to_be_tuned:
            self.config = yield from tuning_phases(self.config, self.session)
            self.store()
        runs = missing_baselines(self.config, self.session.state())
        if runs:
            idle = waiting_note(len(runs), room.concurrent)
            if idle:
                self.session.say(idle)
            spec = {
                "grace": self.config.grace,
                # What begins with the first epoch shares nothing that could be kept.
                "fork_first": min(filter(None, earliest_injections(self.config)), default=None),
                "fork_disk_bytes": int(self.config.fork_disk_mb * 1e6),
                "fork_seed": self.config.train.seed,
            }
            yield Phase(runs, spec=spec, needed="all", remedy="give a smaller --lr")
        yield from self._search()
        yield from self._race()

    def _search(self) -> Iterator[Phase]:
        # Also where nothing is missing: it tells Optuna what a kill left in the ledger alone.
        searcher = self._searcher()
        missing = self._missing()
        if not missing:
            return
        config, self._search_end = self.config, self._search_ends()
        if self._search_time_left() == 0.0:  # nothing would be run
            self.session.note(
                f"the time budget of {config.time_budget:g} s was over before the search: no trial "
                f"was run in it. Go on with more time: {self.again} --time-budget S"
            )
            return

        def at_end() -> None:
            if self._search_time_left() == 0.0:
                self._end_unfinished()
            searcher.finalise(self.session.state().trials)

        self._phase = "search"
        yield Phase(
            searcher=searcher,
            samples=missing,
            spec={"grace": config.grace},
            failed=searcher.note_error,
            scheduler=trial_scheduler(config, self.session.state()),
            time_left=self._search_time_left,
            at_end=at_end,
        )
        missing = self._missing()
        if missing and self._search_time_left() != 0.0:
            self.fail_unrecorded(f"{missing} trials have no recorded end")

    def _searcher(self) -> "StudySearcher":
        return searcher_that_fits(self.config, self.session, self.stopped)

    def _race(self) -> Iterator[Phase]:
        self._phase = "race"
        phase = race_phase(self.config, self.session, self.policy, self._time_left)
        if phase is None:
            return
        if self._time_left() != 0.0:  # else nothing would be run
            self.session.say(f"{self.config.name}: the race, the best trials on more seeds")
            yield phase
        race = race_of(self.config, self.session.state())
        if race is None or race.complete:
            return
        if self._time_left() != 0.0:
            self.fail_unrecorded(f"{len(race.missing)} runs of the race have no recorded end")
        self.session.note(
            f"the time budget of {self.config.time_budget:g} s {CUT_SHORT}; "
            f"go on with it: {self.again}"
        )

    # What can be changed while it runs.

    def refusal(self, setting: str, limits: "Limits") -> str:
        if setting != "trials":
            return ""
        if self.config.configs is not None:
            return "the study runs a list of given configurations, which has an end"
        if self._phase == "race" or (self._phase == "search" and limits.over):
            return (
                f"the search is over; when the study has ended, extend it: {self.again} --trials N"
            )
        return ""

    def reconfigure(self, config: StudyConfig, limits: "Limits") -> None:
        more = config.wanted - self.config.wanted
        # First, so that a full disk changes nothing.
        self.folder.write_config(config)
        super().reconfigure(config, limits)
        if self._phase == "search":
            limits.samples += more
            self._search_end = self._search_ends()

    def closing(self) -> None:
        state = self.session.state()
        trials = state.by_role("trial")
        race = race_note(race_of(self.config, state), len(trials))
        for note in filter(None, (passed_over_note(trials), race)):
            self.session.note(note)

    def _missing(self) -> int:
        ended = sum(record.finished for record in self.session.state().by_role("trial"))
        return max(0, self.config.wanted - ended)

    def _search_ends(self) -> float | None:
        """Seconds after the start at which the race's share of the time budget begins."""
        budget = self.config.time_budget
        if budget is None:
            return None
        passed = time.monotonic() - self.began
        share = share_of_search(self.config, self.session.state())
        return passed + share * max(0.0, budget - passed)

    def _time_left(self) -> float | None:
        """Seconds until the time budget is over; None without one."""
        return self._until(self.config.time_budget)

    def _search_time_left(self) -> float | None:
        return self._until(self._search_end)

    def _until(self, end: float | None) -> float | None:
        return None if end is None else max(0.0, end - (time.monotonic() - self.began))

    def _end_unfinished(self) -> None:
        """The time budget is over: what still ran has been stopped early, by the clock."""
        state = self.session.state()
        open_trials = [r for r in state.by_role("trial") if not r.finished]
        for record in open_trials:
            self.session.append(
                EndEvent(
                    record.key,
                    "pruned",
                    f"the time budget ended after {len(record.history)} epochs",
                    epochs_trained=record.epochs_trained,
                    first_injection_epoch=record.first_injection_epoch,
                )
            )
        ended = len(state.by_role("trial"))
        if open_trials or ended < self.config.wanted:
            self.session.note(
                f"the time budget of {self.config.time_budget:g} s ended the search after {ended} "
                f"of {self.config.wanted} trials; {len(open_trials)} of them were stopped by it"
            )
