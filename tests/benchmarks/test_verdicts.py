"""The simulated confirmations: array code and the project's own functions answer alike."""

import dataclasses

import numpy as np
import pytest

from benchmarks.simulated_confirmations import BETTER, WORSE, Confirmations
from benchmarks.verdicts import (
    MARGIN,
    Cell,
    cells,
    disagreements,
    draws,
    summarised,
    table,
    wrong_answers,
)
from study.statistics.design import ConfirmationDesign

SHORT = ConfirmationDesign((6, 9))


@dataclasses.dataclass(frozen=True)
class ShortCell(Cell):
    """Two looks: the levels of many take seconds to calculate."""

    @property
    def plan(self) -> ConfirmationDesign:
        return SHORT


@pytest.mark.parametrize(
    "shape",
    [
        "normal",
        "steps of 1",
        "60 % zeros",
        "10 % collapses",
        "worst 16 % lost",
        "worst 16 % diverge",
    ],
)
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_both_answer_alike(shape: str, effect: float) -> None:
    for cell in (
        ShortCell(shape, "short", 2, effect),
        Cell(shape, "extended, 6 + up to 14", 3, effect),
    ):
        drawn = draws(cell, 60, 1)
        found = Confirmations(drawn, cell.plan, MARGIN).run()
        assert disagreements(cell, drawn, found, 60) == 0
        # The comparison would notice an answer that differs.
        found.answer[0] = (found.answer[0] + 1) % 5
        assert disagreements(cell, drawn, found, 1) == 1


def test_both_give_what_collapses_by_the_planned_end_no_further_seed() -> None:
    cell = Cell("normal", "extended, 6 + up to 14", 2, 0.0)
    drawn = draws(cell, 20, 1)
    often = np.random.default_rng(1).random(drawn.values.shape) < 0.8
    drawn = dataclasses.replace(drawn, collapsed=often)
    found = Confirmations(drawn, cell.plan, MARGIN).run()
    assert disagreements(cell, drawn, found, 20) == 0
    assert (found.seeds[found.answer == WORSE] == 6).sum() > 5
    assert (found.seeds == 20).any()


def test_every_cell_asked_for_is_there() -> None:
    every = list(cells())
    assert len(set(every)) == len(every)
    for shape in ("normal", "heavy tails", "steps of 1/2", "60 % zeros"):
        effects = {c.effect for c in every if (c.shape, c.configurations) == (shape, 3)}
        assert {0.0, MARGIN / 2, MARGIN, 0.5, 1.0, 2.0} <= effects


def test_effects_are_means_in_units_of_the_spread() -> None:
    for shape in ("normal", "heavy tails", "steps of 1/2", "60 % zeros"):
        drawn = draws(Cell(shape, "fixed, 6", 3, 0.5), 4000, 2)
        assert drawn.values.mean() == pytest.approx(0.5, abs=0.02)
        if shape in ("normal", "steps of 1/2"):
            shared = np.corrcoef(drawn.values[:, 0, 0], drawn.values[:, 1, 0])[0, 1]
            assert shared == pytest.approx(0.5, abs=0.05)
    assert drawn.noisy.mean() == pytest.approx(0.4, abs=0.01)


def test_what_would_be_false_depends_on_the_truth() -> None:
    def wrong(shape: str, effect: float) -> list[bool]:
        return [bool(which.all()) for which in wrong_answers(Cell(shape, "fixed, 6", 1, effect))]

    assert wrong("normal", 0.0) == [True, True, False]
    assert wrong("normal", MARGIN) == [False, True, True]
    assert wrong("normal", -1.0) == [True, False, True]
    assert wrong("10 % collapses", 0.0) == [True, False, False]


def test_an_error_above_nominal_is_named() -> None:
    cell = Cell("normal", "fixed, 6", 1, 0.0)
    drawn = draws(cell, 400, 3)
    found = Confirmations(drawn, cell.plan, MARGIN).run()
    result = summarised(cell, found)
    assert result.excess() == []
    assert "### fixed, 6\n" in table([result])
    assert "\n| normal | 1 | 0 |" in table([result])
    found.answer[:60] = BETTER
    assert "false better" in summarised(cell, found).excess()[0]
