"""A confirmation as files: JSON, and a Markdown page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.confirm.columns import (
    BASELINE,
    COMPARISON,
    MORE_SEEDS,
    SEARCH,
    SEARCH_METRIC,
    WAYS,
    Column,
    cells,
    headings,
    legend,
)
from analysis.confirm.model import ConfirmReport
from study.formats import markdown_table
from study.records.json_files import write_json
from trainables.files import write_atomically


def write_confirm(report: ConfirmReport, folder: Path) -> tuple[Path, Path]:
    """Write ``confirm.json`` and ``confirm.md``; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    values, text = folder / "confirm.json", folder / "confirm.md"
    write_json(values, report.model_dump(mode="json", by_alias=True))
    write_atomically(text, to_markdown(report).encode())
    return values, text


def to_markdown(report: ConfirmReport) -> str:
    how = (
        f"a sequential design with looks at {', '.join(map(str, report.looks))} seeds"
        if report.looks
        else "all seeds at once"
    )
    seeds = ", ".join(map(str, report.seeds)) or "none yet"
    lines = [f"# {report.study}: confirmed on fresh seeds", "", f"Seeds: {seeds} ({how}).", ""]
    for trial in report.trials:
        lines += [f"- {sentence}" for sentence in trial.sentences]
    lines += [f"- {line}" for line in (*report.missing, *report.notes)]
    columns = COMPARISON if report.judged == "by_answers" else (*COMPARISON, MORE_SEEDS)
    for trial in report.trials:
        for field, label in WAYS:
            rows = getattr(trial, field)
            if rows:
                lines += ["", f"## {label.format(trial=trial.trial)}", ""]
                lines.append(_table("metric", columns, rows.items()))
    search = [(trial.trial, trial.search) for trial in report.trials]
    lines += ["", "## What the search promised", ""]
    lines += [_table("trial", (SEARCH_METRIC, *SEARCH), search), "", "## Baseline", ""]
    lines += [_table("metric", BASELINE, report.baseline.items()), "", *legend(report)]
    return "\n".join(lines) + "\n"


def _table(lead: str, columns: Sequence[Column], rows: Iterable[tuple[str, object]]) -> str:
    return markdown_table(
        headings(lead, columns), (cells(name, columns, row) for name, row in rows)
    )
