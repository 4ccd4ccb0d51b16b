"""Charts as plotly's figures in JSON, for a page; without importing plotly.

Every figure takes its colours for text and lines from the page, so that one page serves light and
dark. Bands and rules are shapes; an invisible point each gives them a place in the legend.
"""

from typing import Any

from analysis.charts.chart import Band, Bars, Blocks, Chart, Line, Mark, Panel, Points, Rule, Ticks

_ROW = 190
_GAP = 62
_MARGINS = 70
_LEGEND = 40

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
    data: list[Any] = []
    layout: Figure = {
        "height": round(inner + _MARGINS + _LEGEND),
        "margin": {"l": 10, "r": 12, "t": 12, "b": 10},
        "barmode": "overlay",
        "bargap": 0.25,
        "hovermode": "closest",
        "shapes": [],
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    }
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
            _add(mark, number, data, layout["shapes"], named)
    layout["showlegend"] = bool(named)
    return {"data": data, "layout": layout}


def _x_axis(panel: Panel, number: str, linked: bool) -> Figure:
    axis: Figure = {
        "anchor": f"y{number}",
        "title": {"text": panel.x, "standoff": 4},
        "automargin": True,
        "zeroline": False,
    }
    if linked and number:
        axis["matches"] = "x"
    if panel.x_log:
        axis["type"] = "log"
    if panel.x_range:
        axis["range"] = list(panel.x_range)
    return axis | _ticks(panel.ticks("x"))


def _y_axis(panel: Panel) -> Figure:
    axis: Figure = {"title": {"text": panel.y}, "automargin": True, "zeroline": False}
    if panel.y_log:
        axis["type"] = "log"
    rows = [list(mark.rows) for mark in panel.marks if isinstance(mark, Blocks)]
    bars = [list(mark.labels) for mark in panel.marks if isinstance(mark, Bars)]
    labels = next(filter(None, (*rows, *bars)), [])
    if labels:
        axis |= {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": labels,
            "range": [len(labels) - 0.5, -0.5],
        }
    return axis | _ticks(panel.ticks("y"))


def _ticks(ticks: Ticks) -> Figure:
    if not ticks:
        return {}
    return {"tickvals": [at for at, _ in ticks], "ticktext": [text for _, text in ticks]}


def _add(mark: Mark, number: str, data: list[Any], shapes: list[Any], named: set[str]) -> None:
    axes: Figure = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    wants_legend = getattr(mark, "legend", True) and not isinstance(mark, Bars)
    shown = wants_legend and mark.name not in named
    if shown:
        named.add(mark.name)
    legend = {"name": mark.name, "showlegend": shown, "legendgroup": mark.name}
    if isinstance(mark, (Band, Rule)):
        shapes.append(_shape(mark, number))
        if shown:
            data.append({**_key(mark), **legend, **axes})
        return
    data.append({**_trace(mark), **legend, **axes})


def _trace(mark: Line | Points | Bars | Blocks) -> Figure:
    if isinstance(mark, (Line, Points)):
        curve: Figure = {"type": "scatter", "x": list(mark.x), "y": list(mark.y)}
        if isinstance(mark, Line):
            look = {"color": mark.colour, "width": mark.width, "dash": mark.dash}
            mode = "lines" if len(mark.x) > 1 else "markers"
            return curve | {"mode": mode, "line": look, "opacity": mark.opacity}
        look = {"symbol": mark.symbol, "size": mark.size, "color": mark.colour}
        return curve | {"mode": "markers", "text": list(mark.labels), "marker": look}
    bars: Figure = {"type": "bar", "orientation": "h", "marker": {"color": mark.colour}}
    if isinstance(mark, Bars):
        return bars | {"x": list(mark.values), "y": list(mark.labels)}
    return bars | {
        "base": [start for _, start, _ in mark.spans],
        "x": [stop - start for _, start, stop in mark.spans],
        "y": [row for row, _, _ in mark.spans],
        "hoverinfo": "y",
    }


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
