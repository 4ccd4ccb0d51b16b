"""Charts as plotly's figures in JSON, for a page; without importing plotly.

Every figure takes its colours for text and lines from the page, so that one page serves light and
dark. Bands and rules are shapes; an invisible point each gives them a place in the legend.

Plotly reads every text as HTML: whatever a user may have named is escaped.
"""

import html
from collections.abc import Sequence
from typing import Any

from analysis.charts.chart import (
    Axis,
    Band,
    Bars,
    Blocks,
    Chart,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    cut_label,
    whole_step,
)

_ROW = 190
_GAP = 62
_MARGINS = 70
_LEGEND = 40
_TICKS = 6
_LETTER = 6.6
_WIDEST = 26
"""Characters of a label that a narrow page has room for."""

Figure = dict[str, Any]


def figures(chart: Chart) -> list[Figure]:
    """The chart as figures (``data`` and ``layout``): one, or one a panel for panels in columns.

    So a narrow page can put the latter one below the other.
    """
    if chart.columns == 1:
        return [_figure(chart.panels)]
    return [_figure((panel,)) for panel in chart.panels]


def _figure(panels: tuple[Panel, ...]) -> Figure:
    heights = [_ROW * panel.height for panel in panels]
    inner = sum(heights) + _GAP * (len(panels) - 1)
    layout: Figure = {
        "height": round(inner + _MARGINS + _LEGEND),
        "margin": {"l": 10, "r": 12, "t": 12, "b": 10},
        "barmode": "overlay",
        "bargap": 0.25,
        "hovermode": "closest",
        "shapes": [],
        "annotations": [],
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    }
    figure: Figure = {"data": [], "layout": layout}
    named: set[str] = set()
    top = float(inner)
    linked = len(panels) > 1 and len({panel.x or "epoch" for panel in panels}) == 1
    for index, (panel, height) in enumerate(zip(panels, heights, strict=True), 1):
        number = "" if index == 1 else str(index)
        domain = [max(0.0, (top - height) / inner), top / inner]
        top -= height + _GAP
        layout[f"xaxis{number}"] = _x_axis(panel, number, linked)
        layout[f"yaxis{number}"] = {**_y_axis(panel), "domain": domain, "anchor": f"x{number}"}
        for mark in panel.marks:
            _add(mark, panel.rows, number, figure, named)
        if panel.is_empty:
            layout["annotations"].append(_why_empty(panel, number))
    layout["showlegend"] = bool(named)
    return figure


def _x_axis(panel: Panel, number: str, linked: bool) -> Figure:
    axis = {
        **_axis(panel, "x", panel.x, log=panel.x_log),
        "anchor": f"y{number}",
        "title": {"text": _plain(panel.x), "standoff": 4},
    }
    if linked and number:
        axis["matches"] = "x"
    reach = panel.reach("x")
    if panel.counts and reach:
        axis |= {"tick0": 0, "dtick": whole_step(*reach, most=_TICKS), "tickformat": "d"}
    return axis


def _y_axis(panel: Panel) -> Figure:
    axis = _axis(panel, "y", panel.y, log=panel.y_log)
    axis["title"]["text"] = _broken(_plain(panel.y), _ROW * panel.height / _LETTER)
    if panel.rows:
        # Numbers, not plotly's categories: two labels may be alike once they are cut.
        labels = [_plain(_lines(label)) for label in panel.rows]
        axis |= {"tickvals": list(range(len(labels))), "ticktext": labels}
        axis["range"] = [len(labels) - 0.5, -0.5]
    return axis


def _axis(panel: Panel, which: Axis, title: str, *, log: bool) -> Figure:
    axis: Figure = {
        "title": {"text": _plain(title), "standoff": 8},
        "automargin": True,
        "zeroline": False,
        "ticklabeloverflow": "allow",
    }
    if log:
        axis["type"] = "log"
    reach, ticks = panel.reach(which), panel.ticks(which)
    if reach:
        axis["range"] = list(reach)
    if ticks:
        axis |= {
            "tickvals": [at for at, _ in ticks],
            "ticktext": [_plain(_lines(text)) for _, text in ticks],
        }
    return axis


def _broken(text: str, room: float) -> str:
    """A title in two lines where one is too short for it."""
    if len(text) <= room or " " not in text:
        return text
    middle = min(
        (at for at, letter in enumerate(text) if letter == " "),
        key=lambda at: abs(at - len(text) / 2),
    )
    return f"{text[:middle]}<br>{text[middle + 1 :]}"


def _lines(text: str) -> str:
    """A label, each line of it as short as a narrow page needs it."""
    return "\n".join(cut_label(line, _WIDEST) for line in text.split("\n"))


def _plain(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _why_empty(panel: Panel, number: str) -> Figure:
    """The words in the middle of a panel that has nothing to draw."""
    return {
        "text": _plain(panel.missing),
        "showarrow": False,
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "x": 0.5,
        "y": 0.5,
    }


def _add(mark: Mark, rows: Sequence[str], number: str, figure: Figure, named: set[str]) -> None:
    axes: Figure = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    wants_legend = getattr(mark, "legend", True) and not isinstance(mark, Bars)
    shown = wants_legend and mark.name not in named
    if shown:
        named.add(mark.name)
    name = _plain(mark.name)
    legend = {"name": name, "showlegend": shown, "legendgroup": name}
    if isinstance(mark, (Band, Rule)):
        figure["layout"]["shapes"].append(_shape(mark, number))
        if shown:
            figure["data"].append({**_key(mark), **legend, **axes})
        return
    figure["data"].append({**_trace(mark, rows), **legend, **axes})


def _trace(mark: Line | Points | Bars | Blocks, rows: Sequence[str]) -> Figure:
    if isinstance(mark, (Line, Points)):
        curve: Figure = {"type": "scatter", "x": list(mark.x), "y": list(mark.y)}
        if isinstance(mark, Line):
            look = {"color": mark.colour, "width": mark.width, "dash": mark.dash}
            mode = "lines" if len(mark.x) > 1 else "markers"
            return curve | {"mode": mode, "line": look, "opacity": mark.opacity}
        look = {"symbol": mark.symbol, "size": mark.size, "color": mark.colour}
        labels = [_plain(label) for label in mark.labels]
        return curve | {"mode": "markers", "text": labels, "marker": look}
    bars: Figure = {"type": "bar", "orientation": "h", "marker": {"color": mark.colour}}
    if isinstance(mark, Bars):
        labels = [_plain(label) for label in mark.labels]
        places = list(range(len(labels)))
        return bars | {"x": list(mark.values), "y": places, "text": labels} | _QUIET
    return bars | {
        "base": [start for _, start, _ in mark.spans],
        "x": [stop - start for _, start, stop in mark.spans],
        "y": [rows.index(row) for row, _, _ in mark.spans],
        "text": [_plain(row) for row, _, _ in mark.spans],
        "hoverinfo": "text",
        "textposition": "none",
    }


_QUIET: Figure = {"textposition": "none", "hovertemplate": "%{text}: %{x:.4g}<extra></extra>"}
"""Labels of bars are told where one points, not written upon them."""


def _shape(mark: Band | Rule, number: str) -> Figure:
    along, across = ("x", "y") if mark.axis == "x" else ("y", "x")
    ends = (mark.start, mark.stop) if isinstance(mark, Band) else (mark.at, mark.at)
    shape: Figure = {
        f"{along}ref": f"{along}{number}",
        f"{across}ref": f"{across}{number} domain",
        f"{along}0": ends[0],
        f"{along}1": ends[1],
        f"{across}0": 0,
        f"{across}1": 1,
    }
    if isinstance(mark, Rule):
        look = {"color": mark.colour, "width": 1.4, "dash": mark.dash}
        return {"type": "line", "line": look, **shape}
    return {
        "type": "rect",
        "layer": "below",
        "fillcolor": mark.colour,
        "opacity": mark.opacity,
        "line": {"width": 0},
        **shape,
    }


def _key(mark: Band | Rule) -> Figure:
    """A trace without a point, for the legend."""
    nothing: Figure = {"type": "scatter", "x": [None], "y": [None], "hoverinfo": "skip"}
    if isinstance(mark, Rule):
        return {**nothing, "mode": "lines", "line": {"color": mark.colour, "dash": mark.dash}}
    look = {"symbol": "square", "size": 11, "color": mark.colour, "opacity": mark.opacity * 1.6}
    return {**nothing, "mode": "markers", "marker": look}
