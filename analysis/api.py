"""The face for Python of what reads studies: each function does what the command of its name does.

``study.api`` has those that train.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.compare import StudyLine, compare_studies
from analysis.confirm.model import ConfirmReport
from analysis.confirm.report import confirm_report
from analysis.export.files import export_study
from analysis.preview.compute import Preview
from analysis.preview.compute import preview as _preview
from analysis.preview.fork_shares import SpaceForks, space_forks
from analysis.preview.noise_settings import resolve_noise
from analysis.reading import (
    BaselineHistory,
    GridView,
    StudyView,
    load_grid,
    load_study,
    run_baseline,
    study_baseline,
)
from analysis.report.grid_report import grid_page
from analysis.report.run_report import load_run, run_page
from analysis.report.sections import write_report
from analysis.trials_table import TrialsTable, trials_table
from study.campaigns.confirmation import load_confirmation
from study.records.storage import Where

if TYPE_CHECKING:
    from analysis.export.register import register_winner

__all__ = [
    "ConfirmReport",
    "GridView",
    "Preview",
    "SpaceForks",
    "StudyLine",
    "StudyView",
    "TrialsTable",
    "compare_studies",
    "export_study",
    "load_grid",
    "load_run",
    "load_study",
    "preview_noise",
    "read_confirmation",
    "register_winner",
    "report",
    "space_shares",
    "trials_table",
]


def __getattr__(name: str) -> Any:
    if name != "register_winner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Its module alone imports torch, which takes seconds.
    from analysis.export.register import register_winner

    return register_winner


def report(
    name: str | Path,
    storage: Where = "studies",
    *,
    out: str | Path | None = None,
    pictures: bool = False,
    evaluated: bool = False,
) -> list[Path]:
    """Write report.html of a study, of a grid, or of a single run's folder; returns the files.

    Args:
        name: of a study or grid in ``storage``; a path: the folder of a run.
        out: folder; None: the study's, or the run's.
        pictures: also as PNG and SVG.
        evaluated: evaluate stored weights by class.

    Raises:
        InputError: there is no such study or run.
    """
    if isinstance(name, Path):
        return run_page(load_run(name)).write(Path(out or name), files=pictures)
    grid = load_grid(storage, name)
    if grid is not None:
        return grid_page(grid).write(Path(out or grid.folder.path), files=pictures)
    view = load_study(storage, name)
    folder = Path(out or view.folder.path)
    return write_report(view, folder, files=pictures, evaluated=evaluated)


def read_confirmation(name: str, storage: Where = "studies") -> ConfirmReport:
    """What the fresh seeds of a confirmation say; nothing is written.

    Raises:
        InputError: there is no such study, or it was not confirmed.
    """
    return confirm_report(load_confirmation(storage, name))


def preview_noise(
    name: str | Path,
    storage: Where = "studies",
    changes: Mapping[str, Any] | None = None,
    *,
    baseline_seed: int | None = None,
) -> Preview:
    """What settings of noise would do on a recorded baseline, without training.

    Args:
        name: of a study in ``storage``; a path: the folder of a single run.
        changes: settings by path over those of the study or run, ``{"noise/patience": 3}``. Where
            neither has noise, it is adaptive unless they say otherwise.
        baseline_seed: whose history of a study's; None: of the trials' seed.

    Raises:
        InputError: there is no such study, run or history, or a setting can't be used.
    """
    baseline: BaselineHistory
    if isinstance(name, Path):
        baseline = run_baseline(name)
        base = baseline.config.noise
    else:
        view = load_study(storage, name)
        baseline = study_baseline(view, baseline_seed)
        base = view.config.train.noise
    return _preview(baseline, resolve_noise(base, {}, dict(changes or {}), {}))


def space_shares(
    name: str,
    storage: Where = "studies",
    space: str | None = None,
    *,
    baseline_seed: int | None = None,
    n: int = 1000,
) -> SpaceForks:
    """How many of a space's configurations would inject at once, later, or never. No training.

    Args:
        name: of the study on whose baseline they are tried.
        space: None: the study's own.
        n: configurations sampled.

    Raises:
        InputError: there is no such study or space, or its noise looks at no signal.
    """
    view = load_study(storage, name)
    return space_forks(view, study_baseline(view, baseline_seed), space, n=n)
