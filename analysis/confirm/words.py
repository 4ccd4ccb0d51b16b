"""What a confirmation says, in sentences."""

from collections.abc import Iterator, Mapping

from analysis.confirm.model import SearchScore
from study.campaigns.campaign import command
from study.campaigns.confirm_plan import CONTROLS, ROLES
from study.campaigns.confirmation import Confirmation
from study.campaigns.contrast import contrast_of, objections, why_no_placebo
from study.campaigns.verdicts import Judgement
from study.formats import PLAIN, Figures
from study.records.planned_run import Role
from study.records.summary import study_notes
from study.statistics.comparison import WinnersCurse
from study.units import image_worth, unit_of

_NOISE_OF: dict[Role, str] = {
    "placebo": "the same noise at random epochs",
    "clock": "the same noise from the end of the warm-up on",
}
"""A control's role → what it has."""


def answer_sentences(
    trial: str,
    confirmation: Confirmation,
    said: Mapping[str, Judgement],
    search: SearchScore,
    curse: WinnersCurse | None,
) -> Iterator[str]:
    """``said``: the fields of ``ConfirmedTrial`` that compare → what is said of the trial there."""
    metric, judged = confirmation.deciding.words, said["against_baseline"]
    yield f"{trial}, {metric} beside the baseline: {judged.sentence}."
    images = confirmation.test_images
    worth = image_worth(confirmation.decide_by, judged.mean_difference, images, "test")
    if worth:
        yield f"{trial}: {worth}."
    yield f"{trial} and its baseline: {confirmation.pairing_gain(trial).sentence()}."
    yield from _no_placebo(trial, confirmation)
    if confirmation.config.placebo_rule == "matched":
        for role in CONTROLS:
            yield from _contrast_sentence(trial, confirmation, role)
    yield from _timing_sentences(trial, said, confirmation)
    if curse is not None:
        metrics = confirmation.study.train.metrics
        unit = unit_of(search.metric, confirmation.validation_images, metrics)
        # What an earlier version began reads as it did there.
        before = confirmation.config.judged == "as_before"
        yield _curse_sentence(trial, search, curse, PLAIN if before else unit)


def _no_placebo(trial: str, confirmation: Confirmation) -> Iterator[str]:
    reason = why_no_placebo(confirmation, trial)
    if not reason:
        return
    neither = "neither placebo nor clock"
    clock = confirmation.config.clock and not confirmation.has_no("clock", trial)
    none = neither if confirmation.config.clock and not clock else "no placebo"
    yield f"{trial} can have {none}: {reason}. Whether its timing matters can't be told."


def _contrast_sentence(trial: str, confirmation: Confirmation, role: Role) -> Iterator[str]:
    """How much of the trial's noise a control has."""
    found = contrast_of(confirmation, role, trial)
    if found is None:
        return
    low, high = (f"{ratio:.3g}" for ratio in found.dose_ratio_range)
    among = f" ({low} to {high})" if low != high else ""
    trained = found.realised_dose_ratio
    after = "" if trained is None else f", {trained:.3g} times as trained"
    draws = f", {found.draws} draws a seed" if found.draws > 1 else ""
    without = ""
    if found.without:
        seeds = "seed" if len(found.without) == 1 else "seeds"
        without = f"; none on {seeds} {', '.join(map(str, found.without))}"
    yield (
        f"The {role} of {trial}{draws}: {found.dose_ratio:.3g} times its dose of noise as "
        f"planned{among}{after}, noise in {found.overlap:.0%} of its own noisy epochs{without}."
    )


def _timing_sentences(
    trial: str, said: Mapping[str, Judgement], confirmation: Confirmation
) -> Iterator[str]:
    """Was it the noise, its timing, or neither? What each control says, then both together."""
    gained = said["against_baseline"].better
    own_clock, objected = confirmation.own_clock(trial), objections(confirmation, trial)
    verdicts: dict[Role, Judgement] = {}
    for role in CONTROLS:
        beside = said.get(f"against_{role}")
        if beside is None or not beside.n:
            continue
        verdicts[role] = beside
        effect = said[f"{role}_effect"]
        meaning = _meaning(role, beside, effect, gained=gained)
        if objected:
            # Timing takes both controls: where one can't tell, the other says nothing by itself.
            meaning = "of its timing this says nothing"
        own = ""
        if role == "clock" and own_clock:
            seeds = "seed" if len(own_clock) == 1 else "seeds"
            own = f"it is its own clock on {seeds} {', '.join(map(str, own_clock))}; "
        yield (
            f"{trial} beside its {role}, {_NOISE_OF[role]}: {meaning} ({own}{beside.sentence}; "
            f"{role} beside the baseline: {effect.sentence})."
        )
    if verdicts and objected:
        yield (
            f"Whether the timing of {trial} matters can't be told: "
            f"{', and '.join(objected.values())}."
        )
    elif why_no_placebo(confirmation, trial):
        return
    elif any(found.better for found in verdicts.values()):
        yield _timing_sentence(trial, verdicts)


def _meaning(role: Role, beside: Judgement, control: Judgement, *, gained: bool) -> str:
    """What one control says; that it is beaten says something with the other control only."""
    if beside.better:
        return "it does better"
    if beside.worse:
        return f"its {role} does better"
    if gained and beside.equivalent:
        return f"its {role} does as well, within the margin: its timing is not shown to matter"
    if gained and control.better:
        return f"its {role} helps, too: its timing is not shown to matter"
    if gained:
        return "whether its timing matters, or just the noise, is not shown"
    return "neither noise nor its timing is shown to help"


def timing_claim(trial: str) -> str:
    """What is said of a trial that beats both its controls (``timing_shown``)."""
    return (
        f"When the noise of {trial} came mattered, not only that it came: it beats both its "
        "placebo and its clock."
    )


def _timing_sentence(trial: str, verdicts: Mapping[Role, Judgement]) -> str:
    """Of a trial that beats a control: timing mattered if it beats both."""
    beaten = [role for role in CONTROLS if role in verdicts and verdicts[role].better]
    if len(beaten) == len(CONTROLS):
        return timing_claim(trial)
    (other,) = set(CONTROLS) - set(beaten)
    but = f"is not shown to beat its {other}"
    if other not in verdicts:
        but = f"was not held against its {other}"
    return (
        f"That the timing of {trial} matters is not shown: it beats its {beaten[0]}, but {but}, "
        f"{_NOISE_OF[other]}."
    )


def _curse_sentence(trial: str, search: SearchScore, curse: WinnersCurse, unit: Figures) -> str:
    name = search.metric.replace("_", " ")
    text = (
        f"{trial} in the search: {name} {unit.value(curse.score)}, "
        f"{unit.difference(curse.promised)} beside its baseline on one seed"
    )
    if curse.confirmed is None or curse.lost is None:
        return f"{text}; nothing is confirmed yet."
    text += f"; on fresh seeds {unit.difference(curse.confirmed)}"
    if curse.interval is not None:
        text += f" (95 % interval {unit.bounds((curse.interval.low, curse.interval.high))})"
    if curse.lost > 0:
        lost = unit.size(curse.lost)
        return f"{text}: {lost} of what was promised is not confirmed (winner's curse)."
    return f"{text}: no less than was promised."


def missing_runs_text(confirmation: Confirmation) -> Iterator[str]:
    if not confirmation.finished:
        records = confirmation.state.trials.values()
        ended = sum(record.finished for record in records)
        left = sum(len(confirmation.missing(role)) for role in ROLES)
        yield (
            f"The confirmation is not finished: {ended} runs have ended, {left} can be trained "
            f"now. Go on with: {command('confirm', confirmation.study)}"
        )
    for record in confirmation.failed():
        yield f"{record.key} failed: {record.reason}"


def footnotes(confirmation: Confirmation) -> Iterator[str]:
    yield from study_notes(confirmation.state)
    config = confirmation.config
    if config.judged == "as_before":
        yield "This confirmation was begun by an earlier version: it is judged as it was begun."
    if config.looks is not None:
        yield (
            f"The number of seeds was decided by the {confirmation.deciding.words} "
            "beside the baseline (sequential design, alpha spending after Lan and DeMets 1983); "
            "the error level holds for that comparison, and only roughly for other metrics and for "
            "the controls."
        )
    if confirmation.deciding.weights == "best":
        before = ", as every study that was begun before --decide-by"
        yield (
            f"Decided by the {confirmation.deciding.words} of the weights with the best "
            f"validation accuracy{before if config.judged == 'as_before' else ''}: it varies more "
            "between seeds than that of the final weights."
        )
    if confirmation.config.placebo_rule != "matched":
        yield (
            "This confirmation was begun when placebos were not matched in dose: their noise has "
            "the recorded magnitudes at any learning rate, one placebo a seed."
        )
    if not confirmation.config.clock:
        yield (
            "This confirmation was begun without clocks: timing was not held against the same "
            "noise from the end of the warm-up on. A placebo's noise begins later than that, and "
            "may look worse for it."
        )
