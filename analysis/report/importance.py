"""How much each setting mattered, as Optuna's evaluators see the ended trials.

Two evaluators that ask different things: fANOVA, how much of the objective's variance over the
whole space a setting explains (Hutter et al. 2014, ICML); PED-ANOVA, how much it decides whether a
trial is among the best (Watanabe et al. 2023, IJCAI). Both are estimates, bad ones from few trials.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import TrialState, create_trial

from analysis.reading import StudyView
from search_spaces.registry import get_space
from study.records.values import by_objective
from study.search.optuna_parts import contains
from trainables.settings import read_mapping

ENOUGH_PER_SETTING = 5
"""Trials for each searched setting below which importances are little more than noise."""

ENOUGH_VALUES = 8
"""Different values of the objective below which there is nothing to share out among settings."""

_DIGITS = 12


@dataclass(frozen=True)
class Importances:
    """Importances of the searched settings for one objective.

    Attributes:
        trials: complete trials that they rest on.
        fanova, ped_anova: path → share, in fANOVA's order; empty where it can't be computed.
        warning: why there are none, or not to trust them; empty if there is no reason.
    """

    objective: str
    trials: int
    fanova: Mapping[str, float]
    ped_anova: Mapping[str, float]
    warning: str

    @property
    def order(self) -> list[str]:
        """The settings from the most important one on."""
        first = self.fanova or self.ped_anova
        return sorted(first, key=lambda path: -first[path])


def searched(view: StudyView) -> dict[str, BaseDistribution]:
    """The study's search space; empty if it ran given configurations."""
    if view.config.configs is not None:
        return {}
    if view.folder.space.exists():
        stored = read_mapping(view.folder.space)["distributions"]
        return {path: json_to_distribution(text) for path, text in stored.items()}
    return dict(get_space(view.config.space).distributions(view.config.train))


def importances(view: StudyView, index: int = 0) -> Importances:
    """Importances for the study's objective number ``index``, from its complete trials."""
    name = view.config.objective[index]
    space = searched(view)
    points: list[tuple[dict[str, Any], float]] = []
    for trial in view.complete:
        value = by_objective(trial.value)[index]
        params = {path: trial.overrides[path] for path in space if path in trial.overrides}
        fits = len(params) == len(space) and all(
            isinstance(d, CategoricalDistribution) or contains(d, params[path])
            for path, d in space.items()
        )
        if fits and value is not None:
            points.append((params, value))
    # Means of as many images rightly classified may differ in their last bit.
    different = len({round(value, _DIGITS) for _, value in points})
    if not space or different < ENOUGH_VALUES:
        why = (
            "the study ran given configurations, not a search"
            if not space
            else f"none is computed: the {len(points)} complete trials have {different} different "
            f"values of {name}, and {ENOUGH_VALUES} are the least for an estimate"
        )
        return Importances(name, len(points), {}, {}, why)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    higher = view.config.modes[index] == "max"
    study = optuna.create_study(direction="maximize" if higher else "minimize")
    for params, value in points:
        study.add_trial(
            create_trial(state=TrialState.COMPLETE, params=params, distributions=space, value=value)
        )
    wanted = ENOUGH_PER_SETTING * len(space)
    warning = ""
    if len(points) < wanted:
        warning = (
            f"{len(points)} trials for {len(space)} settings are too few to trust this; "
            f"{wanted} or more would be better"
        )
    return Importances(
        name,
        len(points),
        _evaluate(study, FanovaImportanceEvaluator(seed=0)),
        _evaluate(study, PedAnovaImportanceEvaluator()),
        warning,
    )


def _evaluate(study: optuna.Study, evaluator: object) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)  # type: ignore[arg-type]
        except (RuntimeError, ValueError):
            # Too few trials, or all alike: the evaluators say so by raising.
            return {}
    return dict(found)
