"""A study's race, as its ledger says it is: who takes part, who is where, what is missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.config import StudyConfig
from study.records.ledger_view import LedgerState, TrialRecord, complete_baseline, recorded
from study.records.planned_run import PlannedRun, baseline_run, seeded_key
from study.records.seeds import race_seeds
from study.records.values import ResultPart, Value, by_objective, differences_to_baseline, value_of
from study.statistics.pareto import front
from study.statistics.race import Gain, Race, Results, by_gain, race, rungs
from trainables.metric_config import recorded_metrics
from trainables.metrics import DIVERGED, METRICS, guessing

CUT_SHORT = "ended the race before it was over"
"""How the time budget's note says it: the runs that it stopped have no end."""

_TIE_BREAK = "tail_val_loss"


def seed_numbers(config: StudyConfig) -> tuple[int, ...]:
    """The seeds of a race by number: the search's own, then those of the race."""
    return (config.train.seed, *race_seeds(config.train.seed, config.most_race_seeds - 1))


def race_of(config: StudyConfig, state: LedgerState) -> Race | None:
    """The race of a study; None if it has none.

    All complete trials whose noise began take part, in a study of two objectives those on the
    Pareto front. A trial that was stopped early was not seen to the end; one whose noise never
    began is its baseline on this seed.
    """
    if config.most_race_seeds == 1:
        return None
    baselines = _whole_baselines(state)
    gains = {
        record.key: gain
        for record in state.by_role("trial")
        if record.state == "complete" and record.first_injection_epoch is not None
        if (gain := _gain(config, record, baselines.get(record.baseline))) is not None
    }
    order = _by_front if config.multi_objective else by_gain
    field = order(gains)
    if config.multi_objective:
        field = _front(gains, field)
    results = _results(config, state, baselines, {name: gains[name] for name in field})
    return race(field, rungs(len(field), config.most_race_seeds), results, order)


def _whole_baselines(state: LedgerState) -> dict[str, TrialRecord]:
    """Complete baselines by digest, without those of which epochs were lost."""
    return {r.baseline: r for r in state.by_role("baseline") if complete_baseline(r)}


def _results(
    config: StudyConfig,
    state: LedgerState,
    baselines: Mapping[str, TrialRecord],
    searched: Mapping[str, Gain],
) -> Results:
    seeds = seed_numbers(config)
    number_of = {seed: number for number, seed in enumerate(seeds)}
    gains: dict[str, dict[int, Gain | None]] = {name: {0: g} for name, g in searched.items()}
    for record in state.by_role("race"):
        name = trial_of(record)
        number = number_of.get(record.seed)
        beside = baselines.get(record.baseline)
        # Without its baseline, whose lines may be damaged, a run says nothing yet.
        if recorded(record) and name in gains and number is not None and beside is not None:
            gains[name][number] = _gain(config, record, beside)
    failed = {r.seed for r in state.by_role("baseline") if r.state == "failed"}
    void = frozenset(number_of[seed] for seed in failed if seed in number_of)
    return Results(gains, void)


def trial_of(record: TrialRecord) -> str:
    """The trial whose configuration a run of the race has."""
    return record.key.removesuffix(seeded_key("", record.seed))


def _gain(config: StudyConfig, record: TrialRecord, baseline: TrialRecord | None) -> Gain | None:
    """By how much a run is better than its baseline; the tail's loss parts those alike."""
    wanted = raced_difference(config.objective, record, baseline)
    # A task need not say what loss a model has that guesses: then the loss parts nothing.
    parts = by_objective(raced_difference((_TIE_BREAK,), record, baseline))[0] or 0.0
    differences = (*by_objective(wanted, len(config.objective)), parts)
    gains: list[float] = []
    for name, difference in zip((*config.objective, _TIE_BREAK), differences, strict=True):
        if difference is None:
            return None
        gains.append(difference if config.train.metrics[name].mode == "max" else -difference)
    return tuple(gains)


def raced_difference(
    objectives: Sequence[str], record: TrialRecord, baseline: TrialRecord | None
) -> Value:
    """A run's difference to its baseline; one that diverged counts as a model that guesses.

    Left out, it would flatter what diverges now and then; as a loss without bounds it would hide
    what lifts a training from chance on nearly every seed. None where there is no difference.
    """
    if record.state != "failed":
        return differences_to_baseline(objectives, record, baseline)[0]
    if not record.reason.startswith(DIVERGED) or baseline is None:
        return None
    known = by_objective(value_of(objectives, baseline.history), len(objectives))
    found = []
    for name, beside in zip(objectives, known, strict=True):
        guess = knowing_nothing(record, name)
        if guess is None or beside is None:
            return None
        found.append(guess - beside)
    return found if len(found) > 1 else found[0]


def knowing_nothing(record: TrialRecord, objective: str) -> float | None:
    """An objective's value for a model that knows nothing: as it is declared, where it is."""
    if record.config.get("task") or objective not in METRICS:
        return recorded_metrics(record.config)[objective].worst
    classes = record.config["data"].get("classes")
    return guessing(objective, len(classes)) if classes else None


def _front(gains: Mapping[str, Gain], names: Sequence[str]) -> list[str]:
    """Those on the Pareto front of both objectives; what breaks ties is left out."""
    return front({name: gains[name][:2] for name in names})


def _by_front(gains: Mapping[str, Gain]) -> list[str]:
    """Those on the Pareto front first, then those on the front of the rest, and so on."""
    left = [name for name in by_gain(gains) if gains[name][:1] != (-math.inf,)]
    lost = [name for name in gains if name not in left]
    found: list[str] = []
    while left:
        best = _front(gains, left)
        found += best
        left = [name for name in left if name not in best]
    return found + lost


def planned_runs(config: StudyConfig, state: LedgerState, policy: str) -> list[PlannedRun]:
    """What the race's present stage lacks, the baselines first; ``policy``: the space's."""
    found = race_of(config, state)
    if found is None:
        return []
    seeds = seed_numbers(config)
    missing = [(name, seeds[number]) for name, number in found.missing]
    # What has lost epochs, because lines of the ledger are damaged, is trained again.
    ended = {key for key, record in state.trials.items() if recorded(record)}
    baselines = [
        baseline_run(seed, config.code_changes)
        for seed in dict.fromkeys(seed for _, seed in missing)
    ]
    runs = [
        PlannedRun("race", name, seed, {"noise/policy": policy, **_changes(state.trials[name])})
        for name, seed in missing
    ]
    return [run for run in (*baselines, *runs) if run.key not in ended]


def _changes(trial: TrialRecord) -> dict[str, Any]:
    return {path: value for path, value in trial.overrides.items() if path != "seed"}


class RunSummary(ResultPart):
    """One training of a trial's configuration, beside the baseline of its seed.

    ``without_noise``: it is complete, and its noise never began: it equals its baseline.
    """

    seed: int
    value: Value
    paired_difference: Value
    state: str
    without_noise: bool = False


@dataclass(frozen=True)
class RaceEntry:
    """What a race says of one trial.

    Attributes:
        runs: all of its configuration's, the search's first.
        fresh: the differences after its last selection, a list for each objective.
        ranked_by: the mean difference that it was ranked by, which flatters it.
        stages: how many stages it entered.
        place: from 1; None if none of its runs in the race has ended.
    """

    runs: tuple[RunSummary, ...]
    fresh: tuple[tuple[float, ...], ...]
    ranked_by: Value
    stages: int
    place: int | None


def entries(config: StudyConfig, state: LedgerState, race: Race | None) -> dict[str, RaceEntry]:
    """What the race says of each trial that has ended; without a race, of its one run."""
    baselines = _whole_baselines(state)
    runs: dict[str, list[RunSummary]] = {}
    for record in (*state.by_role("trial"), *state.by_role("race")):
        if not record.finished:
            continue
        name = record.key if record.role == "trial" else trial_of(record)
        runs.setdefault(name, []).append(
            RunSummary(
                seed=record.seed,
                value=value_of(config.objective, record.history),
                paired_difference=raced_difference(
                    config.objective, record, baselines.get(record.baseline)
                ),
                state=str(record.state),
                without_noise=(record.state == "complete" and record.first_injection_epoch is None),
            )
        )
    seeds = seed_numbers(config)
    return {name: _entry(config, name, found, race, seeds) for name, found in runs.items()}


def _entry(
    config: StudyConfig,
    name: str,
    runs: Sequence[RunSummary],
    race: Race | None,
    seeds: Sequence[int],
) -> RaceEntry:
    fresh, ranked_by = range(1), range(1)
    stages, place = 0, None
    if race is not None and any(run.seed != seeds[0] for run in runs) and name in race.reached:
        # A stage that has begun for others counts once it has a run of this one.
        known = {seeds.index(run.seed) for run in runs if run.seed in seeds}
        stages = race.reached[name]
        if known.isdisjoint(race.fresh(name)):
            stages -= 1
        fresh, ranked_by = race.fresh_in(stages), race.ranked_by_in(stages)
        place = race.order.index(name) + 1

    def over(numbers: Sequence[int]) -> tuple[tuple[float, ...], ...]:
        wanted = {seeds[number] for number in numbers}
        rows = [
            by_objective(run.paired_difference, len(config.objective))
            for run in runs
            if run.seed in wanted
        ]
        columns = zip(*rows, strict=True) if rows else [()] * len(config.objective)
        return tuple(tuple(v for v in column if v is not None) for column in columns)

    means = [math.fsum(column) / len(column) for column in over(ranked_by) if column]
    whole = len(means) == len(config.objective)
    mean: Value = (means if config.multi_objective else means[0]) if whole else None
    in_order = sorted(runs, key=lambda run: (run.seed != seeds[0], run.seed))
    return RaceEntry(tuple(in_order), over(fresh), mean, stages, place)
