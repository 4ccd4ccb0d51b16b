"""One wave of workers trains all phases of a campaign, one phase after the other."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from study.campaigns.baseline import DescribeRun, baseline_histories, baseline_tests
from study.campaigns.phase import Phase, fatal_failure, fatal_message
from study.campaigns.trial_spec import trial_spec
from study.errors import StudyFailedError
from study.records.ledger_view import recorded
from study.tune.capacity import capacity
from study.tune.early_stopping import WarmWorkers
from study.tune.jobs import ListSearcher
from study.tune.ledger_callback import LedgerCallback
from study.tune.limits import Began, EachStep, Limits
from study.tune.retries import SaysRetries
from study.tune.runner import run_trials
from study.tune.stages import Stage, Stages

if TYPE_CHECKING:
    import ray

    from study.campaigns.campaign import Campaign


class Wave:
    """The phases of a campaign, and the ledger's callback that hears of their trainings."""

    def __init__(
        self,
        campaign: "Campaign[Any, Any]",
        phases: Iterator[Phase],
        attend: Callable[[Limits], None],
        datasets: "dict[str, ray.ObjectRef]",
        began: Callable[[], None],
    ) -> None:
        """``attend`` acts on what was asked of the campaign, in each step of Tune.

        ``began`` is called when a worker begins with a training.
        """
        self._campaign = campaign
        self._phases = phases
        self._attend = attend
        self._datasets = datasets
        self._began = began
        self._phase: Phase | None = None
        self._ledger: LedgerCallback | None = None
        self._error: Exception | None = None

    @property
    def error(self) -> Exception | None:
        """The first one that kept something from being recorded."""
        return self._error or (self._ledger.error if self._ledger else None)

    def train(self) -> None:
        """Train all phases to their end.

        One run of Tune does, unless a phase ends by the clock: then what follows it needs another.
        """
        while (stage := self._next()) is not None:
            self._train_from(stage)

    def _train_from(self, stage: Stage) -> None:
        campaign = self._campaign
        stages = Stages(stage, self._follow)
        ledger = self._ledger
        assert ledger is not None
        attend = EachStep(lambda: self._attend(stages.now.limits))
        retries = SaysRetries(campaign.session.say, campaign.folder.ray_log)
        try:
            run_trials(
                campaign.config, stages, callbacks=[ledger, attend, retries, Began(self._began)]
            )
        finally:
            self._error, self._ledger = self.error, None
            if ledger.removed is not None:
                raise ledger.removed
            cut_short = self._leave()
        if stages.error is not None:
            raise stages.error
        if cut_short is not None:
            self._check_ended(cut_short)

    def _follow(self) -> Stage | None:
        """End the phase that is over; what comes after it."""
        assert self._ledger is not None
        self._ledger.settle()
        ended = self._leave()
        assert ended is not None
        self._check_ended(ended)
        return self._next()

    def _leave(self) -> Phase | None:
        """The phase that ran, after what is done at its end."""
        phase, self._phase = self._phase, None
        if phase is not None:
            phase.at_end()
        return phase

    def _next(self) -> Stage | None:
        """The next phase as Tune sees it; None if there is none."""
        self._phase = phase = next(self._phases, None)
        if phase is None:
            return None
        campaign = self._campaign
        config, state = campaign.config, campaign.session.state()
        known = (
            DescribeRun(config.train, campaign.policy),
            baseline_histories(state),
            baseline_tests(state),
        )
        if self._ledger is None:
            self._ledger = LedgerCallback(campaign.folder.ledger, *known, campaign.stopped)
        else:
            self._ledger.go_on(*known)
        scheduler = phase.scheduler or WarmWorkers()
        self._ledger.reasons = scheduler.reasons
        samples = phase.samples or len(phase.runs)
        concurrent = min(capacity(config).concurrent, samples)
        return Stage(
            phase.searcher or ListSearcher(phase.runs),
            Limits(samples, concurrent, phase.time_left, campaign.stopped),
            trial_spec(
                config,
                campaign.folder,
                state,
                policy=campaign.policy,
                datasets=self._datasets,
                own=phase.spec,
            ),
            scheduler,
            phase.failed,
        )

    def _check_ended(self, phase: Phase) -> None:
        state = self._campaign.session.state()
        # Trials start from these runs: the whole history of each is needed.
        whole = phase.needed == "all"
        records = {run.key: state.trials.get(run.key) for run in phase.runs}
        lost = [
            key
            for key, record in records.items()
            if not (recorded(record) if whole else record is not None and record.finished)
        ]
        if lost:
            self._campaign.fail_unrecorded(
                f"{len(lost)} runs have no recorded end, the first is {lost[0]}"
            )
        failed = fatal_failure(phase, state)
        if failed is not None:
            raise StudyFailedError(fatal_message(phase, failed))
