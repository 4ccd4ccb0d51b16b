"""How often a confirmation errs, and what it finds: ``python -m benchmarks.verdicts``.

Made-up paired differences go through the rules as array code, and some of them through the
project's own functions, which must answer the same. Differences are in units of their spread.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.simulated_confirmations import (
    BETTER,
    EQUIVALENT,
    NO_NOISE,
    UNDECIDED,
    WORSE,
    Confirmations,
    Draws,
    Flags,
    Floats,
)
from study.formats import markdown_table
from study.statistics.answers import COLLAPSE_ALPHA, Answer, Decision, Ground, decisions
from study.statistics.design import EQUIVALENCE_ALPHA, SET_ASIDE, ConfirmationDesign
from study.statistics.estimate import ALPHA
from study.statistics.looks import Evidence
from study.statistics.paired import Paired
from study.statistics.sequential import look_schedule

MARGIN = 0.75
SMALL_MARGIN = 0.1
EFFECTS = (0.0, MARGIN / 2, 0.5, MARGIN, 1.0, 2.0)
MOST = 20
COLLAPSED = -20.0
"""A collapse lies far below all else."""

DESIGNS = {
    "fixed, 6": ConfirmationDesign((6,)),
    "sequential, 6..20": ConfirmationDesign(look_schedule(6, MOST)),
    "extended, 6 + up to 14": ConfirmationDesign((6,), set_aside=SET_ASIDE, extended_to=MOST),
}
SEQUENTIAL = "sequential, 6..20"
BINDING_OFF = "sequential, no futility"
EXTENDABLE = "sequential, extendable"
MORE_DESIGNS = {
    BINDING_OFF: replace(DESIGNS[SEQUENTIAL], futility=False),
    EXTENDABLE: replace(DESIGNS[SEQUENTIAL], set_aside=SET_ASIDE),
}
SHAPES = ("normal", "heavy tails", "steps of 1/2", "60 % zeros")
ERRORS = ("false better", "false worse", "false equivalent")
ALLOWED = 3.5
"""Standard errors of the simulation by which an error may exceed its nominal level."""


@dataclass(frozen=True)
class Cell:
    shape: str
    design: str
    configurations: int
    effect: float
    margin: float = MARGIN

    @property
    def plan(self) -> ConfirmationDesign:
        return {**DESIGNS, **MORE_DESIGNS}[self.design]

    @cached_property
    def effects(self) -> Floats:
        """By configuration; in a mixed family the first has none."""
        effects = np.full(self.configurations, self.effect)
        if self.shape.startswith("mixed"):
            effects[0] = 0.0
        return effects


def cells() -> Iterator[Cell]:
    for design, shape, count in itertools.product(DESIGNS, SHAPES, (1, 3)):
        yield from (Cell(shape, design, count, effect) for effect in EFFECTS)
    for design, count in itertools.product(DESIGNS, (1, 3)):
        yield Cell("10 % collapses", design, count, 0.0)
        yield Cell("30 % collapses on both sides", design, count, 0.0)
        yield Cell("worst 16 % diverge", design, count, 0.0)
        yield Cell("worst 16 % lost", design, count, 0.0)
    for design in DESIGNS:
        yield Cell("steps of 1", design, 1, 0.0)
        yield Cell("steps of 1", design, 1, MARGIN)
        yield from (Cell("mixed, normal", design, 3, effect) for effect in (MARGIN, 2.0))
    for design, count in itertools.product((SEQUENTIAL, BINDING_OFF), (1, 3)):
        small = (Cell("normal", design, count, d, SMALL_MARGIN) for d in (0.0, 1.0, -0.5, -1.0))
        yield from small
    for effect in (0.0, MARGIN, 1.0):
        yield Cell("normal", EXTENDABLE, 1, effect)


def draws(cell: Cell, repetitions: int, seed: int) -> Draws:
    """Differences of configurations that share a baseline: they correlate with 1/2."""
    random = np.random.default_rng(seed)
    size = (repetitions, cell.configurations, MOST)
    own, shared = random.standard_normal(size), random.standard_normal((size[0], 1, MOST))
    noise = own if cell.configurations == 1 else (own + shared) / np.sqrt(2)
    effects = cell.effects[:, None]
    there, noisy = np.ones(size, dtype=bool), np.ones(size, dtype=bool)
    collapsed, other = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    if cell.shape == "heavy tails":
        # A multivariate t of 3 degrees of freedom, of variance 1.
        noise = noise / np.sqrt(random.chisquare(3, (size[0], 1, MOST)))
    values = noise + effects
    if cell.shape.startswith("steps of"):
        step = 0.5 if cell.shape.endswith("1/2") else 1.0
        values = np.round(values / step) * step
    elif cell.shape == "60 % zeros":
        noisy = random.random(size) < 0.4
        values = np.where(noisy, noise + effects / 0.4, 0.0)
    elif "collapses" in cell.shape:
        collapsed = random.random(size) < (0.3 if "both" in cell.shape else 0.1)
        if "both" in cell.shape:
            other = np.broadcast_to(random.random((size[0], 1, MOST)) < 0.3, size)
        values = np.where(collapsed == other, noise, np.where(collapsed, COLLAPSED, -COLLAPSED))
    elif cell.shape.startswith("worst 16 %"):
        there = noise > -1.0
        collapsed = ~there if cell.shape.endswith("diverge") else collapsed
    return Draws(values, there, noisy, collapsed, other)


@dataclass(frozen=True)
class Result:
    """Shares over the repetitions; errors are those of any configuration of the family."""

    cell: Cell
    repetitions: int
    better: float
    worse: float
    equivalent: float
    no_noise: float
    false_better: float
    false_worse: float
    false_equivalent: float
    seeds: float

    def errors(self) -> dict[str, tuple[float, float]]:
        """Error that can be made here → its share and its nominal level."""
        shares = (self.false_better, self.false_worse, self.false_equivalent)
        both = "both" in self.cell.shape
        # Where both sides collapse the test on collapses errs beside the t test.
        nominal = (ALPHA / 2, ALPHA / 2 + COLLAPSE_ALPHA * both, EQUIVALENCE_ALPHA)
        return {
            name: (share, level)
            for name, share, level, could in zip(
                ERRORS, shares, nominal, wrong_answers(self.cell), strict=True
            )
            if could.any()
        }

    def excess(self) -> list[str]:
        """The errors that lie above their nominal levels by more than chance."""
        return [
            f"{self.cell}: {name} {share:.4f}, nominal {level}"
            for name, (share, level) in self.errors().items()
            if share > level + ALLOWED * float(np.sqrt(level * (1 - level) / self.repetitions))
        ]


def wrong_answers(cell: Cell) -> tuple[Flags, Flags, Flags]:
    """Of which configurations better, worse and equivalent would be false.

    What alone collapses is worse by its collapses: then ``better`` is false, ``worse`` is not. What
    is equivalent is so where it does not collapse.
    """
    worse = cell.shape in ("10 % collapses", "worst 16 % diverge")
    effects = cell.effects
    return effects <= 0, (effects >= 0) & (not worse), np.abs(effects) >= cell.margin


def summarised(cell: Cell, found: Confirmations) -> Result:
    answer = found.answer
    shares = {
        name: float(((answer == code) & wrong).any(axis=1).mean())
        for name, code, wrong in zip(
            ERRORS, (BETTER, WORSE, EQUIVALENT), wrong_answers(cell), strict=True
        )
    }
    return Result(
        cell,
        len(answer),
        better=float((answer == BETTER).mean()),
        worse=float((answer == WORSE).mean()),
        equivalent=float((answer == EQUIVALENT).mean()),
        no_noise=float((answer == NO_NOISE).mean()),
        false_better=shares["false better"],
        false_worse=shares["false worse"],
        false_equivalent=shares["false equivalent"],
        seeds=float(found.seeds.mean()),
    )


def disagreements(cell: Cell, drawn: Draws, found: Confirmations, cases: int) -> int:
    """In how many of the first cases the project's own functions answer otherwise."""
    wrong = 0
    for case in range(cases):
        family = {
            str(which): _evidence(drawn, case, which, int(found.seeds[case, which]))
            for which in range(cell.configurations)
        }
        own = decisions(family, cell.plan, margin=cell.margin, higher_is_better=True)
        wrong += any(
            _code(own[str(which)]) != found.answer[case, which]
            or own[str(which)].seeds_wanted != found.seeds[case, which]
            for which in range(cell.configurations)
        )
    return wrong


def _evidence(drawn: Draws, case: int, which: int, count: int) -> Evidence:
    """What a confirmation has in the end: the seeds that it was told to train, no others."""

    def seeds(flags: Flags) -> frozenset[int]:
        return frozenset(np.flatnonzero(flags[case, which, :count]).tolist())

    values = drawn.values[case, which, :count].tolist()
    there = drawn.there[case, which, :count].tolist()
    differences = tuple(v if known else None for v, known in zip(values, there, strict=True))
    return Evidence(
        Paired(tuple(range(count)), differences),
        collapsed=seeds(drawn.collapsed),
        baseline_collapsed=seeds(drawn.baseline_collapsed),
        without_noise=seeds(~drawn.noisy),
    )


def _code(own: Decision) -> int:
    if own.ground in (Ground.NO_NOISE, Ground.ALL_ZERO):
        return NO_NOISE
    codes = {Answer.BETTER: BETTER, Answer.WORSE: WORSE, Answer.EQUIVALENT: EQUIVALENT}
    return codes.get(own.answer, UNDECIDED)


def table(results: list[Result]) -> str:
    """A table a design; shares in per cent, an error that can't be made is left empty."""
    header = ["differences", "m", "effect", "better", "worse", "equivalent", "never began"]
    header += [*ERRORS, "seeds"]
    tables = []
    for design in dict.fromkeys(result.cell.design for result in results):
        rows = [_row(result) for result in results if result.cell.design == design]
        tables.append(f"### {design}\n\n{markdown_table(header, rows)}\n")
    return "\n".join(tables)


def _row(result: Result) -> list[str]:
    cell, made = result.cell, result.errors()
    errors = [f"{100 * made[name][0]:.2f}" if name in made else "" for name in ERRORS]
    margin = "" if cell.margin == MARGIN else f", margin {cell.margin:g}"
    shares = (result.better, result.worse, result.equivalent, result.no_noise)
    answers = [f"{100 * share:.1f}" for share in shares]
    named = [cell.shape + margin, str(cell.configurations), f"{cell.effect:g}"]
    return [*named, *answers, *errors, f"{result.seeds:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20_000)
    parser.add_argument("--check", type=int, default=1000, help="cases a cell, by own functions")
    parser.add_argument("--only", default="", help="cells whose description contains this")
    given = parser.parse_args()
    results, wrong, designs = [], 0, [*DESIGNS, *MORE_DESIGNS]
    for seed, cell in enumerate(cells()):
        if given.only not in str(cell):
            continue
        drawn = draws(cell, given.repetitions, seed)
        found = Confirmations(drawn, cell.plan, cell.margin).run()
        results.append(summarised(cell, found))
        wrong += disagreements(cell, drawn, found, min(given.check, given.repetitions))
    print(table(sorted(results, key=lambda result: designs.index(result.cell.design))))
    excess = [line for result in results for line in result.excess()]
    print(f"\n{len(results)} cells; cases answered otherwise by the project's functions: {wrong}")
    print("errors above nominal by more than 3.5 standard errors:", *(excess or ["none"]), sep="\n")


if __name__ == "__main__":
    main()
