"""The options that name a task of one's own, and what they exclude."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainables.errors import InputError
from trainables.settings import merge

_OF_IMAGES = (
    *("train/data/", "train/model/", "train/optimizer/"),
    *("train/clean_gap", "train/slice"),
)


def with_task(
    values: dict[str, Any],
    name: str,
    options: Sequence[str],
    given: Collection[str],
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """A study's values, not yet validated, with the task that a command line names.

    ``given`` are the settings of the command line by path, ``asked`` those of it and of a file.
    """
    train = values.get("train")
    if name and isinstance(train, dict):
        before = train.get("task")
        same = isinstance(before, dict) and before.get("name") == name
        # What a file says of another task does not hold for this one.
        train = {**train, "task": before if same else {"name": name}}
        values = {**values, "train": train}
    task = train.get("task") if isinstance(train, dict) else None
    if not (isinstance(task, dict) and task.get("name")):
        if options:
            raise InputError(f"--task-option {options[0]}: it is for a task of your own (--task)")
        return values
    for path in given:
        if path.startswith(_OF_IMAGES):
            raise InputError(
                f"{path.removeprefix('train/').replace('/', '.')}: with --task {task['name']} "
                "it sets nothing: a task brings its own data, model and optimiser; give it "
                "settings by --task-option NAME=VALUE"
            )
    values = merge(values, {"train": {"task": {"options": _read(options)}}})
    if "decide_by" not in asked:
        # A task need have no accuracy.
        values["decide_by"] = "final_test_loss"
    if "space" not in asked:
        # Noise on inputs and labels makes no sense everywhere.
        values["space"] = "adaptive_noise"
    return values


def _read(options: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"--task-option {text}: write it as NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
