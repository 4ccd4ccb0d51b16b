"""What a summary says of a race: each trial's runs, what is shown of them, and the yardstick."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from study.config import StudyConfig
from study.formats import PLAIN, Figures
from study.records.race import RaceEntry
from study.records.values import ResultPart
from study.statistics.race import Race, paired_spread, without_effect


class YardstickSummary(ResultPart):
    """What the race's winner shows, beside what it would show if no trial had an effect.

    ``share``: of races without any effect, how many show as much; ``spread``: the standard
    deviation of differences to the baseline over seeds.
    """

    expected_best_without_effect: float
    observed: float
    sentence: str
    winner: str = ""
    trials: int = 0
    share: float = 0.0
    spread: float = 0.0


def raced_figures(config: StudyConfig, raced: RaceEntry) -> dict[str, Any]:
    """The fields of a trial's summary that the race fills in."""
    return {
        "runs": raced.runs,
        "n": min(map(len, raced.fresh), default=0),
        "mean_difference": _listed(config, [_mean(column) for column in raced.fresh]),
        "interval": _listed(config, [_interval(column) for column in raced.fresh]),
        "ranked_by": raced.ranked_by,
        "stages": raced.stages,
        "place": raced.place,
    }


def _listed(config: StudyConfig, parts: list[Any]) -> Any:
    """One objective's part, or the list of them; None where any is missing."""
    if any(part is None for part in parts):
        return None
    return parts if config.multi_objective else parts[0]


def _mean(differences: Sequence[float]) -> float | None:
    return math.fsum(differences) / len(differences) if differences else None


def _interval(differences: Sequence[float]) -> list[float] | None:
    """Student's interval for the mean; a point where all differences are equal."""
    if len(differences) < 2:
        return None
    if len(set(differences)) == 1:
        return [differences[0], differences[0]]
    from study.statistics.estimate import estimate

    found = estimate(differences, resamples=0).t_interval
    return None if found is None else [found.low, found.high]


def yardstick(
    config: StudyConfig, race: Race | None, raced: Mapping[str, RaceEntry]
) -> YardstickSummary | None:
    """Only a race that is over has measured how much paired differences vary over seeds."""
    if race is None or race.winner is None or config.multi_objective:
        return None
    names = [name for name in race.field if race.reached[name]]
    gains = {name: race.results.over(name, range(1, race.stages[-1].seeds + 1)) for name in names}
    spread = paired_spread([[g[0] for g in found if g is not None] for found in gains.values()])
    observed = raced[race.winner].ranked_by
    if spread is None or not isinstance(observed, float):
        return None
    sign = 1 if config.modes[0] == "max" else -1
    luck = without_effect(len(race.field), race.stages)
    share = luck.share_above(sign * observed / spread) if spread else float(sign * observed <= 0)
    expected = sign * luck.mean * spread
    found = YardstickSummary(
        expected_best_without_effect=expected,
        observed=observed,
        sentence="",
        winner=race.winner,
        trials=len(race.field),
        share=share,
        spread=spread,
    )
    return found.model_copy(update={"sentence": yardstick_sentence(found)})


def yardstick_sentence(found: YardstickSummary, figures: Figures = PLAIN) -> str:
    reached = "none of" if found.share == 0 else f"{found.share:.1%} of"
    expected, observed = found.expected_best_without_effect, found.observed
    return (
        f"without any effect the best of {found.trials} trials would show "
        f"{figures.difference(expected)} on average by the same race; {found.winner} shows "
        f"{figures.difference(observed)}, as much as {reached} such races (differences to the "
        f"baseline vary by {figures.size(found.spread)} over seeds)"
    )
