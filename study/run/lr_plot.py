"""The learning-rate schedule of a run, computed and then drawn to a PNG."""

from pathlib import Path

from trainables.config import TrainConfig
from trainables.lr_schedule import learning_rate

_POINTS = 4000


def lr_schedule(config: TrainConfig, steps_per_epoch: int) -> tuple[list[float], list[float]]:
    """The schedule as (epochs passed, learning rate), at most some thousand points."""
    steps = config.epochs * steps_per_epoch
    stride = max(1, steps // _POINTS)
    shown = range(0, steps, stride)
    rates = [
        learning_rate(config.optimizer, step, steps_per_epoch=steps_per_epoch, epochs=config.epochs)
        for step in shown
    ]
    return [step / steps_per_epoch for step in shown], rates


def draw_lr_schedule(config: TrainConfig, steps_per_epoch: int, path: Path) -> None:
    from matplotlib.figure import Figure

    epochs, rates = lr_schedule(config, steps_per_epoch)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(epochs, rates, linewidth=1.2)
    axes.set(
        xlabel="epochs passed",
        ylabel="learning rate",
        title=f"lr {config.optimizer.lr:g}, restart every {config.optimizer.lr_restart_period} "
        f"of {config.epochs} epochs, {steps_per_epoch} steps each",
        xlim=(0, config.epochs),
        ylim=(0, None),
    )
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
