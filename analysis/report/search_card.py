"""The card of a search that nothing has confirmed: what it says, and that luck may say it."""

from collections.abc import Iterator

from analysis.reading import StudyView
from analysis.report.card import OPEN, Card, command, seeds_text, untuned
from analysis.report.figures import better_by
from study.formats import seeds_named
from study.records.chance import chance_sentence
from study.records.indistinct import first_word, sharing_best
from study.records.summary import TrialSummary
from study.records.values import by_objective
from study.records.verdict import claims_gain, luck_sentence
from study.units import EQUAL, image_worth
from trainables.metrics import words_of


def search_card(view: StudyView) -> Card:
    """The card of a search that nothing has confirmed: what it says, and that luck may say it."""
    best = view.best
    confirm = command(view, "noise-study confirm")
    chips = tuple(_search_chips(view))
    if best is None or not view.summary.baseline:
        left = view.config.wanted - len(view.summary.trials)
        said = "No answer yet: no trial is complete." if best is None else _NO_BASELINE
        advice = f"{_GO_ON} {left} of {view.config.wanted} trials are left."
        resume = command(view, "noise-study resume")
        return Card(OPEN, "no answer yet", said, (), (), chips, advice, (resume,))
    if view.config.multi_objective:
        front = view.summary.best_ids
        said = f"Not confirmed: {len(front)} trials lie on the Pareto front of the search."
        return Card(OPEN, "not confirmed", said, (), (), chips, _CONFIRM, (confirm,))
    ahead = better_by(view, best)
    gained = ahead is not None and ahead > 0
    advice, commands = (_CONFIRM, (confirm,)) if gained else (_NOTHING, (_more(view),))
    if not view.over:
        advice, commands = _GO_ON, (command(view, "noise-study resume"),)
    unit = view.unit(view.config.objective[0])
    luck = luck_sentence(view.config, view.summary, best, unit)
    baselines = view.state.by_role("baseline")
    stuck = chance_sentence(baselines, view.summary.validation_images)
    return Card(
        OPEN,
        "not confirmed",
        _search_sentence(view, best, gained=gained),
        tuple(filter(None, (f"{luck[0].upper()}{luck[1:]}.", stuck))),
        tuple(_search_figures(view, best)),
        chips,
        advice,
        commands,
    )


_NO_BASELINE = "No answer yet: no baseline is complete."
_CONFIRM = "Next: only fresh seeds and the test set decide."
_NOTHING = "Next: search on, or take it that noise does not help here."
_GO_ON = "Next: let the study run to its end; if nothing runs it, resume it."


def _more(view: StudyView) -> str:
    return command(view, "noise-study resume", "--trials", f"+{view.config.trials}")


def _search_sentence(view: StudyView, best: TrialSummary, *, gained: bool) -> str:
    name = view.config.objective[0]
    unit, words = view.unit(name), words_of(name)
    first = first_word(view.config, view.summary.trials)
    difference, interval, n = _ahead(best)
    if difference is None:
        return f"Not confirmed: the {first} trial can't be compared with the baseline of its seed."
    lower = "" if view.config.train.metrics[name].mode == "max" else " (lower is better)"
    figures = f"{unit.difference(difference)} of {words}{lower}"
    if interval:
        figures += f", 95 % interval {unit.bounds(interval)}"
    figures += f", {seeds_text(n)}"
    if not gained:
        own = "equals it" if abs(difference) <= EQUAL else f"has {figures}"
        return f"No trial of the search beats the baseline: the {first} {own}."
    if claims_gain(view.config, view.summary):
        return f"Not confirmed, but promising: the search's {first} trial has {figures}."
    return f"Not shown, let alone confirmed: the search's {first} trial has {figures}."


def _ahead(best: TrialSummary) -> tuple[float | None, tuple[float, float] | None, int]:
    """Difference, its interval and seeds: of one that raced, after its last selection."""
    if best.place is None:
        return by_objective(best.paired_difference)[0], None, 1
    match best.interval:
        case [float() as low, float() as high]:
            interval: tuple[float, float] | None = (low, high)
        case _:
            interval = None
    return by_objective(best.mean_difference)[0], interval, best.n


def _search_figures(view: StudyView, best: TrialSummary) -> Iterator[tuple[str, str]]:
    name = view.config.objective[0]
    unit = view.unit(name)
    difference, interval, n = _ahead(best)
    yield f"{first_word(view.config, view.summary.trials)} trial", best.trial_id
    yield "difference", unit.difference(difference)
    yield "95 % interval", unit.bounds(interval)
    yield "seeds", str(n)
    known = [b.metrics.get(name) for b in view.summary.baseline]
    values = [value for value in known if value is not None]
    if values:
        yield "baseline", unit.value(sum(values) / len(values))
        if len(values) > 1:
            low, high = unit.value(min(values)), unit.value(max(values))
            yield "baseline over its seeds", f"{low.split(' ')[0]} to {high}"


def _search_chips(view: StudyView) -> Iterator[str]:
    yield "validation data"
    if view.complete:
        sharing = len(sharing_best(view.config, view.summary.trials))
        who = f"{sharing} share the best figure" if sharing else "best"
        yield f"{who} of {len(view.summary.trials)} trials"
    if view.best is not None and view.best.place is None:
        yield "one seed"
    yield from untuned(view)
    if view.best is not None and view.best.never_injected:
        yield "its noise never began"
    elif view.best is not None and view.best.seeds_without_noise:
        yield f"its noise never began on {seeds_named(view.best.seeds_without_noise)}"
    if not view.over:
        yield f"{len(view.summary.trials)} of {view.config.wanted} trials have ended"
    failed = sum(trial.state == "failed" for trial in view.summary.trials)
    if failed:
        yield f"{failed} failed"
    if view.best is not None:
        name = view.config.objective[0]
        images = view.summary.validation_images
        worth = image_worth(name, _ahead(view.best)[0], images, "validation")
        if worth:
            yield worth
