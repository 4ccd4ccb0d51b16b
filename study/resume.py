"""The configuration with which a stored study goes on. Nothing here needs Ray, MLflow or torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.config import StudyConfig
from study.folder import has_secrets_removed
from study.housekeeping import open_study
from trainables.config import merge, nest, parse_config
from trainables.errors import InputError


def resumed(
    storage: str | Path, name: str, changes: Mapping[str, Any], *, more_trials: int = 0
) -> StudyConfig:
    """The configuration with which a stored study goes on.

    Args:
        storage: the folder that holds the studies.
        name: the study's name.
        changes: settings that shall be different, by path; only some may (``MAY_CHANGE``).
        more_trials: trials to add to those that the study was to have.

    Raises:
        InputError: if there is no such study, or a setting is wrong or may not change.
    """
    folder = open_study(storage, name)
    stored = folder.stored_config()
    assert stored is not None
    if stored.configs is not None and ("trials" in changes or more_trials):
        raise InputError(
            f"trials: {name} runs a list of {len(stored.configs)} given configurations, which has "
            "an end; give more of them in a study of another name"
        )
    values = merge(stored.model_dump(mode="json"), nest(changes))
    values |= {"name": name, "storage": str(storage)}
    if more_trials:
        values["trials"] = stored.trials + more_trials
    config = parse_config(StudyConfig, values)
    folder.check_same_study(config)
    for field_name in ("tracking_uri", "address"):
        if has_secrets_removed(getattr(config, field_name)):
            option = f"--{field_name.replace('_', '-')}"
            raise InputError(
                f"{field_name} = {getattr(config, field_name)}: its secret was not stored; give "
                f"it again ({option})"
            )
    return config
