"""The card of a grid: how far noise is ahead of the baselines, and that nothing is confirmed."""

import shlex
from collections.abc import Iterator, Sequence

from analysis.reading import GridView
from analysis.report.card import OPEN, Card, seeds_text
from analysis.report.grid_compared import GRID_WORDS, GridComparison
from study.records.planned_run import BASELINE
from study.units import image_worth

_NEXT = (
    "Next: a grid compares on validation data, without a correction for how much it compares. Run "
    "noise-study run with the settings of the group that matters, then noise-study confirm: only "
    "fresh seeds and the test set decide."
)
_GO_ON = "Next: let the grid run to its end; if nothing runs it, the same command goes on with it."


def grid_card(view: GridView, compared: Sequence[GridComparison]) -> Card:
    known = [each for each in compared if each.mean is not None]
    chips = tuple(_chips(view, known))
    commands = () if view.over else (_again(view),)
    advice = _NEXT if view.over else _GO_ON
    if not known:
        said = "No answer yet: no run with noise is complete beside its baseline."
        return Card(OPEN, "no answer yet", said, (), (), chips, advice, commands)
    unit, best, worst = view.unit("val_accuracy"), known[0], known[-1]
    ahead = sum((each.mean or 0.0) > 0 for each in known)
    above = sum(each.interval is not None and each.interval[0] > 0 for each in known)
    said = (
        f"Not confirmed: noise is ahead of its baseline in {ahead or 'none'} of {len(known)} "
        f"comparisons of {GRID_WORDS}"
    )
    said += f"; the 95 % interval lies above zero in {above or 'none'} of them." if ahead else "."
    lines = tuple(
        f"{words}: {each.name}, {unit.difference(each.mean)}"
        + (f", 95 % {unit.bounds(each.interval)}" if each.interval else "")
        + f", {seeds_text(len(each.by_seed))}."
        for words, each in (("Farthest ahead", best), ("Farthest behind", worst))
        if (each.mean or 0.0) * (1 if each is best else -1) > 0
    )
    groups = sum(row.noise == BASELINE for row in view.result.table)
    figures = (
        ("comparisons", f"{len(known)} of {len(compared)}"),
        ("groups", str(groups)),
        ("noise ahead in", str(ahead)),
        ("interval above zero", str(above)),
        ("seeds", str(len(view.config.seeds))),
    )
    return Card(OPEN, "not confirmed", said, lines, figures, chips, advice, commands)


def _again(view: GridView) -> str:
    return shlex.join(["noise-study", "experiment", "--config", str(view.folder.experiment)])


def _chips(view: GridView, known: Sequence[GridComparison]) -> Iterator[str]:
    yield "validation data"
    yield "untuned baselines"
    if len(known) > 1:
        yield f"{len(known)} comparisons, uncorrected"
    if len(view.config.seeds) == 1:
        yield "one seed"
    idle = sum(len(each.without_noise) for each in known)
    runs = sum(run.noise != BASELINE and run.state == "complete" for run in view.result.runs)
    if idle:
        yield f"noise never began in {idle} of {runs} runs"
    if not view.over:
        yield "not finished"
    if view.result.failed:
        yield f"{len(view.result.failed)} failed"
    images, smallest = view.result.validation_images, view.result.smallest_difference
    worth = image_worth("final_val_accuracy", smallest, images, "validation")
    if worth:
        yield worth
