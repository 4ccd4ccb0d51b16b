"""``noise-analysis preview`` and ``shares``: what settings would do on a recorded history."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from analysis.commands.options import PROG, BaselineSeed, StoreOptions, tell, writing
from study.commands.dispatch import subcommand
from study.commands.options import read_command_line
from study.commands.places import Name
from study.commands.settings import SettingOptions, option, positional
from trainables.config import TrainConfig
from trainables.errors import InputError, nearest
from trainables.paths import check_writable, given_path

if TYPE_CHECKING:
    from analysis.reading import BaselineHistory, StudyView


NOISE_OPTIONS = SettingOptions(
    TrainConfig,
    TrainConfig.model_validate({"noise": {"policy": "on_stagnation"}}),
    only=["noise"],
    short=False,
)
"""The options of ``preview``: all settings of noise, as ``noise-train`` has them."""


@dataclass(frozen=True)
class PreviewOptions(StoreOptions):
    """Whose history, which settings, and where the picture goes."""

    name: tyro.conf.Positional[
        Annotated[
            str,
            positional(
                "NAME", "a study's name, or a single run's folder (checkpoints/metrics/RUN)"
            ),
        ]
    ] = ""
    baseline_seed: BaselineSeed = None
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
        option(
            "--entry", help="which entry of a list, from 0", value="INT", default="the only one"
        ),
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
    line = read_command_line(
        arguments,
        NOISE_OPTIONS,
        PreviewOptions,
        prog=f"{PROG} preview",
        description="Say from a recorded baseline, without training, which signals settings would "
        "raise, when noise would begin and how strong: known up to its first epoch. "
        "Settings combine as study or --trial < --config < single options.",
    )
    from analysis.preview.compute import preview as compute
    from analysis.preview.noise_settings import read_noise_file, resolve_noise

    options = line.extra
    view, baseline = _history(options)
    base = baseline.config.noise if view is None else _settings_below(options, view)
    from_file: Any = {}
    if options.config:
        file = read_noise_file(options.config, options.entry, baseline.config)
        from_file = file.noise
        if file.notice:
            tell(file.notice)
    elif options.entry is not None:
        raise InputError(f"--entry = {options.entry}: give the list by --config FILE")
    noise = resolve_noise(base, from_file, line.given, NOISE_OPTIONS.long_names, options.config)
    found = compute(baseline, noise)
    _show_preview(found, _preview_path(options, view) if options.picture else None)
    return 0


def _history(options: PreviewOptions) -> "tuple[StudyView | None, BaselineHistory]":
    from analysis.reading import METRICS_FILE, run_baseline, study_baseline

    folder = given_path(options.name or ".", "name")
    if options.name and (folder / METRICS_FILE).is_file():
        for name, value in (("--trial", options.trial), ("--baseline-seed", options.baseline_seed)):
            if value not in ("", None):
                raise InputError(f"{name} = {value}: {folder} is a single run, not a study")
        return None, run_baseline(folder)
    if len(folder.parts) > 1:
        return None, run_baseline(folder)
    view = options.load(options.name)
    return view, study_baseline(view, options.baseline_seed)


def _settings_below(options: PreviewOptions, view: "StudyView") -> Any:
    name = options.trial
    if not name:
        return view.config.train.noise
    if name == "best":
        if view.best is None:
            raise InputError(f"--trial = best: study {view.name!r} has no complete trial yet")
        name = view.best.trial_id
    known = [record.key for record in view.state.by_role("trial")]
    if name not in known:
        raise InputError(f"--trial = {name!r}: {nearest(name, known)}")
    return view.train_config(name).noise


def _preview_path(options: PreviewOptions, view: "StudyView | None") -> Path:
    if options.out:
        path = given_path(options.out, "--out")
        if path.suffix.lower() not in {".png", ".svg"}:
            raise InputError(f"--out = {options.out!r}: give a file that ends in .png or .svg")
        check_writable(path.parent, "--out")
        return path
    folder = given_path(options.name, "name") if view is None else view.folder.path
    return folder / "preview.png"


def _show_preview(found: Any, path: Path | None) -> None:
    from analysis.preview.show import preview_chart, signals_table, terminal_picture, timeline_table

    console = Console()
    if path is not None:
        console.print(Text.from_ansi(terminal_picture(found, min(console.width, 110))))
    if found.signals:
        console.print(signals_table(found))
    console.print(timeline_table(found))
    for sentence in found.sentences():
        console.print(sentence, highlight=False, soft_wrap=True)
    if path is not None:
        from analysis.charts.draw_static import save_figure

        with writing():
            save_figure(preview_chart(found), path)
        console.print(f"picture: {path}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class SharesOptions(StoreOptions):
    name: Name = ""
    space: Annotated[
        str, option("--space", help="search space", value="NAME", default="the study's")
    ] = ""
    baseline_seed: BaselineSeed = None
    n: Annotated[int, option("--n", help="configurations sampled", value="INT")] = 1000


@subcommand(f"{PROG} shares", SharesOptions)
def shares(options: SharesOptions) -> int:
    """Sample a space's configurations and say from a study's baseline, without training, how
    many never inject, how many at once, and when the others begin: for the space as it is
    written, and calibrated.
    """
    if options.n < 1:
        raise InputError(f"--n = {options.n}: at least 1")
    from analysis.preview.fork_shares import shares_table, space_forks
    from analysis.reading import study_baseline

    view = options.load(options.name)
    baseline = study_baseline(view, options.baseline_seed)
    found = space_forks(view, baseline, options.space or None, n=options.n)
    console = Console()
    console.print(shares_table(found))
    for note in found.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return 0
