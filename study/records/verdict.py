"""What a study's end says of its best trial: on the terminal, in reports, in MLflow."""

from collections.abc import Sequence

from study.config import StudyConfig
from study.formats import PLAIN, Figures, seeds_named
from study.records.events import TIE
from study.records.indistinct import indistinct, tie_sentence
from study.records.race import RunSummary
from study.records.race_summary import yardstick_sentence
from study.records.summary import Summary, TrialSummary
from study.records.values import by_objective

_LEAST_EQUAL = 6
"""Equal differences, of whole images say, have no spread: signs alone tell, 0.5⁶ < 2.5 %."""


def verdict(
    config: StudyConfig, summary: Summary, best: TrialSummary, figures: Figures = PLAIN
) -> list[str]:
    """What the study's end says of its best trial, and why it does not say more."""
    raced = race_sentence(best, config.objective[0], figures)
    difference = by_objective(best.shown_difference)[0]
    if difference is None:
        return []
    ahead = beats_baseline(config, best)
    lines = [] if ahead else ["no trial beats the baseline"]
    if raced:
        how = "won the race" if summary.race_complete else "leads the race, which is not over"
        lines.append(f"{best.trial_id} {how}: {raced}")
    elif not lines:
        seeds = "one seed" if best.place is None else "the seeds so far"
        lines.append(f"{best.trial_id} is ahead by {figures.size(difference)} on {seeds}")
    if ahead or raced or summary.yardstick:
        lines.append(luck_sentence(config, summary, best, figures))
    else:
        # One line of the terminal's few.
        lines[0] += f"; luck's share is unknown: {_no_yardstick(config, summary, best)}"
    return [*lines, *indistinct(config, summary, figures)]


def beats_baseline(config: StudyConfig, best: TrialSummary) -> bool:
    """Whether the best trial is ahead by what is said of it."""
    difference = by_objective(best.shown_difference)[0]
    sign = 1 if config.modes[0] == "max" else -1
    return difference is not None and sign * difference > 0


def claims_gain(config: StudyConfig, summary: Summary) -> bool:
    """Whether a study claims that its best trial beats the baseline.

    Only by the seeds after its last selection, and only if their 95 % interval lies above zero: a
    claim without any effect is then as rare as one in forty.
    """
    named = [trial for trial in summary.trials if trial.trial_id in summary.best_ids]
    best = next((trial for trial in named if trial.place == 1), None)
    interval = best.first_interval if best else None
    if best is None or interval is None or not summary.race_complete:
        return False
    if any(_lost(run) for run in best.runs):
        return False
    if min(interval) == max(interval) and best.n < _LEAST_EQUAL:
        return False
    return min(interval) > 0 if config.modes[0] == "max" else max(interval) < 0


def luck_sentence(
    config: StudyConfig, summary: Summary, best: TrialSummary, figures: Figures = PLAIN
) -> str:
    """What the luckiest trial would show without any effect, or why that is not known."""
    if summary.yardstick:
        return yardstick_sentence(summary.yardstick, figures)
    why = _no_yardstick(config, summary, best)
    return f"what the luckiest trial would show without any effect is not known: {why}"


def _no_yardstick(config: StudyConfig, summary: Summary, best: TrialSummary) -> str:
    """Why there is none."""
    if config.multi_objective:
        return "with two objectives there is no single best"
    if summary.race_complete is False:
        return "the race is not over"
    if best.place is None:
        return "no race (--race-seeds)"
    return "the race has too few seeds to say how much differences vary (--race-seeds)"


def trial_tags(trial: TrialSummary) -> dict[str, str]:
    """What MLflow shows of a trial that raced; nothing of one that did not."""
    if trial.place is None or trial.mean_difference is None:
        return {}
    known = (value for value in by_objective(trial.mean_difference) if value is not None)
    means = ", ".join(f"{value:.6g}" for value in known)
    interval = trial.first_interval
    return {
        "race_place": str(trial.place),
        "race_n": str(trial.n),
        "race_mean_difference": means,
        "race_interval": f"{interval[0]:.6g} to {interval[1]:.6g}" if interval else "",
    }


def race_sentence(trial: TrialSummary, objective: str, figures: Figures = PLAIN) -> str:
    """What the race shows of a trial, in a sentence; empty for one that it never selected."""
    shown = by_objective(trial.mean_difference)[0]
    flattering = by_objective(trial.ranked_by)[0]
    if trial.place is None or shown is None or flattering is None:
        return ""
    interval = trial.first_interval
    between = f", 95 % {_between(interval, figures)}" if interval else ""
    seeds = f"{trial.n} seeds" if trial.n > 1 else "the one seed"
    lost = sum(map(_lost, trial.runs))
    diverged = sum(run.state == "failed" for run in trial.runs) - lost
    told = f"; {diverged} of its {len(trial.runs)} runs diverged and count as guessing"
    left_out = f"; {lost} of its {len(trial.runs)} runs failed otherwise and are left out"
    idle, equal = trial.seeds_without_noise, ""
    if idle:
        equal = f"; its noise never began on {seeds_named(idle)}, where it equals its baseline"
    return (
        f"{objective} {figures.difference(shown)} beside the baseline on {seeds} after its last "
        f"selection{between}; the mean that it was ranked by, {figures.difference(flattering)}, "
        f"flatters it{told if diverged else ''}{left_out if lost else ''}{equal}"
    )


def _lost(run: RunSummary) -> bool:
    """Whether it failed for another reason than that it diverged."""
    return run.state == "failed" and run.paired_difference is None


def _between(interval: Sequence[float], figures: Figures) -> str:
    low, high = interval
    return f"{figures.difference(low)} to {figures.difference(high)}"


def end_tags(config: StudyConfig, summary: Summary) -> dict[str, str]:
    """What MLflow shows of the race and of ties; empty texts take the place of an earlier end's."""
    best = next((t for t in summary.trials if t.place == 1), None)
    sentence = race_sentence(best, config.objective[0]) if best else ""
    return {
        "race": f"{best.trial_id}: {sentence}" if best and sentence else "",
        TIE: tie_sentence(config, summary),
        "yardstick": summary.yardstick.sentence if summary.yardstick else "",
    }
