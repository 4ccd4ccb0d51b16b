"""Which task of one's own is trained, as a run's configuration says it."""

import json
import re
from typing import Any

from pydantic import field_validator

from trainables.metrics import TaskMetric
from trainables.settings import FrozenConfig, setting

NAME = r"^[^\W\d][\w.]*:[^\W\d][\w.]*$"
_METRIC = re.compile(r"[a-z][a-z0-9_]*")


class TaskConfig(FrozenConfig):
    """A task of one's own; without a name, images are classified.

    All but ``name`` and ``options`` is read off the task when a study begins. The metric that the
    signals read as the loss is called ``loss`` here, that for the accuracy ``accuracy``.
    """

    name: str | None = setting(None, "the task, as package.module:Class", pattern=NAME)
    options: dict[str, Any] = setting({}, "the task's own settings")
    version: str | None = setting(None, "the task's own word for what it computes")
    metrics: dict[str, TaskMetric] = setting({}, "what it measures")
    code: tuple[str, ...] | None = setting(None, "the identity of its source (code_identity)")

    def __hash__(self) -> int:
        # Mappings have no hash.
        return hash((self.name, self.version, self.code))

    @field_validator("options")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            # As it is stored: JSON has neither NaN nor Infinity.
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"can't be stored as JSON: {error}") from None
        return value

    @field_validator("metrics")
    @classmethod
    def _named_plainly(cls, value: dict[str, TaskMetric]) -> dict[str, TaskMetric]:
        for name in value:
            if not _METRIC.fullmatch(name):
                raise ValueError(f"{name!r}: a metric's name is of a-z, 0-9 and _")
        return value
