"""``noise-analysis``: look at studies and single runs. Nothing here trains."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from study.commands.options import (
    SettingOptions,
    option,
    read_arguments,
    read_command_line,
    run_command,
)
from study.commands.study import StorageOptions, dispatch
from trainables.config import TrainConfig
from trainables.errors import InputError, nearest

if TYPE_CHECKING:
    from analysis.reading import BaselineHistory, StudyView

PROG = "noise-analysis"

NOISE_OPTIONS = SettingOptions(
    TrainConfig,
    TrainConfig.model_validate({"noise": {"policy": "on_stagnation"}}),
    only=["noise"],
    short=False,
)
"""The options of ``preview``: all settings of noise, as ``noise-train`` has them."""

_Name = tyro.conf.Positional[Annotated[str, tyro.conf.arg(help="the study's name", metavar="NAME")]]


@dataclass(frozen=True)
class StoreOptions(StorageOptions):
    """Where studies are, and MLflow's store."""

    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri",
            help="MLflow tracking URI: reports and models go there, figures come from the study's "
            "own files",
            value="URI",
            default="the study's own",
        ),
    ] = ""


@dataclass(frozen=True)
class StudyOptions(StoreOptions):
    """A study, and where results go."""

    name: _Name = ""
    out: Annotated[
        str,
        option(
            "--out",
            help="folder for the files",
            value="DIR",
            default="STORAGE/NAME; export: STORAGE/NAME/export",
        ),
    ] = ""


@dataclass(frozen=True)
class PreviewOptions(StoreOptions):
    """Whose history, which settings, and where the picture goes."""

    name: tyro.conf.Positional[
        Annotated[
            str,
            tyro.conf.arg(
                help="a study's name, or a single run's folder (checkpoints/metrics/RUN)",
                metavar="NAME",
            ),
        ]
    ] = ""
    baseline_seed: Annotated[
        int | None,
        option(
            "--baseline-seed",
            help="seed of the study's baseline",
            value="INT",
            default="the trials' seed",
        ),
    ] = None
    config: Annotated[
        str,
        option(
            "--config",
            help="JSON or YAML file: a run's configuration, noise settings alone, overrides, "
            "or a list of these",
            value="FILE",
            default="none",
        ),
    ] = ""
    entry: Annotated[
        int | None,
        option("--entry", help="which entry of a list, from 0", value="INT", default="the only"),
    ] = None
    trial: Annotated[
        str,
        option(
            "--trial",
            help="start from the settings of this trial of the study, or of the best one (best)",
            value="KEY",
            default="none",
        ),
    ] = ""
    out: Annotated[
        str,
        option(
            "--out",
            help="file for the picture, PNG or SVG",
            value="FILE",
            default="preview.png in the study's or run's folder",
        ),
    ] = ""
    picture: Annotated[
        bool, option("--picture", help="draw the picture, as a file and in the terminal")
    ] = True


def preview(arguments: Sequence[str]) -> int:
    """``noise-analysis preview``: what settings would do on a recorded baseline."""
    line = read_command_line(
        arguments,
        NOISE_OPTIONS,
        PreviewOptions,
        prog=f"{PROG} preview",
        description="Say from a recorded baseline, without training, which signals settings would "
        "raise, when noise would begin and how strong: known up to its first epoch. "
        "Settings combine as study or --trial < --config < single options.",
    )
    from analysis.noise_settings import read_noise_file, resolve_noise
    from analysis.preview import preview as compute

    options = line.extra
    view, baseline = _history(options)
    base = _settings_below(options, view, baseline)
    from_file: Any = {}
    if options.config:
        file = read_noise_file(options.config, options.entry, baseline.config)
        from_file = file.noise
        if file.notice:
            print(f"{PROG}: {file.notice}", file=sys.stderr)
    elif options.entry is not None:
        raise InputError(f"--entry = {options.entry}: give the list by --config FILE")
    noise = resolve_noise(base, from_file, line.given, NOISE_OPTIONS.long_names, options.config)
    found = compute(baseline, noise)
    _show_preview(found, _preview_path(options, view) if options.picture else None)
    return 0


def _history(options: PreviewOptions) -> "tuple[StudyView | None, BaselineHistory]":
    from analysis.reading import METRICS_FILE, load_study, run_baseline, study_baseline

    folder = Path(options.name).expanduser()
    if options.name and (folder / METRICS_FILE).is_file():
        for name, value in (("--trial", options.trial), ("--baseline-seed", options.baseline_seed)):
            if value not in ("", None):
                raise InputError(f"{name} = {value}: {folder} is a single run, not a study")
        return None, run_baseline(folder)
    if len(folder.parts) > 1:
        return None, run_baseline(folder)
    view = load_study(options.where, options.name)
    return view, study_baseline(view, options.baseline_seed)


def _settings_below(
    options: PreviewOptions, view: "StudyView | None", baseline: "BaselineHistory"
) -> Any:
    if view is None:
        return baseline.config.noise
    if not options.trial:
        return view.config.train.noise
    return view.train_config(_trial_key(view, options.trial)).noise


def _trial_key(view: "StudyView", name: str) -> str:
    if name == "best":
        if view.best is None:
            raise InputError(f"--trial = best: study {view.name!r} has no complete trial yet")
        return view.best.trial_id
    known = [record.key for record in view.state.by_role("trial")]
    if name not in known:
        raise InputError(f"--trial = {name!r}: {nearest(name, known)}")
    return name


def _preview_path(options: PreviewOptions, view: "StudyView | None") -> Path:
    if options.out:
        path = Path(options.out).expanduser()
        if path.suffix.lower() not in {".png", ".svg"}:
            raise InputError(f"--out = {options.out!r}: give a file that ends in .png or .svg")
        return path
    folder = Path(options.name).expanduser() if view is None else view.folder.path
    return folder / "preview.png"


def _show_preview(found: Any, path: Path | None) -> None:
    from analysis.preview import preview_chart, signals_table, terminal_picture, timeline_table

    console = Console()
    if path is not None:
        console.print(Text.from_ansi(terminal_picture(found, min(console.width, 110))))
    if found.signals:
        console.print(signals_table(found))
    console.print(timeline_table(found))
    for sentence in found.sentences():
        console.print(sentence, highlight=False, soft_wrap=True)
    if path is not None:
        from analysis.draw_static import save_figure

        save_figure(preview_chart(found), path)
        console.print(f"picture: {path}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class SharesOptions(StoreOptions):
    """Which study, baseline and space."""

    name: _Name = ""
    space: Annotated[
        str, option("--space", help="search space", value="NAME", default="the study's")
    ] = ""
    baseline_seed: Annotated[
        int | None,
        option(
            "--baseline-seed",
            help="seed of the study's baseline",
            value="INT",
            default="the trials' seed",
        ),
    ] = None
    n: Annotated[int, option("--n", help="configurations sampled", value="INT")] = 1000


def shares(arguments: Sequence[str]) -> int:
    """``noise-analysis shares``: how a space forks, before and after calibration."""
    options = read_arguments(
        SharesOptions,
        arguments,
        prog=f"{PROG} shares",
        description="Sample a space's configurations and say from a study's baseline, without "
        "training, how many never inject, how many at once, and when the others begin: for the "
        "space as it is written, and calibrated.",
    )
    if options.n < 1:
        raise InputError(f"--n = {options.n}: at least 1")
    from analysis.fork_shares import shares_table, space_forks
    from analysis.reading import load_study, study_baseline

    view = load_study(options.where, options.name)
    baseline = study_baseline(view, options.baseline_seed)
    found = space_forks(view, baseline, options.space or None, n=options.n)
    console = Console()
    console.print(shares_table(found))
    for note in found.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return 0


@dataclass(frozen=True)
class ExportOptions(StudyOptions):
    """Which trials, in which form."""

    top: Annotated[
        int, option("--top", help="configurations of so many of the best trials", value="K")
    ] = 3
    pareto: Annotated[
        bool, option("--pareto", help="configurations of the Pareto front instead")
    ] = False
    register: Annotated[
        str,
        option(
            "--register",
            help="put the winner's weights into MLflow's model registry under this name, with the "
            "alias champion; refused unless it beats the baseline (by the confirmation's verdict "
            "where there is one, else by the search's paired difference)",
            value="MODEL",
            default="none",
        ),
    ] = ""
    force: Annotated[
        bool, option("--force", help="register the winner even if it does not beat the baseline")
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


def export(arguments: Sequence[str]) -> int:
    """``noise-analysis export``: configurations and tables that other tools read."""
    options = read_arguments(
        ExportOptions,
        arguments,
        prog=f"{PROG} export",
        description="Write the best run configurations (JSON and YAML, for noise-train --config; "
        "each is loaded again), all trials as CSV and Parquet, and the result as a table in "
        "Markdown and LaTeX; --register puts the winner into MLflow's model registry.",
    )
    for name, given in (("--force", options.force), ("--weights", options.weights)):
        if given and not options.register:
            raise InputError(f"{name}: only with --register MODEL")
    from analysis.export import export_study
    from analysis.reading import load_study

    view = load_study(options.where, options.name)
    if options.register:
        from analysis.register import check_standing

        check_standing(view, options.register, force=options.force)
    folder = Path(options.out).expanduser() if options.out else view.folder.path / "export"
    for path in export_study(view, folder, top=options.top, pareto=options.pareto):
        print(path)
    for line in view.missing():
        print(f"{PROG}: {line}", file=sys.stderr)
    return _register(options, view) if options.register else 0


def _register(options: ExportOptions, view: "StudyView") -> int:
    from analysis.register import register_winner
    from study.store import CHAMPION, StoreRefusedError, StoreUnavailableError

    try:
        found, winner = register_winner(
            view,
            options.register,
            tracking=options.tracking_uri or None,
            force=options.force,
            weights_file=options.weights,
        )
    except (StoreUnavailableError, StoreRefusedError) as error:
        print(f"{PROG}: MLflow can't register {options.register!r}: {error}", file=sys.stderr)
        return 1
    print(
        f"{found.name} version {found.version} is {winner.trial} ({winner.reason}). It was loaded "
        f"again and predicts the same: mlflow.pyfunc.load_model('models:/{found.name}@{CHAMPION}')"
    )
    return 0


@dataclass(frozen=True)
class ReportOptions(StudyOptions):
    """Which study, and what to write."""

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


def report(arguments: Sequence[str]) -> int:
    """``noise-analysis report``: everything about a study in one HTML file."""
    options = read_arguments(
        ReportOptions,
        arguments,
        prog=f"{PROG} report",
        description="Write report.html, one file that opens offline, and its pictures as PNG and "
        "SVG. Works for running, interrupted and finished studies.",
    )
    from analysis.reading import load_study
    from analysis.report import write_report
    from analysis.tracking import attach_report

    view = load_study(options.where, options.name)
    folder = Path(options.out).expanduser() if options.out else view.folder.path
    paths = write_report(
        view,
        folder,
        files=options.pictures,
        evaluated=options.evaluate,
        say=lambda line: print(f"{PROG}: {line}", file=sys.stderr),
    )
    for path in paths:
        print(path)
    said = attach_report(view, options.tracking_uri or None, paths[0])
    if said:
        print(f"{PROG}: {said}", file=sys.stderr)
    for line in view.missing():
        print(f"{PROG}: {line}", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class CompareOptions(StoreOptions):
    """Which studies."""

    names: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(help="two or more studies", metavar="NAME …")]
    ] = ()


def compare(arguments: Sequence[str]) -> int:
    """``noise-analysis compare``: studies side by side."""
    options = read_arguments(
        CompareOptions,
        arguments,
        prog=f"{PROG} compare",
        description="Put studies side by side: the best paired difference, the importance of the "
        "settings, the cost.",
    )
    from analysis.compare import compare_studies, comparison_tables, differing
    from analysis.reading import load_study

    lines = compare_studies([load_study(options.where, name) for name in options.names])
    console = Console()
    for table in comparison_tables(lines):
        console.print(table)
    for sentence in differing(lines):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for line in lines:
        for missing in line.missing:
            print(f"{PROG}: {line.name}: {missing}", file=sys.stderr)
    return 0


def confirm(arguments: Sequence[str]) -> int:
    """``noise-analysis confirm``: is the gain real?"""
    options = read_arguments(
        StudyOptions,
        arguments,
        prog=f"{PROG} confirm",
        description="Say from the fresh seeds of noise-study confirm whether the best "
        "configurations beat the baseline and their placebos; writes confirm.json and confirm.md.",
    )
    from analysis.confirm import confirm_report, print_confirm, write_confirm
    from study.confirm_plan import load_confirmation

    found = load_confirmation(options.where, options.name)
    folder = Path(options.out).expanduser() if options.out else found.folder.path
    report = confirm_report(found)
    print_confirm(Console(), report)
    for path in write_confirm(report, folder):
        print(path)
    return 0


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "preview": (preview, "what settings would do on a recorded baseline, without training"),
    "report": (report, "everything about a study in one HTML file, and its pictures"),
    "confirm": (confirm, "is the gain real? the verdict on the fresh seeds of a confirmation"),
    "compare": (compare, "studies side by side"),
    "export": (export, "configurations for noise-train, and tables of all trials"),
    "shares": (shares, "how a space's configurations fork, before and after calibration"),
}


def main(arguments: Any = None) -> int:
    """The command line; returns the exit code."""
    return run_command(PROG, lambda words: dispatch(PROG, COMMANDS, words), arguments)


if __name__ == "__main__":
    sys.exit(main())
