"""The columns of a confirmation's tables, the same on the terminal and in Markdown."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from analysis.confirm.model import ConfirmReport, MetricComparison
from study.formats import DASH, number, or_dash, signed

CANNOT_REJECT = "cannot reject"
"""Said of a Wilcoxon test that no differences could have made significant."""

WAYS = (
    ("against_baseline", "{trial} − baseline"),
    ("placebo_effect", "placebo − baseline"),
    ("against_placebo", "{trial} − placebo"),
    ("clock_effect", "clock − baseline"),
    ("against_clock", "{trial} − clock"),
)
"""The comparisons: a trial's field, and its heading."""


class Column(NamedTuple):
    """A heading, and how a row's cell below it is written."""

    heading: str
    text: Callable[[Any], str]


def headings(lead: str, columns: Sequence[Column]) -> list[str]:
    return [lead, *(column.heading for column in columns)]


def cells(lead: str, columns: Sequence[Column], row: object) -> list[str]:
    return [lead, *(column.text(row) for column in columns)]


def _interval(bounds: tuple[float, float] | None) -> str:
    return DASH if bounds is None else f"{bounds[0]:+.4f}…{bounds[1]:+.4f}"


def _p(value: float | None) -> str:
    return number(value, ".3f" if value is None or value >= 0.001 else ".0e")


def _wilcoxon(mark: str) -> Column:
    def text(row: MetricComparison) -> str:
        unable = row.p_wilcoxon is not None and not row.wilcoxon_can_reject
        return _p(row.p_wilcoxon) + (mark if unable else "")

    return Column("Wilcoxon", text)


_N = Column("n", lambda row: str(row.n))
_MEAN = Column("mean", lambda row: signed(row.mean_difference))
_SD = Column("sd", lambda row: number(row.std))
_T = Column("95 % t", lambda row: _interval(row.t_interval))
_BCA = Column("95 % BCa", lambda row: _interval(row.bca_interval))
_P_T = Column("p (t)", lambda row: _p(row.p_t))
_HOLM = Column("Holm", lambda row: _p(row.p_t_holm))
_D = Column("d", lambda row: number(row.cohens_d, "+.2f"))
_VERDICT = Column("verdict", lambda row: or_dash(row.verdict))

DIFFERENCES = (_N, _MEAN, _SD, _T, _BCA)
TESTS = (_P_T, _HOLM, _wilcoxon(" †"), _D, _VERDICT)
EACH_WAY = (_N, _MEAN, _T, _HOLM, _VERDICT)
COMPARISON = (
    Column("better", lambda row: row.better),
    *DIFFERENCES,
    _P_T,
    _HOLM,
    _wilcoxon(f", {CANNOT_REJECT}"),
    Column("Holm", lambda row: _p(row.p_wilcoxon_holm)),
    _D,
    Column("g", lambda row: number(row.hedges_g, "+.2f")),
    _VERDICT,
)
"""All of a metric's comparison."""

MORE_SEEDS = Column("more seeds needed", lambda row: or_dash(row.more_seeds))
"""The one number that earlier versions gave."""

SEARCH = (
    Column("score", lambda row: number(row.score)),
    Column("promised", lambda row: signed(row.promised)),
    Column("confirmed", lambda row: signed(row.confirmed)),
    Column("95 % t", lambda row: _interval(row.interval)),
    Column("lost", lambda row: signed(row.lost)),
)
SEARCH_METRIC = Column("metric", lambda row: row.metric)
BASELINE = (_N, Column("mean", lambda row: number(row.mean)), _SD)


def legend(report: ConfirmReport) -> Iterator[str]:
    yield (
        f"The verdict rests on {report.decide_by} alone: a paired t test, Holm-corrected over "
        f"{len(report.trials)} configurations, at {report.alpha:g}. Losses and the gap are better "
        "when lower. Test figures are those of the weights that are best in validation, "
        "final ones those of the last epoch."
    )
    if report.judged == "by_answers":
        yield (
            f"Equivalent: within ±{report.margin:.4g} by two one-sided tests at 5 % each, or every "
            "difference exactly 0. Collapsed: diverged, or above chance once and at chance in the "
            "end; neither better nor equivalent is said of what collapsed where the baseline did "
            "not, or lost runs."
        )
    yield (
        f"Wilcoxon: signed-rank test ({CANNOT_REJECT}: so few differences can give no p below the "
        "level). BCa intervals are too narrow for few seeds. d: mean / sd of the differences "
        "(Cohen's d_z). Promised and confirmed: differences from the baseline."
    )
    if any(trial.clock_effect for trial in report.trials):
        yield (
            "Placebo: a configuration's own noise at random epochs after the warm-up. Clock: from "
            "the warm-up's end on. Its timing is shown to matter where it is better than both, "
            "their doses are its own, and its placebos have noise at other epochs."
        )
