"""What a single run and an evaluation show at their end: tables, files, the next commands."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from study.formats import duration, number, percent
from trainables.epochs import epoch_number

if TYPE_CHECKING:
    from study.run.evaluation import Evaluation
    from study.run.results import RunResult

_MOST_CLASSES = 20
"""Beyond so many classes the table shows the worst ones only."""


def print_result(console: Console, result: "RunResult") -> None:
    if result.diverged is not None:
        console.print(
            f"[red]training diverged in epoch {epoch_number(result.diverged)}[/]: a loss or norm "
            "is not finite; the figures are those of the best epoch before"
        )
    console.print(result_table(result))
    console.print(class_table(result.per_class))
    console.print(f"weights: {result.weights}", soft_wrap=True, highlight=False)
    console.print(f"metrics: {result.files.metrics}", soft_wrap=True, highlight=False)
    console.print("[bold]next:[/]")
    for command in next_commands(result):
        console.print(f"  {command}", soft_wrap=True, markup=False, highlight=False)


def result_table(result: "RunResult") -> Table:
    m = result.metrics
    table = _labelled(result.files.name)
    table.add_row(
        "test set, best weights", f"[bold]{m['test_accuracy']:.2%}[/]   loss {m['test_loss']:.4f}"
    )
    if "final_test_accuracy" in m:
        table.add_row(
            "test set, final weights",
            f"{m['final_test_accuracy']:.2%}   loss {number(m['final_test_loss'])}",
        )
    table.add_row(
        "best validation",
        f"{m['best_val_accuracy']:.2%}   loss {number(m['best_val_loss'])}   "
        f"epoch {m['epochs_to_best']} of {m['epochs']}",
    )
    table.add_row(
        "last epoch",
        f"validation {percent(m['final_val_accuracy'])}   "
        f"training {percent(m['final_train_accuracy'])}",
    )
    table.add_row(
        "training − validation",
        f"last {number(m['generalization_gap_final'], '+.2%')}   "
        f"best {number(m['generalization_gap_at_best'], '+.2%')}   "
        f"mean of the last ten {number(m['generalization_gap_last_ten'], '+.2%')}",
    )
    table.add_row("sharpness", sharpness_text(m))
    table.add_row("noisy epochs", f"{m['noisy_epochs']} of {m['epochs']}")
    table.add_row("time", duration(m["seconds"]))
    return table


def _labelled(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    return table


def sharpness_text(metrics: Mapping[str, Any]) -> str:
    return (
        f"accuracy falls by {percent(metrics['sharpness'])} under weight noise of "
        f"ε = {metrics['sharpness_epsilon']:g} (mean of {metrics['sharpness_draws']} draws)"
    )


def print_evaluation(console: Console, evaluation: "Evaluation") -> None:
    test, flatness = evaluation.test, evaluation.sharpness
    table = _labelled(str(evaluation.checkpoint))
    table.add_row("accuracy", f"[bold]{test.accuracy:.2%}[/]   {test.correct} of {test.total}")
    table.add_row("loss", f"{test.loss:.4f}")
    for name, value in test.further.items():
        table.add_row(name, f"{value:.4f}")
    values = evaluation.to_dict()
    if flatness is not None:
        table.add_row("sharpness", sharpness_text(values))
    console.print(table)
    console.print(class_table(values["per_class"]))


def class_table(classes: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Accuracy and loss on each class of the test set; of many classes, the worst."""
    known = {name: row for name, row in classes.items() if row["accuracy"] is not None}
    shown = list(known)
    title = "test set by class"
    if len(shown) > _MOST_CLASSES:
        shown = sorted(shown, key=lambda name: known[name]["accuracy"] or 0.0)[:_MOST_CLASSES]
        title = f"test set: the {_MOST_CLASSES} worst of {len(known)} classes"
    table = Table(title=title, title_justify="left")
    table.add_column("class", no_wrap=True)
    table.add_column("accuracy", justify="right")
    table.add_column("loss", justify="right")
    for name in shown:
        table.add_row(name, percent(known[name]["accuracy"]), number(known[name]["loss"]))
    return table


def next_commands(result: "RunResult") -> list[str]:
    folder = result.files.folder
    again = ["noise-train", "--config", str(result.files.config)]
    if folder != Path("checkpoints"):
        again += ["--checkpoint-dir", str(folder)]
    commands = [["noise-test", "--checkpoint", str(result.weights)]]
    if result.config.noise.policy != "off":
        commands.append([*again, "--policy", "off"])
    commands.append([*again, "--seed", str(result.config.seed + 1)])
    return [shlex.join(words) for words in commands]
