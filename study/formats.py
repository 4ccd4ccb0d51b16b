"""Numbers, durations and Markdown tables as people read them: the same everywhere."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

DASH = "–"
"""What stands for a value that is not there."""


def number(value: float | None, form: str = ".4f") -> str:
    return DASH if value is None else format(value, form)


def signed(value: float | None) -> str:
    """Four decimals with a sign; less than they hold, as ``-3e-06`` rather than ``-0.0000``."""
    return number(value, "+.0e" if value and abs(value) < 5e-5 else "+.4f")


class Figures(Protocol):
    """How a metric's values, and differences of them, are written in sentences."""

    def value(self, value: float | None, /) -> str: ...

    def difference(self, difference: float | None, /) -> str: ...

    def size(self, difference: float | None, /) -> str:
        """A difference without its sign."""

    def bare(self, difference: float | None, /) -> str:
        """A difference without its unit, where that was said before."""

    def bounds(self, interval: Iterable[float] | None, /) -> str:
        """Two differences without their unit."""


class _Plain:
    """As they are recorded, in four decimals."""

    def value(self, value: float | None, /) -> str:
        return number(value)

    def difference(self, difference: float | None, /) -> str:
        return signed(difference)

    def size(self, difference: float | None, /) -> str:
        return signed(None if difference is None else abs(difference)).removeprefix("+")

    def bare(self, difference: float | None, /) -> str:
        return signed(difference)

    def bounds(self, interval: Iterable[float] | None, /) -> str:
        return DASH if interval is None else " to ".join(map(signed, interval))


PLAIN: Figures = _Plain()


def percent(value: float | None) -> str:
    return number(value, ".2%")


def or_dash(value: object) -> str:
    return DASH if value is None else str(value)


def mean_sd(mean: float | None, sd: float | None, between: str = " ± ", form: str = ".4f") -> str:
    """A mean by Python's format with its standard deviation, where there is one."""
    return number(mean, form) if sd is None else f"{number(mean, form)}{between}{number(sd)}"


def short(value: object) -> str:
    """A setting's value; a float in three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def setting_name(path: str) -> str:
    return path.removeprefix("noise/")


def seeds_named(seeds: Sequence[int], most: int = 3) -> str:
    """``seed 3``, ``seeds 3 and 5``; of more than ``most`` the first, and how many more."""
    shown, more = [str(seed) for seed in seeds[:most]], len(seeds) - most
    if more > 0:
        return f"seeds {', '.join(shown)} and {more} more"
    *first, last = shown
    return f"seeds {', '.join(first)} and {last}" if first else f"seed {last}"


def settings_text(overrides: Mapping[str, object]) -> str:
    """What a trial changes, in a line; but for the policy, which its space has set."""
    return ", ".join(
        f"{setting_name(path)}={short(value)}"
        for path, value in sorted(overrides.items())
        if path != "noise/policy"
    )


def exact(value: float) -> str:
    """A number as people write it, and never two numbers alike."""
    text = f"{value:g}"
    return text if float(text) == value else repr(value)


def duration(seconds: float) -> str:
    """``1h02m``, ``3m05s`` or ``7s``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{whole % 60:02d}s" if minutes else f"{whole}s"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], alignment: str = ""
) -> str:
    """``alignment``: a letter a column, ``l`` or ``r`` (default: all left)."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rules = ["---:" if letter == "r" else "---" for letter in alignment.ljust(len(header), "l")]
    return "\n".join([line(header), f"|{'|'.join(rules)}|", *map(line, rows)])
