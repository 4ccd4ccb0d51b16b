"""What a search is made of: its space, its searcher, its trial scheduler."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search_spaces.ranged import CANNOT_BEGIN, why_not
from search_spaces.registry import possible_injections
from search_spaces.thresholds import about_a_signal, about_signals
from study.campaigns.baseline import DescribeRun
from study.campaigns.own_code import for_searcher
from study.campaigns.session import Session
from study.checks import checked_entry
from study.config import StudyConfig
from study.records.events import EndEvent
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import baseline_key
from study.records.race import knowing_nothing
from study.search.own_space import beginnings, space_of
from study.search.space import study_space
from trainables.errors import InputError
from trainables.metrics import METRICS

if TYPE_CHECKING:
    from search_spaces.calibration import CalibratedSpace
    from study.search.searcher import StudySearcher, WarmTrial
    from study.tune.early_stopping import EarlyStopping


PAIRED_IS_BETTER_IN = ("tail_val_loss",)
"""The objectives in which the paired rule kept the best trial more often than ASHA, with fewer
epochs, on each recorded table (``python -m benchmarks.early_decision``)."""


def earliest_injections(config: StudyConfig) -> list[int]:
    """The first epochs in which the trials' noise could begin."""
    if config.configs is None:
        return possible_injections(space_of(config), config.train)
    earliest = [
        checked_entry(config, index, entry).noise.earliest_injection()
        for index, entry in enumerate(config.configs)
    ]
    return [epoch for epoch in earliest if epoch is not None]


def searched_space(config: StudyConfig, session: Session) -> "CalibratedSpace":
    """What is searched, fixed now if it was not yet; with notes about it."""
    baselines = session.state().by_role("baseline")
    main = next(record for record in baselines if record.seed == config.train.seed)
    space = study_space(config, session.folder, main.history)
    for note in space.notes:
        session.note(note, aloud=not about_a_signal(note))
    said = about_signals(space.notes)
    if said:
        session.say(said)
    found = beginnings(config)
    if found is not None and found.without:
        session.note(
            f"at {found.without} of {found.points} points drawn from the space noise can't begin "
            f"({found.reason}); such a trial is pruned at once, and counts"
        )
    early = early_stopping_note(config)
    if early:
        session.note(early)
    return space


def early_stopping_note(config: StudyConfig) -> str:
    """What the reader must know of early stopping with these objectives; empty if nothing."""
    if config.multi_objective and config.early_stopping:
        return "two objectives: no trial is stopped early, there is no single best to lag"
    if config.early_stopping_rule == "paired" and config.objective != PAIRED_IS_BETTER_IN:
        return (
            f"--early-stopping-rule paired was found better than asha in {PAIRED_IS_BETTER_IN[0]}; "
            f"in {config.objective[0]} it may stop the best trial more often (docs/lab-notes.md)"
        )
    return ""


def warm_trials(
    config: StudyConfig, session: Session, space: "CalibratedSpace"
) -> "list[WarmTrial]":
    """What another study gives the sampler, with a note about it."""
    from study.search.warm_start import told_values, warm_start

    found = warm_start(config, session.folder, space)
    if found is None:
        return []
    session.note(found.note)
    baseline = session.state().trials[baseline_key(config.train.seed, config.code_changes)]
    return [
        (
            f"{found.study}/{point.trial}",
            point.params,
            told_values(point, config.objective, baseline),
        )
        for point in found.points
    ]


def searcher_that_fits(
    config: StudyConfig,
    session: Session,
    stopped: Collection[str] = (),
) -> "StudySearcher":
    """The searcher; if Optuna's journal is damaged or knows better, on a new journal."""
    from study.search.journal import replace_journal
    from study.search.searcher import StudySearcher

    space = searched_space(config, session)
    journal = session.folder.journal
    every = {record.key: record for record in session.whole_state().by_role("trial")}
    records = for_searcher(config, every)
    warm = warm_trials(config, session, space)

    def make() -> StudySearcher:
        return StudySearcher(
            config.name,
            journal,
            space.distributions,
            conditions=space.conditions,
            opening=space.opening,
            objectives=dict(zip(config.objective, config.modes, strict=True)),
            epochs=config.train.epochs,
            sampler=config.sampler,
            seed=config.train.seed,
            given=config.configs,
            records=records,
            stopped=stopped,
            warm=warm,
            pass_over=_PassOver(config, session),
        )

    try:
        searcher = make()
        wrong = searcher.contradictions()
        about = f"does not agree with the ledger about {', '.join(wrong)}" if wrong else ""
    except InputError:
        raise
    except Exception as error:
        # A changed byte in it may surface as any exception of Optuna's.
        if not journal.exists():
            raise
        about = f"is damaged ({type(error).__name__}: {error})"
    if not about:
        return searcher
    session.note(f"{journal.name} {about}; {replace_journal(journal)}")
    return _on_new_journal(make, session)


class _PassOver:
    """Whether noise can't begin at a point; then it is recorded as a trial that was pruned."""

    def __init__(self, config: StudyConfig, session: Session) -> None:
        self._train, self._session = config.train, session
        self._policy = space_of(config).policy

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles a searcher; nobody reads it."""
        return {}

    def __call__(self, key: str, overrides: Mapping[str, Any]) -> bool:
        from study.tune.jobs import tune_config

        why = why_not(self._train, {"noise/policy": self._policy, **overrides})
        if why:
            start = DescribeRun(self._train, self._policy)(tune_config(key, "trial", overrides))
            self._session.append(start, EndEvent(key, "pruned", f"{CANNOT_BEGIN}: {why}"))
        return bool(why)


def passed_over_note(trials: Sequence[TrialRecord]) -> str:
    """How many trials ended before they were trained, and why the first; empty where none did."""
    without = [r for r in trials if r.state == "pruned" and r.reason.startswith(CANNOT_BEGIN)]
    if not without:
        return ""
    first = min(without, key=lambda record: record.key)
    return (
        f"{len(without)} of {len(trials)} trials were pruned before they were trained, the first "
        f"is {first.key}: {first.reason}"
    )


def _on_new_journal(make: "Callable[[], StudySearcher]", session: Session) -> "StudySearcher":
    try:
        return make()
    except ValueError as error:
        # What does not fit now is held against the space.
        raise InputError(
            f"{session.folder.space}: a recorded trial lies outside of it ({error}); it is not the "
            "space that the study began with, take it from a copy"
        ) from None


def trial_scheduler(config: StudyConfig, state: LedgerState) -> "EarlyStopping | None":
    """What stops trials early, knowing what the ledger has; None where nothing does."""
    if not config.stops_early:
        return None
    records = {record.key: record for record in state.by_role("trial")}
    if config.early_stopping_rule == "paired":
        from study.tune.paired_stopping import PairedStopping

        baseline = state.trials[baseline_key(config.train.seed, config.code_changes)]
        paired = PairedStopping(
            config.objective[0],
            baseline.history,
            guess=knowing_nothing(baseline, config.objective[0]),
            mode=config.modes[0],
        )
        paired.replay(records)
        return paired
    from study.tune.early_stopping import ForkAwareASHA

    first = min([*earliest_injections(config), config.train.epochs])
    scheduler = ForkAwareASHA(
        config.objective[0],
        epochs=config.train.epochs,
        grace_period=first + 1 + config.grace,
        reduction_factor=config.reduction_factor,
        mode=config.modes[0],
    )
    scheduler.replay(records, config.grace)
    return scheduler


def asked(config: StudyConfig) -> str:
    """What a study asks, in a sentence."""
    train = config.train
    what = space_of(config).description
    if config.ranges:
        what += f"; ranges of its own: {', '.join(config.ranges)}"

    def objective(name: str) -> str:
        # What everybody knows needs no explanation.
        if name in METRICS or name not in train.metrics:
            return name
        metric = train.metrics[name]
        better = "more" if metric.mode == "max" else "less"
        return f"{name} (in {metric.unit}, {better} is better)"

    tuned = ", tuned first" if config.tune_baseline else ""
    optimizer = train.optimizer
    subset = train.data.subset
    part = f", {100 * subset:.4g} % of its training images" if subset < 1 else ""
    how = f" ({optimizer.optimizer}, learning rate {optimizer.lr:g}{tuned}{part})"
    how = how if train.task.name is None else ""
    return (
        f"Does noise help {train.what} within {train.epochs} epochs{how}? "
        f"Searched for {' and '.join(map(objective, config.objective))}; "
        f"search space '{config.space}': {what}."
    )
