"""What a study shows on the terminal: the table at its end and the next commands."""

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from search_spaces.thresholds import about_a_signal
from study.config import StudyConfig
from study.config_changes import as_asked
from study.formats import number, settings_text, signed
from study.records.folder import StudyFolder, storage_of
from study.records.indistinct import first_word
from study.records.summary import Summary, TrialSummary, ranked
from study.records.values import by_objective
from study.records.verdict import beats_baseline, verdict
from trainables.epochs import epoch_number

_SHOWN = 5
"""Trials of the table; where other things need the room, at least ``_FEWEST``."""
_FEWEST = 2
_ROWS = 24 - 1
"""A terminal's; the last one is the prompt's."""
_IDLE = "*"


def print_result(console: Console, config: StudyConfig, summary: Summary, chance: str = "") -> None:
    """Print what fits into a terminal of 24 rows; the report has all of it.

    ``chance``: what is to be said of a baseline that never learned.
    """
    commands = list(_next(config, summary))
    taken = sum(max(1, -(-cell_len(line) // console.width)) for line in commands)
    # As a group: texts that are printed by themselves lose what keeps them to a row.
    console.print(Group(*fitted(console, list(_parts(config, summary, chance)), _ROWS - taken)))
    for line in commands:
        _print_line(console, line)


@dataclass(frozen=True)
class Part:
    """A part of the end of a study.

    Attributes:
        rank: parts of a lower one get the room first.
        forms: from the shortest to the fullest; None leaves it out.
    """

    rank: int
    forms: tuple[Text | Table | None, ...]


_MORE = Text("more is in the report", style="dim")


def fitted(console: Console, parts: list[Part], rows: int) -> list[Text | Table]:
    """The fullest forms that fit into so many rows, and a line that says so if they are not all."""
    heights = [[_height(console, form) for form in part.forms] for part in parts]
    if sum(each[-1] for each in heights) <= rows:
        return [form for part in parts if (form := part.forms[-1]) is not None]
    chosen = [0] * len(parts)
    left = rows - 1 - sum(each[0] for each in heights)
    for index in sorted(range(len(parts)), key=lambda index: parts[index].rank):
        height = heights[index]
        for step in range(1, len(height)):
            more = height[step] - height[chosen[index]]
            if more <= left:
                chosen[index], left = step, left - more
    shown = [part.forms[step] for part, step in zip(parts, chosen, strict=True)]
    return [*(form for form in shown if form is not None), _MORE]


def _height(console: Console, form: Text | Table | None) -> int:
    return 0 if form is None else len(console.render_lines(form, pad=False))


def _line(markup: str) -> Text:
    """A sentence cut to a row."""
    text = Text.from_markup(markup.replace("\n", " "), overflow="ellipsis")
    text.no_wrap = True
    return text


def _parts(config: StudyConfig, summary: Summary, chance: str) -> Iterator[Part]:
    yield from _tuning(config, summary)
    yield from _baseline(config, summary)
    if chance:
        said = (chance.partition(":")[0].rstrip(".") + ".", chance)
        yield Part(2, tuple(Text(text, style="bold") for text in said))
    if summary.trials:
        fewest = min(_FEWEST, len(summary.trials))
        sizes = range(fewest, max(fewest, _SHOWN) + 1)
        yield Part(1, tuple(result_table(config, summary, size) for size in sizes))
        yield from _settings(config, summary)
    yield from _verdict(config, summary)
    for note in summary.notes:
        # Those of signals were said when the search began.
        if not about_a_signal(note):
            yield Part(8, (None, Text.from_markup(f"[yellow]note:[/] {escape(note)}")))
    yield from _cost(summary)


def has_accuracy(config: StudyConfig) -> bool:
    """Whether its runs have a validation accuracy; a task of one's own need not."""
    return "final_val_accuracy" in config.train.metrics


def result_table(config: StudyConfig, summary: Summary, shown: int = _SHOWN) -> Table:
    """The best trials: value, paired difference, epochs, where their noise began."""
    complete = [t for t in summary.trials if t.state == "complete"]
    rest = [t for t in summary.trials if t.state != "complete"]
    best_first = ranked(config, complete) + ranked(config, rest)
    # One more takes no more room than saying so.
    best = best_first if len(best_first) == shown + 1 else best_first[:shown]
    idle = any(_IDLE in _later(trial) for trial in best)
    table = Table(
        title=f"{config.name}: trials, best first ({_states(summary)})",
        caption="beside the baseline of the same seed; later: on seeds that did not select it"
        + (f"\n{_IDLE} its noise never began on some of its seeds" if idle else ""),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("trial", no_wrap=True)
    columns = ["difference", "later", "accuracy", "trained", "from"]
    if not has_accuracy(config):
        columns.remove("accuracy")
    for name in config.objective:
        table.add_column(name.replace("_", " "), justify="right", min_width=9)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for trial in best:
        table.add_row(*_row(config, trial), style="" if trial.state == "complete" else "dim")
    more = len(summary.trials) - len(table.rows)
    if more:
        table.add_row(f"… {more} more", style="dim")
    return table


def _row(config: StudyConfig, trial: TrialSummary) -> list[str]:
    values = by_objective(trial.value, len(config.objective))
    first = trial.first_injection_epoch
    begins = "never" if trial.never_injected or first is None else str(epoch_number(first))
    return [
        trial.trial_id,
        *(number(value) for value in values),
        ", ".join(signed(v) for v in by_objective(trial.paired_difference)),
        _later(trial),
        *([signed(trial.final_val_accuracy_difference)] if has_accuracy(config) else []),
        f"{trial.epochs_trained}/{trial.epochs}",
        begins if trial.state == "complete" else trial.state,
    ]


def _later(trial: TrialSummary) -> str:
    if trial.place is None:
        return ""
    mark = _IDLE if trial.seeds_without_noise else ""
    return f"{', '.join(map(signed, by_objective(trial.mean_difference)))} ({trial.n}{mark})"


def _settings(config: StudyConfig, summary: Summary) -> Iterator[Part]:
    complete = [t for t in summary.trials if t.state == "complete"]
    for trial in ranked(config, complete)[:1]:
        yield _cut(4, f"[bold]{trial.trial_id}[/]: {escape(settings_text(trial.overrides))}")
    reasons = Counter(t.reason or "" for t in summary.trials if t.state == "failed")
    for place, (reason, count) in enumerate(reasons.most_common()):
        trials = "a trial" if count == 1 else f"{count} trials"
        said = f"[red]{trials} failed[/]: {escape(reason)}"
        # Many reasons may differ in an epoch alone.
        yield Part(9, (None, Text.from_markup(said))) if place else _cut(5, said)


def _tuning(config: StudyConfig, summary: Summary) -> Iterator[Part]:
    tuning, before = summary.tuning, as_asked(config).train.optimizer
    if tuning is None:
        return
    line = f"[bold]tuning[/]: {tuning.runs} runs, {tuning.epochs_trained:,} epochs"
    if tuning.learning_rate is not None:
        chosen = (
            f"learning rate {before.lr:g} → {tuning.learning_rate:g}, "
            f"weight decay {before.weight_decay:g} → {tuning.weight_decay:g}"
        )
        short, line = f"[bold]tuning[/]: {chosen}", f"{line}; {chosen}"
        yield Part(7, (_line(short), Text.from_markup(line)))
    else:
        yield Part(0, (Text.from_markup(line),))


def _baseline(config: StudyConfig, summary: Summary) -> Iterator[Part]:
    for index, name in enumerate(config.objective):
        values = [by_objective(b.value, len(config.objective))[index] for b in summary.baseline]
        known = [value for value in values if value is not None]
        if not known:
            yield Part(0, (Text("no baseline is complete yet", style="yellow"),))
            return
        spread = f", from {min(known):.4f} to {max(known):.4f}" if len(known) > 1 else ""
        seed, mean = summary.baseline[0].seed, f"{sum(known) / len(known):.4f}"
        said = f"[bold]pinned baseline[/] (no noise): {name} {number(values[0])} on"
        short = f"{said} seed {seed}, mean {mean}"
        whole = f"{said} the trials' seed {seed}; mean of {len(known)} seeds {mean}{spread}"
        yield Part(7, (_line(short), Text.from_markup(whole)))


def _verdict(config: StudyConfig, summary: Summary) -> Iterator[Part]:
    best = summary.first
    if best is None:
        return
    for place, sentence in enumerate(verdict(config, summary, best)):
        said = Text(sentence, style="bold")
        # First what there is, then what is to be held against it.
        short = None if place else Text(sentence.partition("; ")[0], style="bold")
        yield Part(6 if place else 3, (short, said))


def _cost(summary: Summary) -> Iterator[Part]:
    cost = summary.cost
    if cost.epochs_reported and cost.trained_share is not None:
        said = (
            f"epochs: {cost.epochs_reported} reported, {cost.epochs_trained} trained "
            f"({cost.trained_share:.0%}); the rest is shared with the baseline"
        )
        yield Part(10, (None, Text(said)))


def _cut(rank: int, markup: str) -> Part:
    """A sentence, cut to a row where there is no room for more."""
    return Part(rank, (_line(markup), Text.from_markup(markup)))


def _next(config: StudyConfig, summary: Summary) -> Iterator[str]:
    # As the user gave it: a relative storage gives commands that fit on a line.
    where = storage_of(config)
    given = Path(config.storage) if where.remote is None else where.folder
    name = [config.name, *where.words]
    commands = [["noise-study", "ui", *name], ["noise-analysis", "report", *name]]
    if summary.first and beats_baseline(config, summary.first):
        best = str(StudyFolder(given / config.name).best_config)
        which = first_word(config, summary.trials)
        # A task's is for AdaptiveNoise, in the loop that the task was made of.
        words = ["noise-train", "--config", best] if config.train.task.name is None else [best]
        yield f"{which} configuration: {shlex.join(words)}"
        if config.confirm is None:
            commands.append(["noise-study", "confirm", *name])
    elif config.configs is None:
        commands.append(["noise-study", "resume", *name, "--trials", f"+{config.trials}"])
    yield from _next_lines(*commands)


def print_next(console: Console, *commands: list[str]) -> None:
    """Print commands to be copied, each on a line that nothing breaks."""
    for line in _next_lines(*commands):
        _print_line(console, line)


_NEXT = "next:"


def _next_lines(*commands: list[str]) -> Iterator[str]:
    yield _NEXT
    for command in commands:
        yield f"  {shlex.join(command)}"


def _print_line(console: Console, line: str) -> None:
    style = "bold" if line == _NEXT else None
    console.print(line, style=style, soft_wrap=True, highlight=False, markup=False)


def _states(summary: Summary) -> str:
    counts = Counter(trial.state for trial in summary.trials)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
