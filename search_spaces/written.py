"""Ranges as people write them: ``1..20``, ``1e-3..1:log``, ``cosine,constant``, ``5``.

One notation serves ``--range``, a space's file and what a study stores of a space of one's own.
Every value is checked by the setting that it is for. Nothing here needs Optuna.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from search_spaces.conditions import path_of
from trainables.config import TrainConfig, setting_paths
from trainables.errors import InputError, nearest, shortened
from trainables.noise_config import NoiseConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Written = str | int | float | bool | None | list[Any]
"""What stands for a range or for choices in a document."""

HOW = "LOW..HIGH, LOW..HIGH:log, LOW..HIGH:step=N, A,B,C, or one value"

RANGE = "range (--range)"
"""Who wrote a user's range, for messages."""

_INTERVAL = re.compile(r"(?P<low>.+?)\.\.(?P<high>.+?)(?::(?P<how>.*))?")
_NAME = re.compile(r"noise/[a-z_]+(@[\w.-]+)?")
_LISTS = ("noise/layers", "noise/plan")
_POLICIES = ("always", "on_stagnation")
_LONGEST_LIST = 1000


def within(value: float, low: float, high: float, step: float | None) -> bool:
    """Whether a number lies between two, and on the steps from the lower one, if there are any."""
    steps = (value - low) / step if step else 0.0
    return low <= value <= high and math.isclose(steps, round(steps), abs_tol=1e-8)


@dataclass(frozen=True)
class NumberRange:
    """The numbers from ``low`` to ``high``, ends included; whole ones if these are ``int``."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def contains(self, value: object) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return within(value, self.low, self.high, self.step)

    @property
    def written(self) -> Written:
        if self.low == self.high:
            return self.low
        how = ":log" if self.log else f":step={self.step!r}" if self.step is not None else ""
        return f"{self.low!r}..{self.high!r}{how}"

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(self.low, self.high, log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def contains(self, value: object) -> bool:
        # True is not the choice 1.
        return any(value == each and type(value) is type(each) for each in self.values)

    @property
    def written(self) -> Written:
        return list(self.values)

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


Dimension = NumberRange | Choices


@cache
def searchable() -> Mapping[str, FieldInfo]:
    """The settings that a space may have, by path: all of the noise that are single values."""
    paths = setting_paths(NoiseConfig, "noise/")
    return {path: field for path, field in paths.items() if path not in _LISTS}


def check_name(name: object, where: str) -> str:
    """The path that a dimension called ``name`` sets; refused where no space may have it."""
    if not isinstance(name, str):
        raise InputError(f"{where}: {name!r} is no text; a dimension is called as the setting is")
    path = path_of(name)
    if path in searchable():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: {name!r}: after the @ stands a word that tells two ranges of one "
                f"setting apart, e.g. {path}@weak"
            )
        return path
    known = setting_paths(TrainConfig)
    if path not in known:
        raise InputError(f"{where}: there is no setting {path!r}; {nearest(path, searchable())}")
    extra = known[path].json_schema_extra
    option = extra.get("option") if isinstance(extra, dict) else None
    instead = f"; give it one value by {option}" if option else ""
    why = (
        "a list can't be searched"
        if path in _LISTS
        else "only settings of the noise are searched, or the baseline would be none of the trials'"
    )
    raise InputError(f"{where}: {path!r}: {why}{instead}")


def read_dimension(name: str, written: Any, where: str) -> Dimension:
    """What is written for a dimension, read and checked; ``where`` says who wrote it."""
    path = check_name(name, where)
    reader = _Reader(name, path, written, where)
    if isinstance(written, str):
        return reader.of_text(written)
    if isinstance(written, list | tuple):
        return reader.of_choices(list(written))
    return reader.single(reader.value(written))


def read_value(name: str, value: Any, where: str) -> Any:
    """One value of a dimension, as its setting has it."""
    return _Reader(name, check_name(name, where), value, where).value(value)


def read_ranges(ranges: Mapping[str, Any]) -> dict[str, Any]:
    """A user's ranges in their plain form, by path or dimension, every value checked."""
    return {name: read_dimension(name, written, RANGE).written for name, written in ranges.items()}


@dataclass(frozen=True)
class _Reader:
    name: str
    path: str
    written: Any
    where: str

    def refuse(self, why: str) -> NoReturn:
        raise InputError(f"{self.where}: {self.name} = {shortened(self.written)}: {why}")

    @property
    def kinds(self) -> tuple[Any, ...]:
        annotation = searchable()[self.path].annotation
        return get_args(annotation) or (annotation,)

    @property
    def is_number(self) -> bool:
        return int in self.kinds or float in self.kinds

    def of_text(self, text: str) -> Dimension:
        found = _INTERVAL.fullmatch(text.strip())
        if found is None:
            return self.of_choices([part.strip() for part in text.split(",")])
        if not self.is_number:
            self.refuse("names have no range from one to another; write them as A,B,C")
        low, high = (self.number(found[end]) for end in ("low", "high"))
        log, step = self.how(found["how"])
        return self.interval(low, high, log, step)

    def how(self, text: str | None) -> tuple[bool, float | None]:
        if text is None:
            return False, None
        if text == "log":
            return True, None
        name, _, value = text.partition("=")
        if name != "step":
            self.refuse(f"after the range {text!r}; allowed: log, step=N")
        try:
            step = float(value)
        except ValueError:
            self.refuse(f"step = {value!r} is no number")
        if not (math.isfinite(step) and step > 0):
            self.refuse(f"step = {value}: allowed: a number above 0")
        if int in self.kinds and step != int(step):
            self.refuse(f"step = {value}: allowed: a whole number, as the setting takes them")
        return False, int(step) if int in self.kinds else step

    def interval(
        self, low: float, high: float, log: bool = False, step: float | None = None
    ) -> NumberRange:
        if low > high:
            self.refuse(f"it begins at {low:g}, above its end {high:g}")
        if log and low <= 0:
            self.refuse("a range with log begins above 0")
        if step is not None and step > high - low:
            self.refuse(f"step = {step:g} is longer than the range")
        return NumberRange(low, high, log, step)

    def of_choices(self, items: list[Any]) -> Dimension:
        if not items or "" in items:
            self.refuse(f"a value is missing; write {HOW}")
        if len(items) > _LONGEST_LIST:
            self.refuse(f"{len(items)} choices; allowed: up to {_LONGEST_LIST}")
        values = [self.value(item) for item in items]
        if len(values) == 1:
            return self.single(values[0])
        for index, value in enumerate(values):
            if value in values[:index]:
                self.refuse(f"{value!r} is there twice")
        return Choices(tuple(values))

    def single(self, value: Any) -> Dimension:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return NumberRange(value, value) if is_number else Choices((value,))

    def number(self, text: str) -> float:
        value = self.value(text.strip())
        if value is None:
            self.refuse("a range is between two numbers")
        number: float = value
        return number

    def value(self, raw: Any) -> Any:
        """As the setting takes it: within its bounds, of its type; several signals are a text."""
        optional = NoneType in self.kinds
        if optional and (raw is None or (isinstance(raw, str) and raw.lower() == "none")):
            return None
        if isinstance(raw, dict):
            self.refuse(f"a mapping; write {HOW}")
        if self.path == "noise/policy":
            if raw not in _POLICIES:
                self.refuse(f"{nearest(str(raw), _POLICIES)} (off is the baseline)")
            return raw
        field = self.path.removeprefix("noise/")
        try:
            value = getattr(NoiseConfig.model_validate({field: raw}), field)
        except ValidationError as error:
            why = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            self.refuse(why if raw == self.written else f"{shortened(raw)}: {why}")
        return "+".join(value) if isinstance(value, tuple) else value


def from_distribution(name: str, distribution: Any, where: str) -> Written:
    """What would be written for one of Optuna's distributions."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kinds = _Reader(name, check_name(name, where), distribution, where).kinds
    match distribution:
        case CategoricalDistribution(choices=choices):
            return list(choices)
        case IntDistribution(low=low, high=high, log=log, step=step) if int in kinds:
            return NumberRange(low, high, log, None if step == 1 else step).written
        case FloatDistribution(low=low, high=high, log=log, step=step) if float in kinds:
            return NumberRange(low, high, log, step).written
        case IntDistribution() | FloatDistribution():
            wanted = next((k.__name__ for k in (int, float) if k in kinds), "named choices")
            raise InputError(
                f"{where}: {name} = {shortened(distribution)}: the setting takes {wanted}"
            )
    if isinstance(distribution, str | int | float | bool | list | NoneType):
        return distribution
    if isinstance(distribution, tuple):
        return list(distribution)
    raise InputError(
        f"{where}: {name} is of type {type(distribution).__name__}; give a distribution of Optuna, "
        f"or write {HOW}"
    )
