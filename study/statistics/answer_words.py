"""A ruling in words: short clauses, no nested parentheses."""

from collections.abc import Sequence

from study.formats import PLAIN, Figures
from study.statistics.answers import Answer, Ground, Ruling
from study.statistics.collapse import rate_bound
from study.statistics.equivalence import equivalence_interval


def sentence(ruling: Ruling, figures: Figures = PLAIN) -> str:
    """The answer, why, the figures, and what they do not say."""
    parts = [_why(ruling, figures), _figures(ruling, figures)]
    parts += [_tests(ruling, figures), _collapses(ruling)]
    parts += [_seeds(ruling), _more(ruling)]
    return f"{ruling.answer}: " + "; ".join(part for part in parts if part)


def _why(ruling: Ruling, figures: Figures) -> str:
    evidence, ground = ruling.evidence, ruling.ground
    done, n = len(evidence.sample.seeds), ruling.estimate.n
    bound = f"on at most {percent(rate_bound(0, n))} of seeds, with 95 % confidence"
    own = {
        Ground.DIFFERENCE: "",
        Ground.MARGIN: f"within ±{figures.size(ruling.margin)}" + _sign(ruling),
        Ground.NO_NOISE: f"{ground}; it would begin {bound}",
        Ground.ALL_ZERO: f"{ground}; it would differ {bound}",
        Ground.COLLAPSED: f"collapsed on {len(evidence.collapsed)} of {done}",
        Ground.LOST: f"{ground}, seed{_s(evidence.lost)} {listed(evidence.lost)}",
        Ground.FUTILE: f"{ground}, better is out of reach with {ruling.design.planned} seeds",
        Ground.UNFINISHED: f"{done} of {ruling.seeds_wanted} seeds are in",
    }
    return own.get(ground, str(ground))


def _sign(ruling: Ruling) -> str:
    if ruling.higher is None:
        return ""
    side = "better" if ruling.higher == ruling.higher_is_better else "worse"
    return f", though shown to be {side}"


def _figures(ruling: Ruling, figures: Figures) -> str:
    found = ruling.estimate
    if found.mean is None:
        return "no seed has a difference"
    seeds = "seed" if found.n == 1 else "seeds"
    text = f"mean difference {figures.difference(found.mean)} over {found.n} {seeds}"
    if found.t_interval:
        bounds = figures.bounds((found.t_interval.low, found.t_interval.high))
        text += f", {percent(1 - ruling.design.alpha)} interval {bounds}"
    if ruling.median is not None and found.n > 1:
        text += f", median {figures.bare(ruling.median)}, worst {figures.bare(ruling.worst)}"
        text += f" on seed {ruling.worst_seed}"
    return text


def _tests(ruling: Ruling, figures: Figures) -> str:
    course = ruling.course
    if ruling.ground is Ground.COLLAPSES:
        return f"p = {ruling.collapse_p:.2g} for collapses"
    if ruling.ground is Ground.MARGIN and course.equivalence_level is not None:
        level = course.equivalence_level
        values = ruling.evidence.first(course.seeds).sample.complete
        interval = None if course.late else equivalence_interval(values, level)
        if interval is None:
            return _decided(ruling)
        bounds = figures.bounds((interval.low, interval.high))
        text = f"{percent(1 - 2 * level)} interval {bounds}"
        return text + " within the margin" + _decided(ruling, ", ")
    silent = (Ground.NO_NOISE, Ground.ALL_ZERO, Ground.SEEDS_ADDED)
    if course.p_value is None or ruling.ground in silent:
        return ""
    text = f"p = {course.p_value:.2g}"
    if ruling.ground is Ground.DIFFERENCE and course.level is not None and not course.late:
        text += f" against {course.level:.2g}"
    if ruling.family > 1:
        text += f", one of {ruling.family} configurations"
    return text + _decided(ruling, ", ")


def _decided(ruling: Ruling, before: str = "") -> str:
    course, design = ruling.course, ruling.design
    if not course.decided or ruling.ground is Ground.SEEDS_ADDED:
        return ""
    if course.late:
        return f"{before}decided after {course.seeds} seeds by the anytime-valid test"
    if course.seeds < design.planned:
        early = "stopping early overstates a mean somewhat"
        return f"{before}decided after {course.seeds} of {design.planned} seeds, {early}"
    return ""


def _collapses(ruling: Ruling) -> str:
    evidence, bound = ruling.evidence, ruling.collapse_bound
    told = (Answer.BETTER, Answer.EQUIVALENT)
    if bound is None or not (ruling.answer in told or evidence.collapsed):
        return ""
    trained = len(evidence.sample.seeds) - len(evidence.untrained)
    seen = f"collapsed on {len(evidence.collapsed)} of {trained}"
    already = ruling.ground is Ground.COLLAPSED
    rate = at_most_collapse(bound)
    return rate if already else f"{seen}, {rate}"


def at_most_collapse(bound: float) -> str:
    return f"at most {percent(bound)} of its runs collapse, with 95 % confidence"


def _seeds(ruling: Ruling) -> str:
    evidence, parts = ruling.evidence, []
    if evidence.without_noise and ruling.ground is not Ground.NO_NOISE:
        idle = sorted(evidence.without_noise)
        count = f"{len(idle)} of {len(evidence.sample.seeds)}"
        parts.append(f"the noise never began on {count}, seed{_s(idle)} {listed(idle)}")
    left_out = evidence.sample.left_out
    if left_out:
        parts.append(f"without a difference on seed{_s(left_out)} {listed(left_out)}")
    return "; ".join(parts)


def _more(ruling: Ruling) -> str:
    return "" if ruling.more_seeds is None else ruling.more_seeds.sentence()


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _s(seeds: Sequence[int]) -> str:
    return "" if len(seeds) == 1 else "s"
