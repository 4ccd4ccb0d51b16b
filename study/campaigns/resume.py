"""The configuration with which a stored study goes on. Nothing here needs Ray, MLflow or torch."""

from collections.abc import Mapping
from typing import Any

from study.config import StudyConfig
from study.records.folder import check_secrets, open_study
from study.records.storage import Storage, Where
from trainables.errors import InputError
from trainables.settings import merge, nest, parse_config


def resumed(
    storage: Where, name: str, changes: Mapping[str, Any], *, more_trials: int = 0
) -> StudyConfig:
    """The configuration with which a stored study goes on.

    ``changes`` are settings by path, of which only some may differ (``MAY_CHANGE``);
    ``more_trials`` are added to those that the study was to have.
    """
    where = Storage.of(storage)
    folder = open_study(where, name)
    stored = folder.stored_config()
    assert stored is not None
    if stored.configs is not None and ("trials" in changes or more_trials):
        raise InputError(
            f"trials: {name} runs a list of {len(stored.configs)} given configurations, which has "
            "an end; give more of them in a study of another name"
        )
    values = merge(stored.model_dump(mode="json"), nest(changes))
    values |= {"name": name, "storage": where.given, "work_dir": where.work_dir}
    if more_trials:
        values["trials"] = stored.trials + more_trials
    config = parse_config(StudyConfig, values)
    folder.check_same_study(config)
    check_secrets(config)
    return config
