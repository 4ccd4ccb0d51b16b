"""Which further metrics a classifier is measured by, as a run's configuration says it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError, field_validator, model_validator

from trainables.errors import nearest, shortened
from trainables.metrics import METRICS, SHARE, Metric, Mode, TaskMetric, metrics_of
from trainables.settings import FrozenConfig, setting
from trainables.task_config import NAME, TaskConfig

BUILT_IN: Mapping[str, TaskMetric] = {
    "macro_f1": TaskMetric("max", "macro F1", worst=0.0, margin=0.003),
    "balanced_accuracy": TaskMetric("max", SHARE, worst=0.0, margin=0.003),
    # How small a difference of areas is worth having, nobody can say for everybody.
    "auc": TaskMetric("max", "AUC", worst=0.5),
}
"""The metrics that are there, computed by ``trainables.classifier_metrics``."""

_TAKEN = ("loss", "accuracy", "lr", "clean_train_accuracy")
_PLAIN = re.compile(r"[a-z][a-z0-9_]*")
_PREFIXES = ("tail_val_", "final_val_", "final_test_", "test_")

Marked = TypeVar("Marked", bound=Callable[..., Any])


class MetricConfig(FrozenConfig):
    """A further metric; of one of one's own all but ``function`` is read off it at the beginning.

    ``mode`` is None until then.
    """

    name: str = setting(..., "its name, the function's own")
    function: str | None = setting(
        None, "one's own, as package.module:function; None: it is built in", pattern=NAME
    )
    mode: Mode | None = setting(None, "whether more or less of it is better")
    unit: str = setting("", "of the metric and of its differences")
    worst: float | None = setting(None, "what a run that diverged is charged with in a race")
    margin: float | None = setting(None, "the smallest difference worth having", gt=0)
    code: tuple[str, ...] | None = setting(None, "the identity of its source (code_identity)")

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not _PLAIN.fullmatch(value):
            raise ValueError(f"{value!r}: a metric's name is of a-z, 0-9 and _")
        if value in _TAKEN:
            raise ValueError(f"{value!r} is taken; call the function otherwise")
        return value

    @model_validator(mode="before")
    @classmethod
    def _built_in(cls, value: object) -> object:
        """What a file does not say of a built-in one; its direction is not a file's to change."""
        if not isinstance(value, dict) or value.get("function") is not None:
            return value
        name = value.get("name")
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            return value
        said = named(name)
        if value.get("mode") not in (None, said["mode"]):
            raise ValueError(f"mode = {value['mode']!r}: of {name} it is {said['mode']!r}")
        return {**said, **{key: each for key, each in value.items() if each is not None}}

    @property
    def declared(self) -> TaskMetric:
        assert self.mode is not None
        return TaskMetric(self.mode, self.unit, self.worst, self.margin)


def metric(
    mode: Mode, unit: str, *, worst: float | None = None, margin: float | None = None
) -> Callable[[Marked], Marked]:
    """Declare a function of logits (N, classes) and labels (N,) as a metric, named as it is.

    Args:
        mode, unit, worst, margin: as in ``TaskMetric``.
    """

    def marked(function: Marked) -> Marked:
        function.metric = TaskMetric(mode, unit, worst, margin)  # type: ignore[attr-defined]
        return function

    return marked


def name_of(text: str) -> str:
    """What a metric is called that is given as ``package.module:function``."""
    return text.rpartition(":")[2].rpartition(".")[2]


def named(text: str) -> dict[str, Any]:
    """What ``--metric`` says, as a ``MetricConfig``'s values."""
    if ":" in text:
        return {"name": name_of(text), "function": text}
    if text not in BUILT_IN:
        hint = nearest(text, BUILT_IN)
        raise ValueError(f"{text!r}: {hint}, or your own as package.module:function")
    said = BUILT_IN[text]
    return {
        "name": text,
        "mode": said.mode,
        "unit": said.unit,
        "worst": said.worst,
        "margin": said.margin,
    }


def _parsed(value: Any) -> MetricConfig:
    try:
        return MetricConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        words = [*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")]
        raise ValueError(f"measured = {_shown(value)} (--metric): {': '.join(words)}") from None


def _shown(value: Any) -> str:
    """A metric as it is given on the command line."""
    given = value.get("function") or value.get("name") if isinstance(value, Mapping) else None
    return shortened(value if given is None else given)


def read_measured(value: object) -> object:
    """Metrics by name, or as a configuration stores them; each once."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    found = [named(each) if isinstance(each, str) else each for each in value]
    parsed = [_parsed(each) for each in found]
    names = [each.name for each in parsed]
    for each in parsed:
        if names.count(each.name) > 1:
            raise ValueError(
                f"measured = {_shown(each.model_dump())} (--metric): {each.name!r} is there twice; "
                "each metric has a name of its own"
            )
    return tuple(parsed)


def asked_by(objectives: Sequence[str]) -> list[str]:
    """The built-in metrics that names of figures ask for, e.g. ``tail_val_macro_f1``."""
    found: dict[str, None] = {}
    for figure in objectives:
        prefix = next((each for each in _PREFIXES if figure.startswith(each)), None)
        if prefix is not None and figure.removeprefix(prefix) in BUILT_IN:
            found[figure.removeprefix(prefix)] = None
    return list(found)


def metrics_with(measured: Sequence[MetricConfig]) -> Mapping[str, Metric]:
    """All figures that classifiers are compared by which are measured by these metrics, too."""
    declared = {each.name: each.declared for each in measured if each.mode is not None}
    return {**METRICS, **metrics_of(declared)} if declared else METRICS


def recorded_metrics(train: Mapping[str, Any]) -> Mapping[str, Metric]:
    """The figures that a recorded run is compared by, whatever version wrote its configuration."""
    task = train.get("task")
    if task:
        return metrics_of(TaskConfig.model_validate(task).metrics)
    measured = [MetricConfig.model_validate(each) for each in train.get("measured") or ()]
    return metrics_with(measured)
