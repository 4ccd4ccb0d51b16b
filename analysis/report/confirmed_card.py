"""The card of a confirmation: of that of its configurations whose verdict is best."""

from collections.abc import Iterator, Sequence

from analysis.confirm.model import ConfirmedTrial, ConfirmReport
from analysis.reading import StudyView
from analysis.report.card import (
    HARMED,
    HELPED,
    OPEN,
    SAME,
    Card,
    command,
    seeds_text,
    untuned,
)
from study.campaigns.confirm_register import ordinal
from study.campaigns.contrast import Contrast
from study.records.planned_run import Role
from study.units import Unit, image_worth, unit_of
from trainables.metrics import words_of

_MANY = 100
_NAMED = 2
"""Seeds that a chip names."""


def confirmed_card(view: StudyView, report: ConfirmReport, test_images: int | None) -> Card:
    """The card of a confirmation: of that of its configurations whose verdict is best."""
    trial = next(t for t in report.trials if t.trial == report.pairing_gain.trial)
    unit = unit_of(report.decide_by, test_images, view.config.train.metrics)
    words = words_of(report.decide_by)
    tone = trial.verdict if trial.verdict in (HELPED, HARMED, SAME) else OPEN
    lines = [_timing(trial)] if tone == HELPED else []
    if tone == OPEN and trial.reason:
        lines.append(f"Why it is not decided: {trial.reason}.")
    elif tone == OPEN and trial.n:
        lines.append(f"Why it is not decided: {trial.verdict}.")
    baseline = report.baseline.get(report.decide_by)
    figures = [
        ("configuration", trial.trial),
        ("difference", unit.difference(trial.mean_difference)),
        ("95 % interval", unit.bounds(trial.interval)),
        ("fresh seeds", str(trial.n)),
        ("baseline", unit.value(baseline.mean if baseline else None)),
        ("worth having from", unit.difference(report.margin, "")),
        ("pairing by seed", _pairing(trial)),
    ]
    return Card(
        tone,
        {HELPED: "helped", HARMED: "harmed", SAME: "no difference"}.get(tone, "not decided"),
        _confirmed_sentence(trial, tone, unit, words, report),
        tuple(lines),
        tuple(figures),
        tuple(_confirmed_chips(view, report, trial, test_images)),
        *_confirmed_advice(view, report, trial, tone),
    )


def _is_higher(trial: ConfirmedTrial, report: ConfirmReport) -> bool:
    row = trial.against_baseline.get(report.decide_by)
    return row is None or row.better == "higher"


def _confirmed_sentence(
    trial: ConfirmedTrial, tone: str, unit: Unit, words: str, report: ConfirmReport
) -> str:
    if trial.mean_difference is None:
        return "Not decided: no fresh seed has a difference yet."
    lower = "" if _is_higher(trial, report) else " (lower is better)"
    text = f"{unit.difference(trial.mean_difference)} of {words}{lower}"
    if trial.interval:
        text += f", 95 % {unit.bounds(trial.interval)}"
    text += f", {seeds_text(trial.n)}"
    if tone == SAME:
        within = f"within ±{unit.difference(report.margin, '')}"
        return f"Noise made no difference worth having: {text}; {within}."
    said = {HELPED: "Noise helped", HARMED: "Noise harmed"}.get(
        tone, "Whether noise helps is not decided"
    )
    return f"{said}: {text}."


def _timing(trial: ConfirmedTrial) -> str:
    """Whether it was the noise's timing; of a configuration that helped."""
    if trial.clock is not None and trial.clock.sentence:
        return (
            "Its timing mattered, too: it beats the same noise at random epochs and by the clock."
        )
    controls: tuple[tuple[Role, Contrast | None], ...] = (
        ("placebo", trial.placebo),
        ("clock", trial.clock),
    )
    if not any(draws for _, draws in controls):
        return "Whether its timing mattered can't be told: it has neither placebo nor clock."
    untold = [
        f"it has no {role}" if draws is None else draws.objection(role) for role, draws in controls
    ]
    if any(untold):
        why = ", and ".join(filter(None, untold))
        return f"Whether its timing mattered can't be told: {why}."
    return "Its timing made no difference shown: what helped may be the noise alone."


def _pairing(trial: ConfirmedTrial) -> str:
    found = trial.pairing_gain
    if found.gain is None:
        return "not known"
    gain = f"{found.gain:.3g}" if found.gain < _MANY else f"{found.gain:,.0f}"
    return f"worth {gain} times the seeds"


def _confirmed_chips(
    view: StudyView, report: ConfirmReport, trial: ConfirmedTrial, test_images: int | None
) -> Iterator[str]:
    yield from untuned(view)
    place = report.registered
    if place is None:
        yield "not in the register of confirmations"
    elif place.ordinal > 1:
        yield f"{ordinal(place.ordinal)} confirmation on these test images"
    if place is not None and place.readings:
        yield f"test images read {_times(place.readings)} besides"
    if len(report.trials) > 1:
        yield f"best of {len(report.trials)} configurations"
    done = sum(value is not None for value in _differences(trial, report))
    for what, seeds in (
        ("never began", trial.seeds_without_noise),
        ("its own clock", trial.own_clock),
    ):
        if seeds:
            yield f"{what} on {_which(seeds, len(_differences(trial, report)))}"
    for who, seeds in (("", trial.collapsed), ("baseline ", trial.baseline_collapsed)):
        if seeds:
            yield f"{who}collapsed on {len(seeds)} of {len(_differences(trial, report))}"
    lost = len(_differences(trial, report)) - done
    if lost:
        yield f"no difference on {seeds_text(lost)}"
    if not report.finished:
        yield "not finished"
    if report.judged == "as_before":
        yield "judged as an earlier version began it"
    worth = image_worth(report.decide_by, trial.mean_difference, test_images, "test")
    if worth:
        yield worth


def _differences(trial: ConfirmedTrial, report: ConfirmReport) -> list[float | None]:
    row = trial.against_baseline.get(report.decide_by)
    return list(row.differences.values()) if row else []


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _which(seeds: Sequence[int], of: int) -> str:
    """``seed 3``; of more than two how many."""
    if len(seeds) > _NAMED:
        return f"{len(seeds)} of {of} seeds"
    return f"seed{'s' * (len(seeds) > 1)} {' and '.join(map(str, seeds))}"


def _confirmed_advice(
    view: StudyView, report: ConfirmReport, trial: ConfirmedTrial, tone: str
) -> tuple[str, tuple[str, ...]]:
    again = command(view, "noise-study confirm")
    if not report.finished:
        return "Next: let the confirmation go on.", (again,)
    if tone == HELPED:
        return (
            "Next: train with it, or register its weights.",
            (
                command(view, "noise-analysis export"),
                command(view, "noise-analysis export", "--register", "MODEL"),
            ),
        )
    if tone == HARMED:
        return "Next: train without this noise here.", ()
    if tone == SAME:
        return "Next: train without noise here: what it gives is less than is worth having.", ()
    more = trial.more_seeds
    if more is None:
        return "Next: nothing that more of these seeds would settle; see the reason above.", ()
    kept = "" if report.extendable else " in a confirmation of a new study, for a kept error level"
    return f"Next: more seeds{kept}. {more.sentence[0].upper()}{more.sentence[1:]}.", ()
