"""A study in words, for its page in MLflow."""

import math
from collections.abc import Mapping, Sequence

from study.records.events import TIE, StudyEndEvent, StudyEvent
from study.records.planned_run import NOISELESS
from study.records.seeds import BLOCK, block_start
from study.tracking.addresses import models_link, run_link, view_link
from study.tracking.reader import KnownRun, Reader
from study.tracking.types import STUDY_RUN


def describe(
    reader: Reader,
    experiment_id: str,
    run_ids: Mapping[str, str],
    reports: Sequence[str] = (),
) -> str:
    """The description that the study's parent run opens with (Markdown).

    MLflow folds it after a few lines: what was asked, the baseline and the best come first.
    """
    study, end = reader.study, reader.study_end
    assert study is not None
    baselines = [
        key
        for key, run in reader.runs.items()
        if run.start.role == "baseline" and _is_pinned(study, run.start.seed)
    ]
    verdict = end.tags.get("verdict") if end else None
    table, models = view_link(experiment_id), models_link(experiment_id)
    paragraphs = [
        f"**{study.name}**: {study.asked}",
        f"**Pinned baseline** (no noise): {_baseline_line(reader, baselines)}",
        f"**Verdict**: {verdict}" if verdict else _best_lines(reader, end),
        f"[The runs as a table: role, status, value …]({table}) · [the models]({models})",
    ]
    pairing = end.tags.get("pairing") if end else None
    raced = [end.tags[name] for name in ("race", "yardstick") if end and end.tags.get(name)]
    paragraphs[3:3] = [f"**Pairing**: {pairing}"] if pairing else []
    paragraphs[3:3] = [f"**Race**: {'. '.join(raced)}"] if raced else []
    parent = run_ids.get(STUDY_RUN)
    for file in dict.fromkeys((*reader.study_files, *reports)) if parent else ():
        paragraphs[-1] += f" · [{file}]({run_link(experiment_id, str(parent), file)})"
    named = [*baselines, *([end.best] if end and end.best in reader.runs else [])]
    links = [f"[{key}]({run_link(experiment_id, run_ids[key])})" for key in named if key in run_ids]
    if links:
        paragraphs.append("Their runs: " + ", ".join(links))
    for title, runs in _by_title(reader).items():
        states = [run.end.state if run.end else "unfinished" for run in runs]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        paragraphs.append(f"{title}: {counts or 'none yet'}{_tuned_by(runs)}")
    return "\n\n".join(paragraphs)


def _by_title(reader: Reader) -> dict[str, list[KnownRun]]:
    """The runs besides the baselines; those that tuned them first, if there are any."""
    runs = reader.runs.values()
    tuning = [run for run in runs if run.start.role == "tuning"]
    trials = [run for run in runs if run.start.role not in NOISELESS | {"race"}]
    return ({"Tuning of the baseline, without noise": tuning} if tuning else {}) | {
        "Trials": trials
    }


def _tuned_by(runs: Sequence[KnownRun]) -> str:
    """What tuning the baseline cost; empty for what did not tune it."""
    if not runs or runs[0].start.role != "tuning":
        return ""
    return f", {sum(len(run.epochs) for run in runs):,} epochs"


def _is_pinned(study: StudyEvent, seed: int) -> bool:
    """Whether a baseline is pinned: those of the race are told with the race."""
    first = study.config.get("train", {}).get("seed")
    if first is None:
        return True
    start = block_start("race", int(first))
    return not start <= seed < start + BLOCK


def _baseline_line(reader: Reader, baselines: Sequence[str]) -> str:
    objective = reader.objective or ""
    ends = [reader.runs[key].end for key in baselines]
    values = [end.values[objective] for end in ends if end and objective in end.values]
    if not values:
        return "not finished"
    mean = math.fsum(values) / len(values)
    spread = f", range {min(values):.4f} to {max(values):.4f}" if len(values) > 1 else ""
    return f"{objective} {mean:.4f}{spread}, n = {len(values)}"


def _best_lines(reader: Reader, end: StudyEndEvent | None) -> str:
    tie = end.tags.get(TIE) if end else None
    if tie:
        return f"**First trial**: {_best_line(reader, end)}. {tie}"
    return f"**Best trial**: {_best_line(reader, end)}"


def _best_line(reader: Reader, end: StudyEndEvent | None) -> str:
    if end is None:
        return "the study is still running"
    known = reader.runs.get(end.best or "")
    if known is None or known.end is None:
        return "none is complete" if end.best is None else end.best
    objective = reader.objective or ""
    value = known.end.values.get(objective)
    paired = known.end.paired_difference.get(objective)
    text = str(end.best) if value is None else f"{end.best}, {objective} {value:.4f}"
    return text if paired is None else f"{text}, {paired:+.4f} beside the baseline of its seed"
