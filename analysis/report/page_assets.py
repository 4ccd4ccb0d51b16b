"""The style and the script of a report's page."""

STYLE = """
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
p{margin:.4em 0;overflow-wrap:anywhere}.soft{color:var(--soft)}
.note{background:var(--mark);border-left:4px solid #E69F00;padding:.5em .8em;margin:.6em 0}
nav{display:flex;flex-wrap:wrap;gap:.2em .9em;font-size:.9rem}
a{color:inherit;text-decoration-color:var(--soft)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:8px}
.plots.one{grid-template-columns:minmax(0,1fr)}.plot{min-width:0}
.wide{overflow-x:auto;border:1px solid var(--line);max-height:34rem}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3em .6em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child,.text{text-align:left}
th{position:sticky;top:0;background:var(--panel)}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
input[type=search]{font:inherit;padding:.3em .6em;margin:.4em 0;width:min(100%,24rem);color:inherit;
background:var(--panel);border:1px solid var(--line)}
pre{background:var(--panel);border:1px solid var(--line);padding:.8em;overflow-x:auto;
font-size:.8rem}
.card{border:1px solid var(--line);border-left:8px solid var(--tone);padding:.8em 1.1em;
margin:1em 0;background:var(--panel)}
.card .word{display:inline-block;background:var(--tone);color:#fff;font-weight:700;
padding:.05em .6em;border-radius:1em;font-size:.9rem}
.card .said{font-size:1.3rem;font-weight:600;line-height:1.35;margin:.4em 0;overflow-wrap:anywhere}
.card dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(9.5rem,46%),1fr));
gap:.5em 1.2em;margin:.8em 0}
.card dt{color:var(--soft);font-size:.8rem}
.card dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
.card pre{margin:.3em 0 0;white-space:pre-wrap;overflow-wrap:anywhere;background:var(--page)}
.chips{display:flex;flex-wrap:wrap;gap:.4em;padding:0;margin:.6em 0;list-style:none}
.chips li{background:var(--mark);border:1px solid #E69F00;border-radius:1em;padding:.05em .7em;
font-size:.85rem}
.better{--tone:#00785a}.worse{--tone:#b34700}.equivalent{--tone:#00629b}.open{--tone:#5d6670}
details{margin:.6em 0}summary{cursor:pointer;color:var(--soft)}
.tools{display:flex;flex-wrap:wrap;align-items:center;gap:0 1.2em}
table.data:not(.all) .more{display:none}
@media(max-width:600px){nav{flex-wrap:nowrap;overflow-x:auto;white-space:nowrap;padding-bottom:.4em}
h2{margin-top:.7em}.lead{font-size:.85rem;line-height:1.3}.card .said{font-size:1.15rem}
.card p,.card dl{margin:.4em 0}.card dl{gap:.3em 1.2em}.card dd{font-size:.9rem;line-height:1.3}}
@media print{nav,.tools,details:not([open]){display:none}
.wide{max-height:none;overflow:visible;border:0}
.plot,tr,.card{break-inside:avoid}h2,h3{break-after:avoid}table{font-size:.7rem}
th,td{white-space:normal;padding:.1em .3em}
.more{display:none}.card,.card .word{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""

SCRIPT = """
let specs = JSON.parse(document.getElementById("figures").textContent);
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
    // Data that are renewed leave a picture as its reader has moved it.
    Object.assign(layout, {uirevision: "same",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
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

function bind(table) {
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
  const all = document.getElementById("all-" + table.dataset.filter);
  all?.addEventListener("change", () => table.classList.toggle("all", all.checked));
  const filter = document.getElementById(table.dataset.filter);
  filter?.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\\s+/).filter(Boolean);
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
}
document.querySelectorAll("table.data").forEach(bind);
"""
