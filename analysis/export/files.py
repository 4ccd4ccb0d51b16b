"""A study's results as files that other tools read: run configurations, tables of all trials.

A configuration is copied from the study's ledger, where the run itself was described, so that
``noise-train --config`` repeats that run bit for bit.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from analysis.export.result_table import result_table, to_latex, to_markdown
from analysis.reading import StudyView
from analysis.trials_table import trials_table
from study.records.assumed import assumed_by, told
from study.records.json_files import write_json
from study.records.summary import TrialSummary, pareto_front
from trainables.config import TrainConfig
from trainables.documents import read_mapping
from trainables.errors import InputError
from trainables.files import write_atomically
from trainables.noise.assumed import assumed_file
from trainables.settings import parse_config

_ENDINGS = (".json", ".yaml")


def chosen_trials(view: StudyView, top: int, pareto: bool) -> list[TrialSummary]:
    """From best to worst: ``top`` complete trials by the first objective, or the Pareto front."""
    if top < 1:
        raise InputError(f"--top = {top}: at least 1")
    if pareto and not view.config.multi_objective:
        raise InputError(
            f"--pareto: study {view.name!r} has one objective, {view.config.objective[0]}; "
            "use --top"
        )
    if not view.complete:
        raise InputError(f"study {view.name!r}: no trial is complete yet, so there is none to take")
    if pareto:
        return pareto_front(view.config, view.complete)
    return list(view.complete[:top])


def export_configs(view: StudyView, trials: Sequence[TrialSummary], folder: Path) -> list[Path]:
    """Write the run configurations of trials, and load each again; beside each what it assumed.

    Those of an earlier export are removed first: ranks change while a study goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9]_trial-*.*"):
        if old.suffix in _ENDINGS:
            old.unlink()
    paths = []
    for rank, trial in enumerate(trials, 1):
        config = view.train_config(trial.trial_id)
        for ending in _ENDINGS:
            path = folder / f"{rank:02d}_{trial.trial_id}{ending}"
            write_config(config, path)
            paths.append(path)
        known = told(view.folder, view.config, config)
        assumed = assumed_by(config, view.config, view.state, known)
        if assumed is not None:
            paths.append(assumed_file(paths[-1]))
            write_json(paths[-1], assumed.model_dump(mode="json"))
    return paths


def write_config(config: TrainConfig, path: Path) -> None:
    """Write a run's configuration as its ending says, and verify it by loading it again."""
    values = config.model_dump(mode="json")
    if path.suffix == ".yaml":
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        write_atomically(path, text.encode())
    else:
        write_json(path, values)
    if parse_config(TrainConfig, read_mapping(path), where=str(path)) != config:
        raise InputError(f"{path}: does not give back the configuration that it was written from")


def export_study(
    view: StudyView, folder: Path, *, top: int = 3, pareto: bool = False
) -> list[Path]:
    """Write everything into ``folder``: ``configs/``, ``trials.csv``, ``.parquet``, ``table.*``.

    A study without a complete trial gets its tables, but no configurations.
    """
    # What is refused is refused before anything is written.
    none = top >= 1 and not pareto and not view.complete
    chosen = [] if none else chosen_trials(view, top, pareto)
    folder.mkdir(parents=True, exist_ok=True)
    frame = trials_table(view).to_frame()
    frame.to_csv(folder / "trials.csv", index=False, lineterminator="\r\n")
    frame.to_parquet(folder / "trials.parquet", index=False)
    result = result_table(view)
    (folder / "table.md").write_text(to_markdown(result), encoding="utf-8")
    (folder / "table.tex").write_text(to_latex(result), encoding="utf-8")
    paths = [folder / n for n in ("trials.csv", "trials.parquet", "table.md", "table.tex")]
    return [*export_configs(view, chosen, folder / "configs"), *paths] if chosen else paths
