"""The face for Python of what reads studies: each function does what the command of its name does.

``study.api`` has those that train.
"""

from pathlib import Path

from analysis.compare import StudyLine, compare_studies
from analysis.confirm.model import ConfirmReport
from analysis.confirm.report import confirm_report
from analysis.export.files import export_study
from analysis.export.register import register_winner
from analysis.reading import GridView, StudyView, load_grid, load_study
from analysis.report.grid_report import grid_page
from analysis.report.run_report import load_run, run_page
from analysis.report.sections import write_report
from analysis.trials_table import TrialsTable, trials_table
from study.campaigns.confirmation import load_confirmation
from study.records.storage import Where

__all__ = [
    "ConfirmReport",
    "GridView",
    "StudyLine",
    "StudyView",
    "TrialsTable",
    "compare_studies",
    "export_study",
    "load_grid",
    "load_run",
    "load_study",
    "read_confirmation",
    "register_winner",
    "report",
    "trials_table",
]


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
