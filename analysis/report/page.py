"""The frame of an HTML report: one file that opens offline, without a request to any host."""

import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from analysis.charts.chart import Chart
from analysis.charts.draw_page import figures
from analysis.charts.draw_static import Drawing
from analysis.report.card import Card
from analysis.report.page_assets import SCRIPT, STYLE
from analysis.report.section import Figure, Section

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)


class Served(NamedTuple):
    """What a page that is served has besides: it may ask who serves it, and nobody else."""

    style: str
    bar: str
    script: str


class Page:
    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts: list[str] = [f'<p class="soft lead">{html.escape(lead)}</p>']
        self._sections: list[tuple[str, str]] = []
        self._figures: dict[str, object] = {}
        self._charts: list[Chart] = []

    def section(self, key: str, title: str) -> None:
        self._sections.append((key, title))
        self._parts.append(f'<h2 id="{html.escape(key)}">{html.escape(title)}</h2>')

    def add(self, part: Section) -> None:
        """Add a section: its heading, then what it has, the card before all."""
        self.section(part.key, part.title)
        if part.card is not None:
            self.card(part.card)
        self.note(*part.notes)
        self.text(*part.lines)
        for chart in part.charts:
            self.chart(chart)
        if not part.charts:
            self.text(part.missing, soft=True)
        for table in part.tables:
            if table.title:
                self._parts.append(f"<h3>{html.escape(table.title)}</h3>")
            self.table(table.header, table.rows)
            self.text(table.note, soft=True)
        self.details("In full sentences", part.details)

    def text(self, *lines: str, soft: bool = False) -> None:
        look = ' class="soft"' if soft else ""
        self._parts += [f"<p{look}>{html.escape(line)}</p>" for line in lines if line]

    def note(self, *lines: str) -> None:
        """Add paragraphs that nobody should miss."""
        self._parts += [f'<p class="note">{html.escape(line)}</p>' for line in lines if line]

    def code(self, text: str, name: str = "") -> None:
        """Add a text as it is; with a name it is shown on demand."""
        block = f"<pre>{html.escape(text)}</pre>"
        if name:
            block = f"<details><summary>{html.escape(name)}</summary>{block}</details>"
        self._parts.append(block)

    def chart(self, chart: Chart) -> None:
        self._charts.append(chart)
        found = figures(chart)
        if chart.title != self._sections[-1][1]:
            self._parts.append(f"<h3>{html.escape(chart.title)}</h3>")
        self._parts.append(f'<div class="plots{" one" if len(found) == 1 else ""}">')
        for index, figure in enumerate(found):
            name = f"figure-{chart.key}-{index}"
            self._figures[name] = figure
            label = html.escape(chart.title)
            # A height of its own: the page doesn't move when the picture is drawn.
            height = f'style="height:{figure["layout"]["height"]}px"'
            look = f'{height} role="img" aria-label="{label}"'
            self._parts.append(f'<div class="plot" id="{name}" {look}></div>')
        self._parts.append("</div>")
        self.text(chart.caption, soft=True)

    def card(self, card: Card) -> None:
        """Add what a reader takes away who reads nothing else."""
        figures = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
            for name, value in card.figures
        )
        chips = "".join(f"<li>{html.escape(chip)}</li>" for chip in card.chips)
        more = "".join(f"<p>{html.escape(line)}</p>" for line in card.lines)
        commands = "\n".join(card.commands)
        command = f"<pre>{html.escape(commands)}</pre>" if commands else ""
        self._parts.append(
            f'<section class="card {card.tone}" id="card"><span class="word">'
            f'{html.escape(card.word)}</span><p class="said">{html.escape(card.said)}</p>{more}'
            # First what limits the answer and what to do, for a small screen has no room for all.
            + (f'<ul class="chips">{chips}</ul>' if chips else "")
            + f'<p class="next">{html.escape(card.advice)}</p><dl>{figures}</dl>{command}</section>'
        )

    def details(self, summary: str, lines: Sequence[str]) -> None:
        """Add sentences that are shown on demand."""
        if lines:
            self._parts.append(f"<details><summary>{html.escape(summary)}</summary>")
            self.text(*lines)
            self._parts.append("</details>")

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        filtered: bool = False,
        first: int | None = None,
    ) -> None:
        """Add a table that sorts by a click on a column's head, and may be filtered.

        ``first``: columns that are shown; the others on demand, and not on paper.
        """
        shown = len(header) if first is None else first
        key = f"filter-{len(self._parts)}"
        if filtered:
            self._parts.append(
                f'<div class="tools"><input id="{key}" type="search" '
                'placeholder="show rows with these words" aria-label="filter">'
                f'<label><input id="all-{key}" type="checkbox"> all {len(header)} columns</label>'
                "</div>"
            )
        cells = [[_cell(cell) for cell in row] for row in rows]
        looks = [
            " ".join(filter(None, (_column_look(index, cells), "more" if index >= shown else "")))
            for index in range(len(header))
        ]
        heads = "".join(
            f'<th class="{look}"><button type="button">{html.escape(name)}</button></th>'
            for look, name in zip(looks, header, strict=True)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f'<td class="{look}"{cell.sort}>{html.escape(cell.text)}</td>'
                for look, cell in zip(looks, row, strict=True)
            )
            + "</tr>"
            for row in cells
        )
        self._parts.append(
            f'<div class="wide"><table class="data" data-filter="{key}"><thead><tr>{heads}</tr>'
            f"</thead><tbody>{body}</tbody></table></div>"
        )

    def parts(self) -> dict[str, object]:
        """What another version of the same page may put in the place of its own."""
        return {"nav": self._links(), "main": "".join(self._parts), "figures": self._figures}

    def _links(self) -> str:
        return "".join(
            f'<a href="#{html.escape(key)}">{html.escape(name)}</a>' for key, name in self._sections
        )

    def write(self, folder: Path, *, files: bool) -> list[Path]:
        """Write ``report.html`` into ``folder``, with ``files`` its pictures into its ``report``.

        Returns the files, the page first.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with Drawing(folder / "report") as drawing:
            if files:
                drawing.begin(self._charts)
            path = folder / "report.html"
            path.write_text(self.html(), encoding="utf-8")
            return [path, *drawing.files()]

    def html(self, served: Served | None = None) -> str:
        title = html.escape(self._title)
        policy = f"{_POLICY}; connect-src 'self'" if served else _POLICY
        style = STYLE + (served.style if served else "")
        bar, script = (served.bar, served.script) if served else ("", "")
        # A script ends, or begins to hide its end, at a "<" only.
        specs = json.dumps(self._figures, allow_nan=False).replace("<", "\\u003c")
        return "".join(
            [
                '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
                '<meta name="viewport" content="width=device-width,initial-scale=1">',
                '<meta name="color-scheme" content="light dark">',
                f"<title>{title}</title><style>{style}</style></head><body>",
                f"{bar}<header><h1>{title}</h1></header><nav>{self._links()}</nav><main>",
                *self._parts,
                f'</main><script type="application/json" id="figures">{specs}</script>',
                f"<script>{_plotly()}</script><script>{SCRIPT}{script}</script></body></html>\n",
            ]
        )


@cache
def _plotly() -> str:
    """plotly's script, without plotly's Python, which takes a second to import."""
    found = find_spec("plotly")
    assert found is not None
    assert found.origin is not None
    script = Path(found.origin).parent / "package_data" / "plotly.min.js"
    return script.read_text(encoding="utf-8")


class _Cell(NamedTuple):
    """``sort``: the attribute that a table is sorted by; none for words."""

    text: str
    sort: str = ""


def _cell(value: object) -> _Cell:
    if isinstance(value, Figure):
        return _Cell(value.text, _sorted_by(value.value))
    if value is None:
        return _Cell("", _sorted_by(None))
    if isinstance(value, bool):
        return _Cell("yes" if value else "no")
    if isinstance(value, (int, float)):
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return _Cell(text, _sorted_by(value))
    return _Cell(str(value))


def _sorted_by(value: float | None) -> str:
    return f' data-sort="{"" if value is None else repr(value)}"'


def _column_look(index: int, rows: Sequence[Sequence[_Cell]]) -> str:
    """Words begin at the left, numbers end at the right."""
    return "text" if any(row[index].text and not row[index].sort for row in rows) else ""
