"""What a confirmation says, in sentences."""

from collections.abc import Iterator, Sequence

from analysis.confirm.model import SearchScore
from study.campaigns.confirm_plan import DECIDING, ROLES
from study.campaigns.confirmation import Confirmation
from study.records.summary import study_notes
from study.statistics.comparison import Comparison, Verdict, WinnersCurse


def answer_sentences(
    trial: str,
    confirmation: Confirmation,
    three: Sequence[dict[str, Comparison]],
    search: SearchScore,
    curse: WinnersCurse | None,
) -> Iterator[str]:
    against_baseline, placebo, against_placebo = three
    metric = DECIDING.replace("_", " ")
    yield f"{trial}, {metric} beside the baseline: {against_baseline[DECIDING].sentence()}."
    if confirmation.has_no_placebo(trial):
        yield (
            f"{trial} can have no placebo: its noise fills the epochs after its warm-up. Whether "
            "its timing matters can't be told."
        )
    elif against_placebo and against_placebo[DECIDING].estimate.n:
        yield _placebo_sentence(
            trial, against_baseline[DECIDING], placebo[DECIDING], against_placebo[DECIDING]
        )
    if curse is not None:
        yield _curse_sentence(trial, search, curse)


def _placebo_sentence(
    trial: str, beside_baseline: Comparison, placebo: Comparison, beside_placebo: Comparison
) -> str:
    """Three ways: was it the noise, its timing, or neither?"""
    gained = beside_baseline.verdict is Verdict.BETTER
    if beside_placebo.verdict is Verdict.BETTER:
        meaning = "when its noise came mattered, not only that it came"
    elif beside_placebo.verdict is Verdict.WORSE:
        meaning = "the same noise at random epochs does better"
    elif gained and placebo.verdict is Verdict.BETTER:
        meaning = "the same noise at random epochs helps, too: its timing is not shown to matter"
    elif gained:
        meaning = "whether its timing matters, or just the noise, is not shown"
    else:
        meaning = "neither noise nor its timing is shown to help"
    return (
        f"{trial} beside its placebo, the same noise at random epochs: {meaning} "
        f"({beside_placebo.sentence()}; placebo beside the baseline: {placebo.sentence()})."
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
            "The number of seeds was decided by the test accuracy beside the baseline (sequential "
            "design, alpha spending after Lan and DeMets 1983); the error level holds for that "
            "comparison, and only roughly for other metrics and for placebos."
        )
