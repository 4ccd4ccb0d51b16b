"""How much each setting mattered, as Optuna's evaluators see the ended trials.

Two evaluators that ask different things: fANOVA, how much of the objective's variance over the
whole space a setting explains (Hutter et al. 2014, ICML); PED-ANOVA, how much it decides whether a
trial is among the best (Watanabe et al. 2023, IJCAI). Both are estimates, bad ones from few trials.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from analysis.reading import StudyView
from search_spaces.calibration import CalibratedSpace, as_written
from search_spaces.conditions import build_point, from_overrides
from study.records.values import by_objective
from study.search.optuna_parts import contains
from study.search.own_space import space_of
from study.search.space import read_space
from trainables.metrics import words_of

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


def searched(view: StudyView) -> CalibratedSpace:
    """The study's search space; without distributions if it ran given configurations."""
    if view.config.configs is not None:
        return CalibratedSpace({})
    if view.folder.space.exists():
        return read_space(view.folder)
    spec = space_of(view.config)
    return as_written(spec, spec.distributions(view.config.train))


def importances(view: StudyView, index: int = 0) -> Importances:
    """Importances for the study's objective number ``index``, from its complete trials.

    Of the settings that all of them have: one that only some have explains nothing of the others.
    """
    name = view.config.objective[index]
    space = searched(view)
    box = space.distributions
    points: list[tuple[dict[str, Any], float]] = []
    for trial in view.complete:
        value, params = by_objective(trial.value)[index], point_of(space, trial.overrides)
        if params is not None and value is not None:
            points.append((params, value))
    shared = [
        name
        for name, distribution in box.items()
        if not distribution.single() and all(name in params for params, _ in points)
    ]
    # Means of as many images rightly classified may differ in their last bit.
    different = len({round(value, _DIGITS) for _, value in points})
    if not box or different < ENOUGH_VALUES:
        why = (
            "the study ran given configurations, not a search"
            if not box
            else f"none is computed: the {len(points)} complete trials have {different} different "
            f"values of {words_of(name)}, and {ENOUGH_VALUES} are the least for an estimate"
        )
        return Importances(name, len(points), {}, {}, why)
    # These import scikit-learn, for seconds.
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    study = _study_of(points, {name: box[name] for name in shared}, view.config.modes[index])
    wanted = ENOUGH_PER_SETTING * len(shared)
    warning = ""
    if len(points) < wanted:
        warning = (
            f"{len(points)} trials for {len(shared)} settings are too few to trust this; "
            f"{wanted} or more would be better"
        )
    return Importances(
        name,
        len(points),
        _evaluate(study, FanovaImportanceEvaluator(seed=0)),
        _evaluate(study, PedAnovaImportanceEvaluator()),
        warning,
    )


def _study_of(
    points: Sequence[tuple[Mapping[str, Any], float]],
    shared: dict[str, BaseDistribution],
    mode: str,
) -> optuna.Study:
    """Optuna's study of these points, of which only ``shared`` settings are told."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for params, value in points:
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params={name: params[name] for name in shared},
                distributions=shared,
                value=value,
            )
        )
    return study


def point_of(space: CalibratedSpace, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """The point of the space, by dimension, that a trial is; None if it is none."""
    box, conditions = space.distributions, space.conditions
    found = from_overrides(box, conditions, overrides)
    fits = all(
        isinstance(box[name], CategoricalDistribution) or contains(box[name], value)
        for name, value in found.items()
    )
    needed = build_point(box, conditions, found.get)
    return found if fits and needed.keys() == found.keys() else None


def _evaluate(study: optuna.Study, evaluator: object) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)  # type: ignore[arg-type]
        except (RuntimeError, ValueError):
            # Too few trials, or all alike: the evaluators say so by raising.
            return {}
    return dict(found)
