"""Optuna's side of a search: its study, opened quietly, and a dimension asked of a trial."""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage


def open_study(name: str, storage: JournalStorage, modes: Sequence[str]) -> optuna.Study:
    before = optuna.logging.get_verbosity()
    # Its line about a new study would stand in the live view.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=storage,
            pruner=optuna.pruners.NopPruner(),  # Tune's trial scheduler stops trials
            study_name=name,
            directions=["maximize" if mode == "max" else "minimize" for mode in modes],
            load_if_exists=True,
        )
    finally:
        optuna.logging.set_verbosity(before)


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise TypeError(f"{name}: no distribution of Optuna: {distribution!r}")
