"""What a served report has besides: the bar of its progress, and the script that renews it."""

import html

from analysis.report.page import Served

_STYLE = """
#live{position:sticky;top:0;z-index:5;background:var(--panel);border-bottom:1px solid var(--line);
padding:.4em 16px;font-size:.9rem}
#live>div{max-width:1048px;margin:0 auto;display:flex;flex-wrap:wrap;gap:.1em 1em;
align-items:baseline}
#live progress{width:100%;height:.5em;accent-color:#0072B2}
#live .state{font-weight:700}#live .left{margin-left:auto}#live .line{order:1;width:100%}
#live progress{order:2}h2{scroll-margin-top:5rem}
#live.problem{background:var(--mark)}
@media print{#live{display:none}}
"""

_BAR = (
    '<div id="live" data-version="{version}" role="status"><div><span class="state">…</span>'
    '<span class="line"></span><span class="left soft"></span>'
    '<progress max="1" value="0" aria-label="epochs trained"></progress></div></div>'
)

_SCRIPT = """
const live = document.getElementById("live");
const part = (name) => live.querySelector("." + name);
function said(name, text) {
  if (part(name).textContent !== text) part(name).textContent = text;
}
const WORDS = {running: "running", finished: "finished", stopped: "nothing trains it now"};
let version = live.dataset.version, shown = document.querySelector("main");

async function ask(what) {
  const answer = await fetch(what, {cache: "no-store"});
  const found = await answer.json();
  if (found.problem) throw new Error(found.problem);
  return found;
}

function show(status) {
  live.classList.remove("problem");
  said("state", WORDS[status.state]); said("line", status.line); said("left", status.left);
  const bar = live.querySelector("progress");
  bar.max = Math.max(1, status.wanted); bar.value = status.done;
  bar.hidden = status.state === "finished";
}

// What a reader has opened, sorted and typed stays as it is.
function state(main) {
  return {
    open: new Set([...main.querySelectorAll("details[open]")].map(
      (each) => each.querySelector("summary").textContent)),
    tables: [...main.querySelectorAll("table.data")].map((table) => ({
      head: table.tHead.textContent,
      all: table.classList.contains("all"),
      scroll: [table.parentElement.scrollLeft, table.parentElement.scrollTop],
      filter: document.getElementById(table.dataset.filter)?.value ?? "",
      sort: [...table.tHead.rows[0].cells].map((cell) => cell.getAttribute("aria-sort")),
    })),
    typing: [...main.querySelectorAll("input[type=search]")].indexOf(document.activeElement),
  };
}

function restore(main, before) {
  for (const each of main.querySelectorAll("details")) {
    each.open = before.open.has(each.querySelector("summary").textContent);
  }
  const tables = [...main.querySelectorAll("table.data")];
  for (const was of before.tables) {
    const table = tables.find((each) => each.tHead.textContent === was.head);
    if (!table) continue;
    tables.splice(tables.indexOf(table), 1);
    was.sort.forEach((order, column) => {
      const button = table.tHead.rows[0].cells[column].querySelector("button");
      if (order) button.click();
      if (order === "descending") button.click();
    });
    const all = document.getElementById("all-" + table.dataset.filter);
    if (all && was.all) all.click();
    const filter = document.getElementById(table.dataset.filter);
    if (filter && was.filter) {
      filter.value = was.filter;
      filter.dispatchEvent(new Event("input"));
    }
    [table.parentElement.scrollLeft, table.parentElement.scrollTop] = was.scroll;
  }
  main.querySelectorAll("input[type=search]")[before.typing]?.focus();
}

function exchange(found) {
  const before = state(shown), main = document.createElement("main");
  main.innerHTML = found.main;
  // Pictures that there were stay where they are, and are given other data: nothing flickers.
  const left = new Map([...shown.querySelectorAll(".plot")].map((plot) => [plot.id, plot]));
  for (const place of main.querySelectorAll(".plot")) {
    const plot = left.get(place.id);
    if (!plot) continue;
    plot.style.height = place.style.height;
    place.replaceWith(plot);
    left.delete(place.id);
  }
  for (const plot of left.values()) Plotly.purge(plot);
  const [x, y] = [scrollX, scrollY];
  shown.replaceWith(main);
  shown = main;
  document.querySelector("nav").innerHTML = found.nav;
  specs = found.figures;
  draw(false);
  main.querySelectorAll("table.data").forEach(bind);
  restore(main, before);
  scrollTo(x, y);
}

async function look() {
  try {
    const status = await ask("status");
    show(status);
    // Who selects a text, or prints, is not disturbed.
    if (status.version !== version && getSelection().isCollapsed) {
      const found = await ask("parts");
      exchange(found);
      version = found.version;
    }
  } catch (error) {
    live.classList.add("problem");
    const gone = error instanceof TypeError;
    said("state", gone ? "no longer served" : "can't be read now");
    said("line", gone ? "this is the report as it last was" : error.message);
    said("left", "");
  }
  setTimeout(look, 2000);
}
look();
"""


def served(version: str) -> Served:
    """What makes a page one that is served; ``version``: of the report in it."""
    return Served(_STYLE, _BAR.format(version=html.escape(version)), _SCRIPT)
