"""What a confirmation says, in sentences."""

from collections.abc import Iterator, Mapping

from analysis.confirm.model import SearchScore
from study.campaigns.confirm_plan import CONTROLS, ROLES
from study.campaigns.confirmation import Confirmation
from study.records.planned_run import Role
from study.records.summary import study_notes
from study.statistics.comparison import Comparison, Verdict, WinnersCurse
from trainables.metrics import METRICS

_NOISE_OF: dict[Role, str] = {
    "placebo": "the same noise at random epochs",
    "clock": "the same noise from the end of the warm-up on",
}
"""A control's role → what it has."""


def answer_sentences(
    trial: str,
    confirmation: Confirmation,
    ways: Mapping[str, dict[str, Comparison]],
    search: SearchScore,
    curse: WinnersCurse | None,
) -> Iterator[str]:
    """``ways``: the fields of ``ConfirmedTrial`` that compare → comparisons by metric."""
    decide_by = confirmation.decide_by
    metric = METRICS[decide_by].words
    decisive = {field: way[decide_by] for field, way in ways.items() if way}
    yield f"{trial}, {metric} beside the baseline: {decisive['against_baseline'].sentence()}."
    if confirmation.has_no_placebo(trial):
        neither = "neither placebo nor clock" if confirmation.config.clock else "no placebo"
        yield (
            f"{trial} can have {neither}: its noise fills the epochs after its warm-up. Whether "
            "its timing matters can't be told."
        )
    else:
        yield from _timing_sentences(trial, decisive, confirmation.own_clock(trial))
    if curse is not None:
        yield _curse_sentence(trial, search, curse)


def _timing_sentences(
    trial: str, decisive: Mapping[str, Comparison], own_clock: tuple[int, ...]
) -> Iterator[str]:
    """Was it the noise, its timing, or neither? What each control says, then both together."""
    gained = decisive["against_baseline"].verdict is Verdict.BETTER
    verdicts: dict[Role, Verdict] = {}
    for role in CONTROLS:
        beside = decisive.get(f"against_{role}")
        if beside is None or not beside.estimate.n:
            continue
        verdicts[role] = beside.verdict
        meaning = _meaning(role, beside.verdict, decisive[role].verdict, gained=gained)
        own = ""
        if role == "clock" and own_clock:
            seeds = "seed" if len(own_clock) == 1 else "seeds"
            own = f"it is its own clock on {seeds} {', '.join(map(str, own_clock))}; "
        yield (
            f"{trial} beside its {role}, {_NOISE_OF[role]}: {meaning} ({own}{beside.sentence()}; "
            f"{role} beside the baseline: {decisive[role].sentence()})."
        )
    if Verdict.BETTER in verdicts.values():
        yield _timing_sentence(trial, verdicts)


def _meaning(role: Role, beside: Verdict, control: Verdict, *, gained: bool) -> str:
    """What one control says; that it is beaten says something with the other control only."""
    if beside is Verdict.BETTER:
        return "it does better"
    if beside is Verdict.WORSE:
        return f"its {role} does better"
    if gained and control is Verdict.BETTER:
        return f"its {role} helps, too: its timing is not shown to matter"
    if gained:
        return "whether its timing matters, or just the noise, is not shown"
    return "neither noise nor its timing is shown to help"


def _timing_sentence(trial: str, verdicts: Mapping[Role, Verdict]) -> str:
    """Of a trial that beats a control: timing mattered if it beats both."""
    beaten = [role for role in CONTROLS if verdicts.get(role) is Verdict.BETTER]
    if len(beaten) == len(CONTROLS):
        return (
            f"When the noise of {trial} came mattered, not only that it came: it beats both its "
            "placebo and its clock."
        )
    (other,) = set(CONTROLS) - set(beaten)
    but = f"is not shown to beat its {other}"
    if other not in verdicts:
        but = f"was not held against its {other}"
    return (
        f"That the timing of {trial} matters is not shown: it beats its {beaten[0]}, but {but}, "
        f"{_NOISE_OF[other]}."
    )


def _curse_sentence(trial: str, search: SearchScore, curse: WinnersCurse) -> str:
    name = search.metric.replace("_", " ")
    text = (
        f"{trial} in the search: {name} {curse.score:.4f}, {curse.promised:+.4f} beside its "
        "baseline on one seed"
    )
    if curse.confirmed is None or curse.lost is None:
        return f"{text}; nothing is confirmed yet."
    text += f"; on fresh seeds {curse.confirmed:+.4f}"
    if curse.interval is not None:
        text += f" (95 % interval {curse.interval.low:+.4f} to {curse.interval.high:+.4f})"
    if curse.lost > 0:
        return f"{text}: {curse.lost:.4f} of what was promised is not confirmed (winner's curse)."
    return f"{text}: no less than was promised."


def missing_runs_text(confirmation: Confirmation) -> Iterator[str]:
    if not confirmation.finished:
        records = confirmation.state.trials.values()
        ended = sum(record.finished for record in records)
        left = sum(len(confirmation.missing(role)) for role in ROLES)
        yield (
            f"The confirmation is not finished: {ended} runs have ended, {left} can be trained "
            f"now. Go on with the same noise-study confirm {confirmation.study.name}."
        )
    for record in confirmation.failed():
        yield f"{record.key} failed: {record.reason}"


def footnotes(confirmation: Confirmation) -> Iterator[str]:
    yield from study_notes(confirmation.state)
    if confirmation.config.design is not None:
        yield (
            f"The number of seeds was decided by the {METRICS[confirmation.decide_by].words} "
            "beside the baseline (sequential design, alpha spending after Lan and DeMets 1983); "
            "the error level holds for that comparison, and only roughly for other metrics and for "
            "the controls."
        )
    if METRICS[confirmation.decide_by].weights == "best":
        yield (
            f"Decided by the {METRICS[confirmation.decide_by].words} of the weights with the best "
            "validation accuracy, as every study that was begun before --decide-by: it varies more "
            "between seeds than that of the final weights."
        )
    if not confirmation.config.clock:
        yield (
            "This confirmation was begun without clocks: timing was not held against the same "
            "noise from the end of the warm-up on. A placebo's noise begins later than that, and "
            "may look worse for it."
        )
