"""The looks of a confirmation: at which seeds each configuration was decided, and by what test.

Pure functions of the data: asked again after an interruption they repeat their decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from study.statistics.anytime import anytime_evidence
from study.statistics.design import ConfirmationDesign
from study.statistics.equivalence import equivalence_test, within_reach
from study.statistics.estimate import mean_and_std, t_test
from study.statistics.futility import futility_bounds
from study.statistics.paired import Paired
from study.statistics.sequential import or_one
from study.statistics.sign_flip import FEWEST_SEEDS, sign_flip_test

VETO_LEVEL = 0.05
"""Two-sided, unadjusted level of the sign-flip test that every difference must pass, too."""

_NONE: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a configuration's seeds gave beside its reference's.

    Attributes:
        sample: the paired differences in the deciding metric. The seeds are those on which both
            runs have ended, in the order in which they were trained.
        collapsed: seeds on which the configuration collapsed (``has_collapsed``). A difference may
            be there or not.
        baseline_collapsed: likewise the reference.
        without_baseline: seeds whose reference's run was lost, though it did not diverge.
        untrained: seeds on which the configuration was not trained, for want of its reference.
        without_noise: seeds on which the noise never began; None: not known.
        whole: no further seed will come: a look takes the seeds that there are for its own.
    """

    sample: Paired
    collapsed: frozenset[int] = _NONE
    baseline_collapsed: frozenset[int] = _NONE
    without_baseline: frozenset[int] = _NONE
    untrained: frozenset[int] = _NONE
    without_noise: frozenset[int] | None = None
    whole: bool = False

    def first(self, seeds: int) -> "Evidence":
        """Of the first ``seeds`` seeds alone."""
        kept = frozenset(self.sample.seeds[:seeds])
        return Evidence(
            Paired(self.sample.seeds[:seeds], self.sample.differences[:seeds]),
            self.collapsed & kept,
            self.baseline_collapsed & kept,
            self.without_baseline & kept,
            self.untrained & kept,
            None if self.without_noise is None else self.without_noise & kept,
            self.whole,
        )

    @property
    def collapsed_alone(self) -> frozenset[int]:
        """Seeds on which the configuration collapsed and its reference did not."""
        return self.collapsed - self.baseline_collapsed

    @property
    def lost(self) -> tuple[int, ...]:
        """Seeds whose run of the configuration is missing for another reason than divergence."""
        explained = self.collapsed | self.baseline_collapsed | self.without_baseline
        return tuple(seed for seed in self.sample.left_out if seed not in explained)

    @property
    def tainted(self) -> bool:
        """Whether what is missing or collapsed forbids ``better`` and ``equivalent``."""
        return bool(self.collapsed_alone or self.lost)

    @property
    def all_zero(self) -> bool:
        values = self.sample.complete
        return len(values) >= 2 and not any(values)

    @property
    def with_noise(self) -> tuple[float, ...]:
        """The differences of the seeds on which the noise began."""
        idle = self.without_noise or _NONE
        pairs = zip(self.sample.seeds, self.sample.differences, strict=True)
        return tuple(value for seed, value in pairs if value is not None and seed not in idle)


@dataclass(slots=True)
class Course:
    """How one configuration went through its looks.

    Attributes:
        different: whether its values are the higher ones, where a difference is shown.
        equivalent: whether it is shown to lie within the margin, or every difference is 0.
        seeds: seeds at the last look that took it in; those that decided it, if it is decided.
        next_seeds: seeds that it needs for the next look, in all; None: no further one.
        futile: it ended early since ``better`` is out of reach.
        level: what ``p_value`` was held against at that look, two-sided.
        p_value: of the t test of a difference at that look, not adjusted; None before the first.
        equivalence_level, equivalence_p: likewise, one-sided.
        vetoed: the t test showed a difference, the sign-flip test did not.
        late: beyond the planned end, where the anytime-valid test decides: ``p_value`` is its own,
            those of equivalence stay as they were at the planned end.
    """

    different: bool | None = None
    equivalent: bool = False
    seeds: int = 0
    next_seeds: int | None = None
    futile: bool = False
    level: float | None = None
    p_value: float | None = None
    equivalence_level: float | None = None
    equivalence_p: float | None = None
    vetoed: bool = False
    late: bool = False

    @property
    def decided(self) -> bool:
        return self.equivalent or self.different is not None


def follow(
    family: Mapping[str, Evidence],
    design: ConfirmationDesign,
    *,
    margin: float,
    higher_is_better: bool,
) -> dict[str, Course]:
    """Take a family of configurations through the looks that their seeds allow.

    At each look those that are not decided go through Holm's procedure twice, for a difference and
    for equivalence, each at the nominal levels of its share of the error (see ``decide``). A look
    waits until all of them have its seeds. Beyond the planned end only an extendable design tests.
    """
    walk = _Walk(family, design, margin, higher_is_better)
    for look in design.looks:
        if not walk.take(look):
            return walk.courses
    if design.extendable:
        for name in family:
            walk.go_on(name)
    return walk.courses


@dataclass(slots=True)
class _Walk:
    family: Mapping[str, Evidence]
    design: ConfirmationDesign
    margin: float
    higher_is_better: bool
    courses: dict[str, Course] = field(default_factory=dict)
    different: int = 0
    equivalent: int = 0

    def __post_init__(self) -> None:
        self.courses = {name: Course() for name in self.family}

    def take(self, look: int) -> bool:
        """Take a look; False if it must wait for seeds."""
        having = {
            name: found.whole or len(found.sample.seeds) >= look
            for name, found in self.family.items()
        }
        # What was not worth going on with takes part again if it went on nevertheless.
        pending = [
            name
            for name, course in self.courses.items()
            if not course.decided and (having[name] or not course.futile)
        ]
        waiting = not all(having[name] for name in pending)
        for name in pending:
            course = self.courses[name]
            course.next_seeds = look if waiting else None
            if not waiting:
                course.seeds, course.futile, course.vetoed = look, False, False
        if waiting or not pending:
            return not waiting
        seen = {name: self.family[name].first(look) for name in pending}
        self._differences(look, seen)
        self._equivalences(look, seen)
        if self.design.futility and look < self.design.planned:
            for name, evidence in seen.items():
                if not self.courses[name].decided:
                    self.courses[name].futile = self._futile(look, evidence)
        return True

    def _differences(self, look: int, seen: Mapping[str, Evidence]) -> None:
        p_values = {}
        for name, evidence in seen.items():
            course, values = self.courses[name], evidence.sample.complete
            course.p_value = p_value = or_one(t_test(values))
            may_be_said = not (evidence.tainted and self._gain(evidence) > 0)
            p_values[name] = p_value if may_be_said else 1.0
        left = len(self.family) - self.different
        for name in sorted(p_values, key=p_values.__getitem__):
            course = self.courses[name]
            # A level is never above its share, and takes long to calculate.
            out_of_reach = p_values[name] > self.design.share(left)
            level = self.design.share(left) if out_of_reach else self.design.level(look, left)
            course.level = level
            if p_values[name] > level:
                continue
            values = seen[name].sample.complete
            course.vetoed = _vetoed(values)
            if not course.vetoed:
                course.different = sum(values) > 0
                self.different += 1
                left -= 1

    def _equivalences(self, look: int, seen: Mapping[str, Evidence]) -> None:
        p_values = {}
        for name, evidence in seen.items():
            course = self.courses[name]
            course.equivalence_p = p_value = self._equivalence(evidence)
            p_values[name] = p_value
            course.equivalent = evidence.all_zero and not evidence.tainted
        left = len(self.family) - self.equivalent
        for name in sorted(p_values, key=p_values.__getitem__):
            course = self.courses[name]
            out_of_reach = p_values[name] > self.design.equivalence_share(left)
            course.equivalence_level = (
                self.design.equivalence_share(left)
                if out_of_reach
                else self.design.equivalence_level(look, left)
            )
            if p_values[name] <= course.equivalence_level and not course.equivalent:
                course.equivalent = True
                self.equivalent += 1
                left -= 1

    def _equivalence(self, evidence: Evidence) -> float:
        """Of all seeds, and of those with noise alone.

        Seeds without noise say nothing of what noise does; many zeros make a t test of the others'
        mean err. What lies within the margin where noise began lies within it over all seeds.
        """
        if evidence.tainted:
            return 1.0
        samples = (evidence.sample.complete, evidence.with_noise)
        return max(equivalence_test(values, self.margin) for values in samples)

    def _gain(self, evidence: Evidence) -> float:
        total = sum(evidence.sample.complete)
        return total if self.higher_is_better else -total

    def _futile(self, look: int, evidence: Evidence) -> bool:
        if evidence.tainted:
            return True
        values = evidence.sample.complete
        found = mean_and_std(values)
        if found is None or found[1] == 0:
            return self._gain(evidence) <= 0
        gain = found[0] if self.higher_is_better else -found[0]
        if gain * len(values) ** 0.5 / found[1] > futility_bounds(self.design.looks)[look]:
            return False
        later = next(other for other in self.design.looks if other > look)
        level = self.design.equivalence_level(later, len(self.family))
        return not within_reach(evidence.with_noise, self.margin, later, level)

    def go_on(self, name: str) -> None:
        """Test beyond the planned end, seed by seed, at the share of the error set aside."""
        course, evidence = self.courses[name], self.family[name]
        available = len(evidence.sample.seeds)
        if course.decided or available <= self.design.planned:
            return
        needed = len(self.family) / self.design.set_aside
        for count in range(self.design.planned + 1, available + 1):
            seen = evidence.first(count)
            values = seen.sample.complete
            course.seeds, course.late, course.vetoed = count, True, False
            strength = anytime_evidence(values)
            course.p_value, course.level = min(1.0, 1 / strength), 1 / needed
            if strength >= needed:
                course.vetoed = _vetoed(values)
                allowed = not (seen.tainted and self._gain(seen) > 0)
                if allowed and not course.vetoed:
                    course.different = sum(values) > 0
            course.equivalent = not seen.tainted and all(
                _anytime_within(sample, self.margin, needed) for sample in (values, seen.with_noise)
            )
            if course.decided:
                return


def _vetoed(values: tuple[float, ...]) -> bool:
    return len(values) >= FEWEST_SEEDS and sign_flip_test(values) > VETO_LEVEL


def _anytime_within(values: tuple[float, ...], margin: float, needed: float) -> bool:
    """Whether the anytime-valid test shows the mean above −margin and below +margin."""
    mean = sum(values) / len(values) if values else margin
    return abs(mean) < margin and all(
        anytime_evidence([value + bound for value in values]) >= needed
        for bound in (margin, -margin)
    )
