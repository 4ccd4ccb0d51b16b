"""The learning-rate schedule of a run, computed and then drawn to a PNG."""

from pathlib import Path

from trainables.config import OptimizerConfig, TrainConfig
from trainables.lr_schedule import Schedule

_POINTS = 4000


def lr_schedule(config: TrainConfig, steps_per_epoch: int) -> tuple[list[float], list[float]]:
    """The schedule as (epochs passed, learning rate), at most some thousand points."""
    steps = config.epochs * steps_per_epoch
    stride = max(1, steps // _POINTS)
    shown = range(0, steps, stride)
    schedule = Schedule(config.optimizer, steps_per_epoch=steps_per_epoch, epochs=config.epochs)
    rates = [schedule(step) for step in shown]
    return [step / steps_per_epoch for step in shown], rates


def _words(optimizer: OptimizerConfig) -> str:
    if optimizer.lr_schedule == "cosine":
        return f"restart every {optimizer.lr_restart_period} of"
    return f"{optimizer.lr_schedule}, over"


def draw_lr_schedule(config: TrainConfig, steps_per_epoch: int, path: Path) -> None:
    from matplotlib.figure import Figure

    epochs, rates = lr_schedule(config, steps_per_epoch)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, rates, linewidth=1.2)
    axes.set(
        xlabel="epochs passed",
        ylabel="learning rate",
        title=f"lr {config.optimizer.lr:g}, {_words(config.optimizer)} "
        f"{config.epochs} epochs, {steps_per_epoch} steps each",
        xlim=(0, config.epochs),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
