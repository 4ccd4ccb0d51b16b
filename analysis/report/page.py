"""The frame of an HTML report: one file that opens offline, without a request to any host."""

import html
import json
from collections.abc import Iterable, Sequence

from analysis.charts.chart import Chart
from analysis.charts.draw_page import figures

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)

_PRINTED = 13
"""Columns of a table that paper has room for; the style below says so, too."""

_STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--page:#ffffff;--panel:#f6f8fa;--line:#d0d7de;--mark:#fff3d6}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#a3adb8;--page:#14181d;
--panel:#1e242b;--line:#3a434d;--mark:#40361c}}
@media print{:root{--ink:#000;--soft:#333;--page:#fff;--panel:#fff;--line:#bbb;--mark:#fff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main,header,nav{max-width:1080px;margin:0 auto;padding:0 16px}
h1{margin:.9em 0 .2em;font-size:1.7rem;overflow-wrap:anywhere}
h2{margin:2em 0 .4em;font-size:1.25rem;border-bottom:1px solid var(--line)}
h3{margin:1.2em 0 .2em;font-size:1rem;overflow-wrap:anywhere}
p{margin:.4em 0}.soft{color:var(--soft)}
.note{background:var(--mark);border-left:4px solid #E69F00;padding:.5em .8em;margin:.6em 0}
nav{display:flex;flex-wrap:wrap;gap:.2em .9em;font-size:.9rem}
a{color:inherit;text-decoration-color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:8px}
.plots.one{grid-template-columns:minmax(0,1fr)}.plot{min-width:0}
.wide{overflow-x:auto;border:1px solid var(--line);max-height:34rem}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child,td.text{text-align:left}
th{position:sticky;top:0;background:var(--panel)}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
input{font:inherit;padding:.3em .6em;margin:.4em 0;width:min(100%,24rem);color:inherit;
background:var(--panel);border:1px solid var(--line)}
pre{background:var(--panel);border:1px solid var(--line);padding:.8em;overflow-x:auto;
font-size:.8rem}
@media print{nav,input{display:none}.wide{max-height:none;overflow:visible;border:0}
.plot,tr{break-inside:avoid}h2,h3{break-after:avoid}table{font-size:.55rem}
th,td{white-space:normal;padding:.1em .2em}
th:nth-child(n+14),td:nth-child(n+14){display:none}}
.printed{display:none}@media print{.printed{display:block}}
"""

_SCRIPT = """
const specs = JSON.parse(document.getElementById("figures").textContent);
const hovers = matchMedia("(hover: hover)").matches;
// A long title of an axis would be cut off in a narrow picture: it is broken in two lines.
function broken(text, room) {
  if (!text || text.length * 6.5 < room) return text;
  const words = text.split(" "), half = text.length / 2;
  let first = words.shift();
  while (words.length && first.length + words[0].length / 2 < half) first += " " + words.shift();
  return first + (words.length ? "<br>" + words.join(" ") : "");
}
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw(light) {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  const ink = light ? "#000" : of("--ink"), line = light ? "#bbb" : of("--line");
  const night = dark.matches && !light;
  for (const [id, given] of Object.entries(specs)) {
    // On a dark page the palette's blue needs more light.
    const text = JSON.stringify(given);
    const spec = JSON.parse(night ? text.replaceAll("#0072B2", "#3D9BDC") : text);
    const layout = spec.layout;
    Object.assign(layout, {paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: {color: ink, size: 12, family: "system-ui, sans-serif"}});
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) {
        const axis = Object.assign(layout[key],
          {gridcolor: line, linecolor: line, tickcolor: line});
        if (key[0] === "x" && axis.title) {
          axis.title.text = broken(axis.title.text, document.getElementById(id).clientWidth - 110);
        }
      }
    }
    layout.modebar = {bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink};
    // Where nothing hovers the buttons would lie upon the picture for good.
    const options = {responsive: true, displaylogo: false,
      displayModeBar: hovers && innerWidth > 600 ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "sendDataToCloud"]};
    Plotly.react(id, spec.data, layout, options);
  }
}
draw(false);
dark.addEventListener("change", () => draw(false));
addEventListener("beforeprint", () => draw(true));
addEventListener("afterprint", () => draw(false));

for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
  const filter = document.getElementById(table.dataset.filter);
  filter?.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
"""


class Page:
    def __init__(self, title: str, lead: str) -> None:
        self._title = title
        self._parts: list[str] = [f'<p class="soft">{html.escape(lead)}</p>']
        self._sections: list[tuple[str, str]] = []
        self._figures: dict[str, object] = {}

    def section(self, key: str, title: str) -> None:
        self._sections.append((key, title))
        self._parts.append(f'<h2 id="{html.escape(key)}">{html.escape(title)}</h2>')

    def text(self, *lines: str, soft: bool = False) -> None:
        look = ' class="soft"' if soft else ""
        self._parts += [f"<p{look}>{html.escape(line)}</p>" for line in lines if line]

    def note(self, *lines: str) -> None:
        """Add paragraphs that nobody should miss."""
        self._parts += [f'<p class="note">{html.escape(line)}</p>' for line in lines if line]

    def code(self, text: str) -> None:
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def chart(self, chart: Chart) -> None:
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

    def table(
        self, header: Sequence[str], rows: Iterable[Sequence[object]], *, filtered: bool = False
    ) -> None:
        """Add a table that sorts by a click on a column's head, and may be filtered."""
        key = f"filter-{len(self._parts)}"
        if filtered:
            self._parts.append(
                f'<input id="{key}" type="search" placeholder="show rows with these words" '
                'aria-label="filter">'
            )
        heads = "".join(f'<th><button type="button">{html.escape(h)}</button></th>' for h in header)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
        self._parts.append(
            f'<div class="wide"><table class="data" data-filter="{key}"><thead><tr>{heads}</tr>'
            f"</thead><tbody>{body}</tbody></table></div>"
        )
        if len(header) > _PRINTED:
            self._parts.append(
                f'<p class="soft printed">On paper the first {_PRINTED} of {len(header)} columns; '
                "noise-analysis export writes all of them as CSV and Parquet.</p>"
            )

    def html(self) -> str:
        from plotly.offline import get_plotlyjs

        title = html.escape(self._title)
        links = "".join(
            f'<a href="#{html.escape(key)}">{html.escape(name)}</a>' for key, name in self._sections
        )
        specs = json.dumps(self._figures, allow_nan=False).replace("</", "<\\/")
        return "".join(
            [
                '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width,initial-scale=1">',
                '<meta name="color-scheme" content="light dark">',
                f"<title>{title}</title><style>{_STYLE}</style></head><body>",
                f"<header><h1>{title}</h1></header><nav>{links}</nav><main>",
                *self._parts,
                f'</main><script type="application/json" id="figures">{specs}</script>',
                f"<script>{get_plotlyjs()}</script><script>{_SCRIPT}</script></body></html>\n",
            ]
        )


def _cell(value: object) -> str:
    if value is None:
        return '<td data-sort=""></td>'
    if isinstance(value, bool):
        return f'<td class="text">{"yes" if value else "no"}</td>'
    if isinstance(value, float):
        return f'<td data-sort="{value!r}">{value:.4g}</td>'
    if isinstance(value, int):
        return f'<td data-sort="{value}">{value}</td>'
    return f'<td class="text">{html.escape(str(value))}</td>'
