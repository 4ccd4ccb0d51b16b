"""``noise-analysis export``, ``report``, ``compare`` and ``confirm``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from analysis.commands.options import PROG, StoreOptions, StudyOptions, tell, writing
from analysis.reading import is_begun_run, is_run, load_grid
from study.commands.dispatch import subcommand
from study.commands.own_code import Trust
from study.commands.settings import option, positional
from trainables.errors import InputError
from trainables.paths import given_path

if TYPE_CHECKING:
    from analysis.reading import GridView, StudyView


_PORTS = 2**16


@dataclass(frozen=True)
class ExportOptions(StudyOptions):
    top: Annotated[
        int, option("--top", help="how many of the best trials' configurations", value="K")
    ] = 3
    pareto: Annotated[
        bool, option("--pareto", help="configurations of the Pareto front instead")
    ] = False
    register: Annotated[
        str,
        option(
            "--register",
            help="put the winner's weights into MLflow's model registry under this name, with the "
            "alias champion; refused unless noise-study confirm has confirmed it to be better than "
            "the baseline. Its weights are those that decided (--decide-by)",
            value="MODEL",
            default="none",
        ),
    ] = ""
    force: Annotated[
        bool,
        option("--force", help="register the winner even if it is not confirmed; its tags say so"),
    ] = False
    weights: Annotated[
        str,
        option(
            "--weights",
            help="the winner's weights, written by noise-train, where the study's checkpoint of "
            "it is gone",
            value="FILE",
            default="the study's checkpoint",
        ),
    ] = ""
    trust: Trust = ""


@subcommand(f"{PROG} export", ExportOptions)
def export(options: ExportOptions) -> int:
    """Write the best run configurations (JSON and YAML, for noise-train --config; each is
    loaded again), all trials as CSV and Parquet, and the result as a table in Markdown and
    LaTeX; --register puts the winner into MLflow's model registry.
    """
    for name, given in (("--force", options.force), ("--weights", options.weights)):
        if given and not options.register:
            raise InputError(f"{name}: only with --register MODEL")
    view = options.load(options.name)
    from analysis.export.files import export_study

    if options.register:
        from analysis.export.register import check_winner, winner_weights

        # What is refused is refused before anything is written.
        winner = check_winner(view, options.register, force=options.force)
        winner_weights(view, winner.key, options.weights)
    folder = options.folder(view.folder.path / "export")
    with writing():
        paths = export_study(view, folder, top=options.top, pareto=options.pareto)
    for path in paths:
        print(path)
    for line in view.missing():
        tell(line)
    return _register(options, view) if options.register else 0


def _register(options: ExportOptions, view: "StudyView") -> int:
    from analysis.export.register import register_winner
    from study.tracking.registry import CHAMPION
    from study.tracking.types import StoreRefusedError, StoreUnavailableError

    try:
        found, winner = register_winner(
            view,
            options.register,
            tracking=options.tracking_uri or None,
            force=options.force,
            weights_file=options.weights,
        )
    except (StoreUnavailableError, StoreRefusedError) as error:
        tell(f"MLflow can't register {options.register!r}: {error}")
        return 1
    print(
        f"{found.name} version {found.version} is {winner.key} ({winner.reason}). It was loaded "
        f"again and predicts the same: mlflow.pyfunc.load_model('models:/{found.name}@{CHAMPION}')"
    )
    return 0


@dataclass(frozen=True)
class ReportOptions(StudyOptions):
    pictures: Annotated[
        bool, option("--pictures", help="write the pictures as PNG and SVG files, too")
    ] = True
    evaluate: Annotated[
        bool,
        option(
            "--evaluate",
            help="evaluate the weights of the best trial and of its baseline by class, and how "
            "sharp their minima are",
        ),
    ] = True
    watch: Annotated[
        bool,
        option(
            "--watch",
            help="serve the report on this machine and renew it while what it tells of goes on; "
            "nothing is written; Ctrl-C ends it",
        ),
    ] = False
    port: Annotated[
        int | None,
        option("--port", help="port on 127.0.0.1 for --watch", value="INT", default="a free one"),
    ] = None
    trust: Trust = ""


@subcommand(f"{PROG} report", ReportOptions)
def report(options: ReportOptions) -> int:
    """Write report.html, one file that opens offline, and its pictures as PNG and SVG. Works
    for running, interrupted and finished studies; and for a single run, given the folder that
    noise-train left, e.g. checkpoints/metrics/RUN. --watch shows it in a browser, with progress
    and time left.
    """
    if options.watch:
        return _watch(options)
    if options.port is not None:
        raise InputError(f"--port = {options.port}: only with --watch")
    if options.name and is_run(Path(options.name)):
        return _run_report(options)
    grid = load_grid(options.where, options.name)
    if grid is not None:
        return _grid_report(options, grid)
    view = options.load(options.name)
    # What takes long to import is imported for a study that exists.
    from analysis.export.tracking import attach_report
    from analysis.report.sections import write_report

    folder = options.folder(view.folder.path)
    said: list[str] = []

    def attach(path: Path) -> None:
        # It can be opened now: the pictures, and what MLflow is told, take as long again.
        print(path, flush=True)
        said.append(attach_report(view, options.tracking_uri or None, path))

    with writing():
        paths = write_report(
            view,
            folder,
            files=options.pictures,
            evaluated=options.evaluate,
            say=tell,
            written=attach,
        )
    for path in paths[1:]:
        print(path)
    for line in filter(None, said):
        tell(line)
    for line in view.missing():
        tell(line)
    return 0


def _watch(options: ReportOptions) -> int:
    if options.out:
        raise InputError(f"--out = {options.out}: not with --watch, which writes no file")
    port = options.port or 0
    if not 0 <= port < _PORTS:
        raise InputError(f"--port = {port}: from 1 to {_PORTS - 1}, or 0 for a free one")
    run = given_path(options.name, "name") if options.name else None
    # A folder of that name may hold somebody else's config.json: what is a study is one.
    known = options.where.folder / options.name / "study.json"
    begun = run is not None and (is_run(run) or (is_begun_run(run) and not known.exists()))
    grid = None if begun else load_grid(options.where, options.name)
    # What takes long to import is imported for a study that exists.
    from analysis.watch.server import HOST, serve, serving
    from analysis.watch.watched import WatchedGrid, WatchedRun, WatchedStudy
    from study.tracking.ui import open_when_ready

    if begun and run is not None:
        server = serving(WatchedRun(run), port)
    elif grid is not None:
        server = serving(WatchedGrid(grid), port)
    else:
        server = serving(WatchedStudy(options.where, options.name), port)
    address = f"http://{HOST}:{server.server_port}/"
    print(f"the report of {options.name} (Ctrl-C ends it):\n  {address}", flush=True)
    open_when_ready(address)
    serve(server)
    return 0


def _grid_report(options: ReportOptions, view: "GridView") -> int:
    from analysis.report.grid_report import grid_page

    folder = options.folder(view.folder.path)
    with writing():
        paths = grid_page(view).write(folder, files=options.pictures)
    for path in paths:
        print(path)
    for line in view.missing():
        tell(line)
    return 0


def _run_report(options: ReportOptions) -> int:
    from analysis.report.run_report import load_run, run_page

    run = given_path(options.name, "name")
    view = load_run(run)
    folder = options.folder(run)
    with writing():
        paths = run_page(view).write(folder, files=options.pictures)
    for path in paths:
        print(path)
    return 0


@dataclass(frozen=True)
class CompareOptions(StoreOptions):
    names: tyro.conf.Positional[
        Annotated[tuple[str, ...], positional("NAME …", "two or more studies")]
    ] = ()


@subcommand(f"{PROG} compare", CompareOptions)
def compare(options: CompareOptions) -> int:
    """Put studies side by side: the best paired difference, the importance of the settings, the
    cost.
    """
    views = [options.load(name) for name in options.names]
    from analysis.compare import compare_studies, comparison_tables, differing

    lines = compare_studies(views)
    console = Console()
    for table in comparison_tables(lines):
        console.print(table)
    for sentence in differing(lines):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for line in lines:
        for missing in line.missing:
            tell(f"{line.name}: {missing}")
    return 0


@subcommand(f"{PROG} confirm", StudyOptions)
def confirm(options: StudyOptions) -> int:
    """Say from the fresh seeds of noise-study confirm whether the best configurations beat the
    baseline and their controls, placebo and clock; writes confirm.json and confirm.md.
    """
    from analysis.confirm.markdown import write_confirm
    from analysis.confirm.report import confirm_report
    from analysis.confirm.tables import print_confirm
    from study.campaigns.confirmation import load_confirmation

    found = load_confirmation(options.where, options.name)
    folder = options.folder(found.folder.path)
    report = confirm_report(found)
    print_confirm(Console(), report)
    with writing():
        paths = write_confirm(report, folder)
    for path in paths:
        print(path)
    return 0
