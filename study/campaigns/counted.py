"""What the progress of each kind of campaign counts, for whoever watches it."""

from dataclasses import replace

from study.campaigns.confirmation import Confirmation
from study.campaigns.experiment_grid import ExperimentConfig, baselines, noisy_runs
from study.campaigns.experiment_result import report
from study.campaigns.live import Counted, best_so_far
from study.campaigns.race import most_runs
from study.config import StudyConfig
from study.records.ledger_view import LedgerState
from study.records.own_code import present

GRID_OBJECTIVE = "final_val_accuracy"
"""What the live view and MLflow's table show first of a grid; nothing is searched for."""


def search_counted(config: StudyConfig) -> Counted:
    return Counted(
        name=config.name,
        objective=config.objective[0],
        epochs=config.train.epochs,
        trials=config.wanted + most_runs(config)[0],
        baselines=config.baseline_seeds + most_runs(config)[1],
        tunings=config.tune_baseline,
        standing=lambda state: best_so_far(config, state),
        time_budget=config.time_budget,
        of=lambda state: present(config, state),
    )


def grid_counted(config: ExperimentConfig) -> Counted:
    return Counted(
        name=config.name,
        objective=GRID_OBJECTIVE,
        epochs=config.train.epochs,
        trials=len(noisy_runs(config)),
        baselines=len(baselines(config)),
        standing=lambda state: _grid_standing(config, state),
    )


def _grid_standing(config: ExperimentConfig, state: LedgerState) -> str:
    rows = report(config, state).table
    known = [row.differences["difference"].mean for row in rows]
    ahead = [value for value in known if value is not None]
    if not ahead:
        return "no group has a run with noise beside its baseline yet"
    better = sum(value > 0 for value in ahead)
    return f"noise is ahead of the baseline in {better} of {len(ahead)} comparisons so far"


def confirm_counted(begun: Confirmation, settings: StudyConfig) -> Counted:
    """``begun``: with any ledger's state; ``settings``: what the confirmation runs with."""
    confirm = begun.config
    return Counted(
        name=settings.name,
        objective=_shown(begun),
        epochs=settings.train.epochs,
        trials=confirm.runs_a_seed * len(confirm.trials) * confirm.seeds,
        baselines=confirm.seeds,
        standing=lambda state: _confirm_standing(replace(begun, state=state)),
        time_budget=settings.time_budget,
        spared=lambda state: replace(begun, state=state).spared(),
    )


def _shown(begun: Confirmation) -> str:
    task = begun.study.train.task.name is not None
    return begun.study.objective[0] if task else "best_val_accuracy"


def _confirm_standing(now: Confirmation) -> str:
    words = []
    for trial, sample in now.samples(now.decide_by).items():
        known = sample.complete
        if known:
            mean = sum(known) / len(known)
            words.append(f"{trial} {mean:+.4f} (n = {len(known)})")
    if not words:
        return "no configuration has a finished run beside its baseline yet"
    return f"{now.deciding.words} beside the baseline: " + ", ".join(words)
