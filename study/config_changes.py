"""What may differ in a study that goes on, and what tuning changed in its configuration."""

from collections.abc import Mapping
from typing import Any, TypeVar

from study.config import MAY_CHANGE, RunsConfig, StudyConfig, Untuned
from trainables.data.registry import is_photos
from trainables.data_changes import with_new_photos
from trainables.settings import merge

AnyRuns = TypeVar("AnyRuns", bound=RunsConfig)


def as_asked(config: AnyRuns) -> AnyRuns:
    """The configuration as it was asked for: what tuning has changed in it is taken back."""
    if not isinstance(config, StudyConfig) or config.untuned is None:
        return config
    return _with_base(config, config.untuned.lr, config.untuned.weight_decay, None)


def asked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same for the content of a study's file, which is not yet validated."""
    untuned = values.get("untuned")
    if not isinstance(untuned, dict):
        return dict(values)
    return merge(values, {"untuned": None, "train": {"optimizer": untuned}})


def as_tuned(config: StudyConfig, lr: float, weight_decay: float) -> StudyConfig:
    """A configuration as it was asked for, with what tuning chose in its base run."""
    optimizer = config.train.optimizer
    before = Untuned(lr=optimizer.lr, weight_decay=optimizer.weight_decay)
    return _with_base(config, lr, weight_decay, before)


def _with_base(config: AnyRuns, lr: float, weight_decay: float, untuned: Untuned | None) -> AnyRuns:
    changed = {"lr": lr, "weight_decay": weight_decay}
    optimizer = config.train.optimizer.model_copy(update=changed)
    train = config.train.model_copy(update={"optimizer": optimizer})
    return config.model_copy(update={"train": train, "untuned": untuned})


def with_stored_decoding(
    config: AnyRuns, stored: RunsConfig | None, *asked: Mapping[str, Any]
) -> AnyRuns:
    """Photos are decoded as in the runs stored under the name, where nobody asks for another way.

    So the command that began them goes on with them, whatever new ones are decoded like.
    """
    if stored is None or not all(is_photos(each.train.data.dataset) for each in (stored, config)):
        return config
    said = {key for values in asked for key in values.get("train", {}).get("data", {})}
    kept = {name: getattr(stored.train.data, name) for name in {"decoding", "fit"} - said}
    data = config.train.data.model_copy(update=kept)
    return config.model_copy(update={"train": config.train.model_copy(update={"data": data})})


def as_by_command(config: AnyRuns, stored: RunsConfig | None) -> AnyRuns:
    """A configuration made in Python, with photos decoded as the commands would decode them.

    ``stored``: what lies under its name, if anything does.
    """
    data = config.train.data
    said = {"train": {"data": dict.fromkeys(data.model_fields_set)}}
    train = config.train.model_copy(update={"data": with_new_photos(data)})
    return with_stored_decoding(config.model_copy(update={"train": train}), stored, said)


def differences(stored: RunsConfig, wanted: RunsConfig) -> list[str]:
    """Settings in which ``wanted`` differs from ``stored`` though they may not, one line each.

    Both count as they were asked for, so that the same command goes on with a tuned study.
    """
    lines: list[str] = []
    before, now = (_comparable(config) for config in (stored, wanted))
    _compare(before, now, "", lines)
    return lines


def _comparable(config: RunsConfig) -> dict[str, Any]:
    """Without the source of code of one's own, which is compared by module, elsewhere."""
    values = as_asked(config).model_dump(mode="json")
    values["train"]["model"].pop("code", None)
    values["train"].pop("codes", None)
    values["train"].setdefault("slice", 0)
    task = values["train"].setdefault("task", None)
    if task is not None:
        task.pop("code", None)
    for name in ("code_changes", "codes"):
        values.pop(name, None)
    return values


def _compare(stored: dict[str, Any], wanted: dict[str, Any], prefix: str, lines: list[str]) -> None:
    for key, old in stored.items():
        new = wanted[key]
        path = f"{prefix}{key}"
        if path in MAY_CHANGE or new == old:
            continue
        before, now = _by_name(old), _by_name(new)
        if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
            _compare(before, now, f"{path}/", lines)
        else:
            lines.append(f"{path} = {new!r}, stored: {old!r}")


def _by_name(value: Any) -> Any:
    """Of a list of named things, such as metrics, each by its name."""
    named = isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)
    return {each["name"]: each for each in value} if named else value
