"""A confirmation as a Markdown page."""

from collections.abc import Iterator
from pathlib import Path

from analysis.confirm.model import ConfirmReport, MetricComparison
from analysis.confirm.tables import (
    COMPARISONS,
    effect_text,
    interval_text,
    legend,
    p_text,
    plain_number,
    signed,
    wilcoxon_text,
)
from study.records.json_files import write_json
from trainables.files import write_atomically

# Files


def write_confirm(report: ConfirmReport, folder: Path) -> tuple[Path, Path]:
    """Write ``confirm.json`` and ``confirm.md``; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    values, text = folder / "confirm.json", folder / "confirm.md"
    write_json(values, report.model_dump(mode="json"))
    write_atomically(text, to_markdown(report).encode())
    return values, text


def to_markdown(report: ConfirmReport) -> str:
    """The whole report as Markdown."""
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
    for trial in report.trials:
        for field, label in COMPARISONS:
            rows: dict[str, MetricComparison] = getattr(trial, field)
            if rows:
                lines += ["", f"## {label.format(trial=trial.trial)}", "", *_markdown_rows(rows)]
    lines += ["", "## What the search promised", "", *_markdown_search(report)]
    lines += ["", "## Baseline", "", *_markdown_baseline(report), "", *legend(report)]
    return "\n".join(lines) + "\n"


def _markdown_rows(rows: dict[str, MetricComparison]) -> Iterator[str]:
    yield (
        "| metric | better | n | mean | sd | 95 % t | 95 % BCa | p (t) | Holm | Wilcoxon | "
        "Holm | d | g | verdict | more seeds needed |"
    )
    yield "|---" * 15 + "|"
    for row in rows.values():
        cells = [
            row.metric,
            row.better,
            str(row.n),
            signed(row.mean_difference),
            plain_number(row.std),
            interval_text(row.t_interval),
            interval_text(row.bca_interval),
            p_text(row.p_t),
            p_text(row.p_t_holm),
            wilcoxon_text(row),
            p_text(row.p_wilcoxon_holm),
            effect_text(row.cohens_d),
            effect_text(row.hedges_g),
            row.verdict,
            "–" if row.more_seeds is None else str(row.more_seeds),
        ]
        yield "| " + " | ".join(cells) + " |"


def _markdown_search(report: ConfirmReport) -> Iterator[str]:
    yield "| trial | metric | score | promised | confirmed | 95 % t | lost |"
    yield "|---" * 7 + "|"
    for trial in report.trials:
        row = trial.search
        cells = [
            trial.trial,
            row.metric,
            plain_number(row.score),
            signed(row.promised),
            signed(row.confirmed),
            interval_text(row.interval),
            signed(row.lost),
        ]
        yield "| " + " | ".join(cells) + " |"


def _markdown_baseline(report: ConfirmReport) -> Iterator[str]:
    yield "| metric | n | mean | sd |"
    yield "|---" * 4 + "|"
    for metric, row in report.baseline.items():
        yield f"| {metric} | {row.n} | {plain_number(row.mean)} | {plain_number(row.std)} |"
