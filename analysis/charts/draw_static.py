"""Charts as PNG and SVG, by matplotlib."""

import math
import multiprocessing
import textwrap
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from analysis.aside import can_be_copied, leave_interrupts
from analysis.charts.chart import (
    Band,
    Bars,
    Blocks,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Ticks,
    cut_label,
)

_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_SYMBOLS = {"circle": "o", "x": "x", "square": "s", "diamond": "D", "triangle-up": "^"}
_MAX_LEGEND = 9
_WIDEST = 40
_WORKERS = 2
_TICKS = 6
_DPI = 130


def save_chart(chart: Chart, folder: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw a chart into ``folder``, one file for each ending; returns the files."""
    paths = [folder / f"{chart.key}.{ending}" for ending in endings]
    with _plain_text():
        figure = _laid_out(chart)
        for path in paths:
            _save(figure, path)
    return paths


class Drawing:
    """Draws charts as PNG and SVG into a folder, in other processes while the block goes on.

    Its end waits for them. Where this process can't be copied safely they are drawn at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Future[list[Path]]] = []
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Drawing":
        if can_be_copied():
            context = multiprocessing.get_context("fork")
            self._pool = ProcessPoolExecutor(
                _WORKERS, mp_context=context, initializer=leave_interrupts
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, charts: Sequence[Chart]) -> None:
        """Draw charts, those that take longest first."""
        for chart in sorted(charts, key=lambda chart: -len(chart.panels)):
            if self._pool is not None:
                self._files.append(self._pool.submit(save_chart, chart, self._folder))
            else:
                done: Future[list[Path]] = Future()
                done.set_result(save_chart(chart, self._folder))
                self._files.append(done)

    def files(self) -> list[Path]:
        """What has been drawn; what could not be is raised here."""
        return [path for found in self._files for path in found.result()]


def save_figure(chart: Chart, path: Path) -> None:
    """Draw a chart into one file, whose ending says PNG or SVG; its folder is made."""
    with _plain_text():
        _save(_laid_out(chart), path)


def _plain_text() -> Any:
    """Names may hold a dollar, which is no formula; the same study gives the same file."""
    from matplotlib import rc_context

    return rc_context(
        {
            "text.parse_math": False,
            "svg.hashsalt": "noise",
            "figure.autolayout": False,
            "figure.constrained_layout.use": False,
        }
    )


def _laid_out(chart: Chart) -> Any:
    """A chart's figure, its axes placed for good.

    Left to ``savefig``, the layout would cost a drawing of everything more, for each file.
    """
    figure = draw(chart)
    figure.set_dpi(_DPI)
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    return figure


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date the same study gives the same file.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    figure.savefig(path, dpi=_DPI, metadata=metadata)


def draw(chart: Chart) -> Any:
    from matplotlib.figure import Figure

    heights = [
        max(panel.height for panel in chart.panels[i : i + chart.columns])
        for i in range(0, len(chart.panels), chart.columns)
    ]
    width = 9.0 if chart.columns == 1 else 4.6 * chart.columns
    figure = Figure(figsize=(width, 1.1 + 2.4 * sum(heights)), layout="constrained")
    grid = figure.subplots(
        chart.rows, chart.columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    every = [axes for row in grid for axes in row]
    named: dict[str, Any] = {}
    for axes, panel in zip(every, chart.panels, strict=False):
        _draw_panel(axes, panel, named)
    for axes in every[len(chart.panels) :]:
        axes.set_visible(False)
    title = textwrap.fill(chart.title, int(width * 9))
    figure.suptitle(title, fontsize=11 if "\n" in title else 12)
    if named:
        figure.legend(
            named.values(),
            named.keys(),
            loc="outside lower center",
            ncols=min(3, len(named)),
            fontsize=8,
            frameon=False,
        )
    return figure


def _draw_panel(axes: Any, panel: Panel, named: dict[str, Any]) -> None:
    for mark in panel.marks:
        handle = _draw_mark(axes, mark)
        if handle is not None and getattr(mark, "legend", True) and len(named) < _MAX_LEGEND:
            named.setdefault(mark.name, handle)
    axes.set_xlabel(panel.x, fontsize=9)
    axes.set_ylabel(panel.y, fontsize=9)
    axes.tick_params(labelsize=8)
    if panel.counts and not panel.x_log:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if panel.x_log:
        axes.set_xscale("log")
    if panel.y_log:
        axes.set_yscale("log")
    _set_ticks(axes.xaxis, panel.ticks("x"), panel.x_log)
    _set_ticks(axes.yaxis, panel.ticks("y"), panel.y_log)
    _set_reach(axes, panel)
    if panel.is_empty:
        axes.text(0.5, 0.5, panel.missing, transform=axes.transAxes, ha="center", fontsize=8)
    if panel.x_ticks:
        many = sum(len(text) for _, text in panel.x_ticks) > 60
        for label in axes.get_xticklabels():
            label.set(rotation=35 if many else 15, ha="right", rotation_mode="anchor")
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _set_reach(axes: Any, panel: Panel) -> None:
    if reach := panel.reach("x"):
        axes.set_xlim(*reach)
    if reach := panel.reach("y"):
        # Rows are counted from the top on.
        axes.set_ylim(*(reach[::-1] if panel.rows else reach))


def _set_ticks(axis: Any, ticks: Ticks, log: bool) -> None:
    from matplotlib.ticker import MaxNLocator, NullLocator

    if ticks or log:
        axis.set_ticks([at for at, _ in ticks], [text for _, text in ticks])
    if log:
        axis.set_minor_locator(NullLocator())
    elif not ticks and isinstance(axis.get_major_locator(), MaxNLocator):
        axis.get_major_locator().set_params(nbins=_TICKS)


def _draw_mark(axes: Any, mark: Mark) -> Any:
    match mark:
        case Points():
            look = {"s": mark.size**2 / 2, "marker": _SYMBOLS[mark.symbol]}
            ys = [math.nan if y is None else y for y in mark.y]
            return axes.scatter(mark.x, ys, color=mark.colour, **look)
        case Line():
            ys = [math.nan if y is None else y for y in mark.y]
            style = _DASHES[mark.dash]
            look = {"color": mark.colour, "linewidth": mark.width, "alpha": mark.opacity}
            marker = "." if sum(math.isfinite(y) for y in ys) == 1 else None
            return axes.plot(mark.x, ys, style, marker=marker, **look)[0]
        case Bars():
            positions = range(len(mark.labels))
            handle = axes.barh(positions, mark.values, color=mark.colour)
            axes.set_yticks(positions, [cut_label(label, _WIDEST) for label in mark.labels])
            return handle
        case Blocks():
            rows = {name: index for index, name in enumerate(mark.rows)}
            handle = None
            for row, start, stop in mark.spans:
                handle = axes.broken_barh(
                    [(start, stop - start)], (rows[row] - 0.36, 0.72), color=mark.colour
                )
            axes.set_yticks(range(len(rows)), mark.rows)
            return handle
        case Band():
            shade = axes.axvspan if mark.axis == "x" else axes.axhspan
            return shade(mark.start, mark.stop, color=mark.colour, alpha=mark.opacity, linewidth=0)
        case Rule():
            rule = axes.axvline if mark.axis == "x" else axes.axhline
            return rule(mark.at, color=mark.colour, linestyle=_DASHES[mark.dash], linewidth=1.4)
