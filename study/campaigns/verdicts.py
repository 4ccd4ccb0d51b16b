"""How a confirmation is judged: by answers, or as the earlier version did that began it.

The second way is here alone. A confirmation goes on as it was begun: what its verdicts mean does
not change half-way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from study.campaigns.confirm_plan import ConfirmConfig
from study.formats import PLAIN, Figures
from study.statistics.answer_words import at_most_collapse, sentence
from study.statistics.answers import Answer, Ruling, decisions, rule
from study.statistics.comparison import Verdict, compare
from study.statistics.design import ConfirmationDesign
from study.statistics.looks import Evidence
from study.statistics.sequential import SequentialDesign, decide

Family = Mapping[str, Evidence]
"""Trial → what its seeds gave, beside its baseline or one of its controls."""

_BEST_FIRST = (Answer.BETTER, Answer.EQUIVALENT, Answer.UNDECIDED, Answer.WORSE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is said of a configuration beside its baseline, or beside a control.

    Attributes:
        word: one of ``Answer``; in confirmations begun by earlier versions one of ``Verdict``.
        reason: what it rests on, or why there is none.
        sentence: all of it in words.
        place: orders configurations, what is better first.
        level: what the p-value of the difference was held against; None before the first look.
        decided_at: seeds at the look that decided, in a sequential design.
        n: seeds with a difference.
        ruling: None in confirmations begun by earlier versions.
    """

    word: str
    reason: str
    sentence: str
    place: int
    level: float | None
    decided_at: int | None
    n: int
    ruling: Ruling | None = None

    @property
    def better(self) -> bool:
        return self.word == Answer.BETTER

    @property
    def worse(self) -> bool:
        return self.word == Answer.WORSE

    @property
    def equivalent(self) -> bool:
        return self.word == Answer.EQUIVALENT

    @property
    def mean_difference(self) -> float | None:
        """Of the metric that decides; None in confirmations begun by earlier versions."""
        return self.ruling.estimate.mean if self.ruling else None

    @property
    def short(self) -> str:
        """The word, of what is not decided with the reason."""
        undecided = self.word == Answer.UNDECIDED and self.reason
        return f"{self.word}, {self.reason}" if undecided else self.word

    @property
    def short_with_bound(self) -> str:
        """Likewise; of what is better or equivalent how many runs may collapse nevertheless."""
        bound = None if self.ruling is None else self.ruling.collapse_bound
        if bound is None or not (self.better or self.equivalent):
            return self.short
        return f"{self.short}, {at_most_collapse(bound)}"


class Judge(Protocol):
    """What decides how many seeds a configuration gets, and what is said of it."""

    def seeds_wanted(self, family: Family) -> dict[str, int]:
        """Trial → seeds that it is to have, in all, for its next look or as it is."""

    def judge(self, family: Family, *, control: bool) -> dict[str, Judgement]:
        """``control``: beside a control, which has no part in how many seeds there are."""


@dataclass(frozen=True, slots=True)
class ByAnswers:
    """METHOD's section 14."""

    design: ConfirmationDesign
    margin: float
    higher_is_better: bool
    figures: Figures = PLAIN

    def seeds_wanted(self, family: Family) -> dict[str, int]:
        reached = decisions(
            family, self.design, margin=self.margin, higher_is_better=self.higher_is_better
        )
        return {name: how.seeds_wanted for name, how in reached.items()}

    def judge(self, family: Family, *, control: bool) -> dict[str, Judgement]:
        design = self.design
        if control:
            design = replace(design, looks=design.looks[-1:], futility=False)
        rulings = rule(
            family,
            design,
            margin=self.margin,
            higher_is_better=self.higher_is_better,
            resamples=0,
        )
        return {
            name: Judgement(
                word=str(found.answer),
                reason=str(found.ground),
                sentence=sentence(found, self.figures),
                place=_BEST_FIRST.index(found.answer),
                level=found.course.level,
                decided_at=None if control else _decided_at(found),
                n=found.estimate.n,
                ruling=found,
            )
            for name, found in rulings.items()
        }


def _decided_at(found: Ruling) -> int | None:
    several = len(found.design.looks) > 1 or found.course.late
    return found.course.seeds if several and found.course.decided else None


@dataclass(frozen=True, slots=True)
class AsBegun:
    """As versions before the answers judged: what they began goes on so.

    Attributes:
        design: None: all ``seeds`` at once.
    """

    design: SequentialDesign | None
    seeds: int
    higher_is_better: bool

    def seeds_wanted(self, family: Family) -> dict[str, int]:
        if self.design is None:
            return dict.fromkeys(family, self.seeds)
        state = decide({name: found.sample for name, found in family.items()}, self.design)
        counts = {name: how.seeds for name, how in state.decided.items()}
        last = state.next_seeds or self.design.looks[-1]
        return {name: counts.get(name, last) for name in family}

    def judge(self, family: Family, *, control: bool) -> dict[str, Judgement]:
        found = compare(
            {name: evidence.sample for name, evidence in family.items()},
            higher_is_better=self.higher_is_better,
            design=None if control else self.design,
            resamples=0,
        )
        return {
            name: Judgement(
                word=str(comparison.verdict),
                reason="",
                sentence=comparison.sentence(),
                place=list(Verdict).index(comparison.verdict),
                level=comparison.level,
                decided_at=comparison.decided_at,
                n=comparison.estimate.n,
            )
            for name, comparison in found.items()
        }


def judge_of(
    config: ConfirmConfig, *, margin: float, higher_is_better: bool, figures: Figures = PLAIN
) -> Judge:
    """The judge of a confirmation, as it was begun; ``figures``: how it writes differences."""
    if config.judged == "as_before":
        return AsBegun(config.earlier_design, config.seeds, higher_is_better)
    return ByAnswers(config.design, margin, higher_is_better, figures)
