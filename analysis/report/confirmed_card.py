"""The card of a confirmation: of that of its configurations whose verdict is best."""

from collections.abc import Iterator, Sequence
from statistics import fmean

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
from study.records.chance import NeverLearned
from study.records.planned_run import Role
from study.statistics.answer_words import percent
from study.statistics.answers import Ground
from study.statistics.estimate import Interval
from study.statistics.pairing_gain import times
from study.units import Unit, image_worth, unit_of
from trainables.metrics import words_of

_WORTH_PAIRS = 1.05
"""A gain from which pairs spared seeds that can be counted."""
_NAMED = 2
"""Seeds that a chip names."""
_CONTROLS = "A placebo is the same noise at random epochs, a clock that from the warm-up's end on."


def confirmed_card(
    view: StudyView,
    report: ConfirmReport,
    test_images: int | None,
    stuck: NeverLearned | None = None,
) -> Card:
    """The card of a confirmation: of that of its configurations whose verdict is best.

    ``stuck``: its baselines that never learned.
    """
    trial = next(t for t in report.trials if t.trial == report.pairing_gain.trial)
    unit = unit_of(report.decide_by, test_images, view.config.train.metrics)
    words = words_of(report.decide_by)
    tone = _tone(trial)
    lines = [] if stuck is None else [stuck.sentence]
    lines += [_timing(trial)] if tone == HELPED else []
    if tone == OPEN and trial.n:
        lines.append(f"Why it is not decided: {trial.reason or trial.verdict}.")
        size = unit.difference(report.margin, "")
        lines += [
            f"A {what} that matters ({size} or more) lies outside its 95 % interval."
            for what in _ruled_out(trial, report)
        ]
    with_noise, without = _means(trial, report)
    figures = [
        ("configuration", trial.trial),
        ("with noise", unit.value(with_noise)),
        ("without noise", unit.value(without)),
        ("tested on", f"{trial.n} new seed{'s' * (trial.n != 1)}"),
        ("a difference matters from", unit.difference(report.margin, "")),
        ("pairing was worth", _pairing(trial)),
    ]
    if tone in (HELPED, SAME) and trial.collapse_bound is not None:
        # Both words are about runs that do not collapse.
        figures.append(("runs that collapse", f"≤ {percent(trial.collapse_bound)} (95 %)"))
    return Card(
        tone,
        _word(tone, trial, report),
        _confirmed_sentence(trial, unit, words, report, stuck),
        tuple(lines),
        tuple(figures),
        tuple(_confirmed_chips(view, report, trial, test_images)),
        *_confirmed_advice(view, report, trial, tone, stuck),
    )


def _means(trial: ConfirmedTrial, report: ConfirmReport) -> tuple[float | None, float | None]:
    """Of the configuration and of its baseline, over the seeds on which both have a value."""
    row = trial.against_baseline.get(report.decide_by)
    baseline = report.baseline.get(report.decide_by)
    if row is None or baseline is None:
        return None, None
    pairs = [
        (value + ahead, value)
        for seed, ahead in row.differences.items()
        if ahead is not None and (value := baseline.values.get(seed)) is not None
    ]
    if not pairs:
        return None, None
    with_noise, without = (fmean(values) for values in zip(*pairs, strict=True))
    return with_noise, without


def _ruled_out(trial: ConfirmedTrial, report: ConfirmReport) -> list[str]:
    """What of a gain and a loss that matter lies outside the interval."""
    if trial.interval is None:
        return []
    low, high = trial.interval
    gain, loss = (high, -low) if _is_higher(trial, report) else (-low, high)
    return [what for what, most in (("gain", gain), ("loss", loss)) if most < report.margin]


def _no_gain(trial: ConfirmedTrial, report: ConfirmReport) -> bool:
    """Whether an answer that is not decided leaves room for harm alone.

    Not on the way, nor where seeds are lost or were added: the interval is no answer there.
    """
    harm_alone = all(_ruled_out(each, report) == ["gain"] for each in report.trials)
    return report.finished and trial.reason == Ground.NOT_SHOWN and harm_alone


def _word(tone: str, trial: ConfirmedTrial, report: ConfirmReport) -> str:
    undecided = "no gain" if _no_gain(trial, report) else "not decided"
    return {HELPED: "helped", HARMED: "harmed", SAME: "no difference"}.get(tone, undecided)


def _tone(trial: ConfirmedTrial) -> str:
    return trial.verdict if trial.verdict in (HELPED, HARMED, SAME) else OPEN


def _is_higher(trial: ConfirmedTrial, report: ConfirmReport) -> bool:
    row = trial.against_baseline.get(report.decide_by)
    return row is None or row.better == "higher"


def _confirmed_sentence(
    trial: ConfirmedTrial,
    unit: Unit,
    words: str,
    report: ConfirmReport,
    stuck: NeverLearned | None,
) -> str:
    if trial.mean_difference is None:
        return "Not decided: no fresh seed has a difference yet."
    lower = "" if _is_higher(trial, report) else " (lower is better)"
    text = f"{unit.difference(trial.mean_difference)} of {words}{lower}"
    if trial.interval:
        text += f", 95 % interval {unit.bounds(trial.interval)}"
    text += f", {seeds_text(trial.n)}"
    tone = _tone(trial)
    if tone == SAME:
        within = f"within ±{unit.difference(report.margin, '')}"
        return f"Noise made no difference worth having: {text}; {within}."
    helped = "Noise helped"
    if stuck is not None and stuck.everywhere:
        helped += " a training that never learns without it"
    open_answer = "Whether noise helps is not decided"
    if _no_gain(trial, report):
        open_answer = "Noise brought no gain that matters, whether it harms is not decided"
    said = {HELPED: helped, HARMED: "Noise harmed"}.get(tone, open_answer)
    return f"{said}: {text}."


def _timing(trial: ConfirmedTrial) -> str:
    """Whether it was the noise's timing; of a configuration that helped."""
    if trial.clock is not None and trial.clock.sentence:
        return (
            "Its timing mattered, too: it beats the same noise at random epochs (its placebo), and "
            "from the warm-up's end on (its clock)."
        )
    controls: tuple[tuple[Role, Contrast | None], ...] = (
        ("placebo", trial.placebo),
        ("clock", trial.clock),
    )
    if not any(draws for _, draws in controls):
        return (
            "Whether its timing mattered can't be told: the same noise was not tried at other "
            "epochs."
        )
    untold = [
        f"it has no {role}" if draws is None else draws.objection(role) for role, draws in controls
    ]
    if any(untold):
        why = ", and ".join(filter(None, untold))
        return f"Whether its timing mattered can't be told: {why}. {_CONTROLS}"
    return "Its timing made no difference shown: what helped may be the noise alone."


def _pairing(trial: ConfirmedTrial) -> str:
    found = trial.pairing_gain
    if found.gain is None:
        return f"not known: {found.sentence.partition(': ')[2]}"
    worth = times(found.gain, found.interval and Interval(*found.interval))
    if found.gain < _WORTH_PAIRS:
        return f"hardly any seeds: {worth}"
    return worth


def _confirmed_chips(
    view: StudyView, report: ConfirmReport, trial: ConfirmedTrial, test_images: int | None
) -> Iterator[str]:
    yield from untuned(view)
    place = report.registered
    if place is None:
        yield "not in the count of confirmations"
    elif place.ordinal > 1:
        yield f"{ordinal(place.ordinal)} confirmation on these test images"
    if place is not None and place.readings:
        yield f"test images read {_times(place.readings)} outside confirmations"
    if len(report.trials) > 1:
        yield f"best of {len(report.trials)} configurations"
    done = sum(value is not None for value in _differences(trial, report))
    for what, seeds in (
        ("never began", trial.seeds_without_noise),
        ("the same noise as its clock", trial.own_clock),
    ):
        if seeds:
            yield f"{what} on {_which(seeds, len(_differences(trial, report)))}"
    for who, seeds in (("with", trial.collapsed), ("without", trial.baseline_collapsed)):
        if seeds:
            of = len(_differences(trial, report))
            yield f"{who} noise collapsed on {len(seeds)} of {of} seeds"
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
    view: StudyView,
    report: ConfirmReport,
    trial: ConfirmedTrial,
    tone: str,
    stuck: NeverLearned | None,
) -> tuple[str, tuple[str, ...]]:
    again = command(view, "noise-study confirm")
    if not report.finished:
        return "Next: let the confirmation go on.", (again,)
    if tone == HELPED:
        return _advice_if_helped(view, stuck)
    if tone == HARMED:
        return "Next: train without this noise here.", ()
    if tone == SAME:
        return "Next: train without noise here: what it gives is less than is worth having.", ()
    return _advice_if_open(trial, report), ()


def _advice_if_open(trial: ConfirmedTrial, report: ConfirmReport) -> str:
    if _no_gain(trial, report):
        said = "more seeds would only tell no difference from harm"
        return f"Next: train without this noise here; {said}."
    more = trial.more_seeds
    if more is None:
        return "Next: nothing that more of these seeds would settle; see the reason above."
    kept = "" if report.extendable else " in a new study (added after a look they mislead)"
    said = f"{more.sentence[0].upper()}{more.sentence[1:]}"
    return f"Next: more seeds{kept}. {said}."


def _advice_if_helped(view: StudyView, stuck: NeverLearned | None) -> tuple[str, tuple[str, ...]]:
    if stuck is not None and stuck.everywhere and list(untuned(view)):
        return (
            "Next: a study whose baseline is tuned first (--tune-baseline): is it stuck, too?",
            (),
        )
    return (
        "Next: train with it, or register its weights.",
        (
            command(view, "noise-analysis export"),
            command(view, "noise-analysis export", "--register", "MODEL"),
        ),
    )
