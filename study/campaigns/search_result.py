"""What a study shows on the terminal: the table at its end and the next commands."""

import shlex
from collections import Counter
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from search_spaces.thresholds import about_a_signal
from study.config import StudyConfig
from study.config_changes import as_asked
from study.formats import number, settings_text, signed
from study.records.folder import StudyFolder, storage_of
from study.records.indistinct import sharing_best
from study.records.summary import Summary, TrialSummary, ranked
from study.records.values import by_objective
from study.records.verdict import beats_baseline, verdict
from trainables.epochs import epoch_number

_SHOWN = 5


def print_result(console: Console, config: StudyConfig, summary: Summary, chance: str = "") -> None:
    """``chance``: what is to be said of a baseline that never learned."""
    _print_tuning(console, config, summary)
    _print_baseline(console, config, summary)
    if chance:
        console.print(f"[bold]{escape(chance)}[/]", highlight=False)
    if summary.trials:
        console.print(result_table(config, summary))
        _print_settings(console, config, summary)
    _print_verdict(console, config, summary)
    for note in summary.notes:
        # They were said when the search began, and the report has them.
        if not about_a_signal(note):
            console.print(f"[yellow]note:[/] {escape(note)}")
    _print_cost(console, summary)
    _print_next(console, config, summary)


def has_accuracy(config: StudyConfig) -> bool:
    """Whether its runs have a validation accuracy; a task of one's own need not."""
    return "final_val_accuracy" in config.train.metrics


def result_table(config: StudyConfig, summary: Summary, shown: int = _SHOWN) -> Table:
    """The best trials: value, paired difference, epochs, where their noise began."""
    complete = [t for t in summary.trials if t.state == "complete"]
    rest = [t for t in summary.trials if t.state != "complete"]
    table = Table(
        title=f"{config.name}: trials, best first ({_states(summary)})",
        caption="beside the baseline of the same seed; later: on seeds that did not select it",
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
    best_first = ranked(config, complete) + ranked(config, rest)
    # One more takes no more room than saying so.
    for trial in best_first if len(best_first) == shown + 1 else best_first[:shown]:
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
    return f"{', '.join(map(signed, by_objective(trial.mean_difference)))} ({trial.n})"


def _print_settings(console: Console, config: StudyConfig, summary: Summary) -> None:
    complete = [t for t in summary.trials if t.state == "complete"]
    for trial in ranked(config, complete)[:1]:
        console.print(
            f"[bold]{trial.trial_id}[/]: {escape(settings_text(trial.overrides))}", highlight=False
        )
    reasons = Counter(t.reason or "" for t in summary.trials if t.state == "failed")
    for reason, count in reasons.items():
        trials = "a trial" if count == 1 else f"{count} trials"
        console.print(f"[red]{trials} failed[/]: {escape(reason)}")


def _print_tuning(console: Console, config: StudyConfig, summary: Summary) -> None:
    tuning, before = summary.tuning, as_asked(config).train.optimizer
    if tuning is None:
        return
    line = f"[bold]tuning[/]: {tuning.runs} runs, {tuning.epochs_trained:,} epochs"
    if tuning.learning_rate is not None:
        line += (
            f"; learning rate {before.lr:g} → {tuning.learning_rate:g}, "
            f"weight decay {before.weight_decay:g} → {tuning.weight_decay:g}"
        )
    console.print(line, highlight=False)


def _print_baseline(console: Console, config: StudyConfig, summary: Summary) -> None:
    for index, name in enumerate(config.objective):
        values = [by_objective(b.value, len(config.objective))[index] for b in summary.baseline]
        known = [value for value in values if value is not None]
        if not known:
            console.print("[yellow]no baseline is complete yet[/]")
            return
        spread = f", from {min(known):.4f} to {max(known):.4f}" if len(known) > 1 else ""
        console.print(
            f"[bold]pinned baseline[/] (no noise): {name} {number(values[0])} on the trials' seed "
            f"{summary.baseline[0].seed}; mean of {len(known)} seeds "
            f"{sum(known) / len(known):.4f}{spread}"
        )


def _print_verdict(console: Console, config: StudyConfig, summary: Summary) -> None:
    best = summary.first
    if best is None:
        return
    for sentence in verdict(config, summary, best):
        console.print(f"[bold]{escape(sentence)}[/]", highlight=False)


def _print_cost(console: Console, summary: Summary) -> None:
    cost = summary.cost
    if cost.epochs_reported and cost.trained_share is not None:
        console.print(
            f"epochs: {cost.epochs_reported} reported, {cost.epochs_trained} trained "
            f"({cost.trained_share:.0%}); the rest is shared with the baseline"
        )


def _print_next(console: Console, config: StudyConfig, summary: Summary) -> None:
    # As the user gave it: a relative storage gives commands that fit on a line.
    where = storage_of(config)
    given = Path(config.storage) if where.remote is None else where.folder
    name = [config.name, *where.words]
    commands = [["noise-study", "ui", *name], ["noise-analysis", "report", *name]]
    if summary.first and beats_baseline(config, summary.first):
        best = StudyFolder(given / config.name).best_config
        which = "first" if sharing_best(config, summary.trials) else "best"
        if config.train.task.name is None:
            again = ["noise-train", "--config", str(best)]
            _print_command(console, f"{which} configuration:", again)
        else:
            # For AdaptiveNoise, in the loop that the task was made of.
            _print_command(console, f"{which} configuration:", [str(best)])
        if config.confirm is None:
            commands.append(["noise-study", "confirm", *name])
    elif config.configs is None:
        commands.append(["noise-study", "resume", *name, "--trials", f"+{config.trials}"])
    print_next(console, *commands)


def print_next(console: Console, *commands: list[str]) -> None:
    """Print commands to be copied, each on a line that nothing breaks."""
    console.print("[bold]next:[/]")
    for command in commands:
        _print_command(console, " ", command)


def _print_command(console: Console, before: str, words: list[str]) -> None:
    console.print(f"{before} {shlex.join(words)}", soft_wrap=True, highlight=False, markup=False)


def _states(summary: Summary) -> str:
    counts = Counter(trial.state for trial in summary.trials)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
