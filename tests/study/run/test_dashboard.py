"""What a run shows while it trains, rendered to text."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from study.run.dashboard import (
    LiveView,
    PlainView,
    _progress,
    epoch_line,
    noise_text,
    render,
    watching,
)
from study.run.graphs import draw_lines
from study.run.watched import Watched
from trainables.config import TrainConfig
from trainables.metrics import EpochMetrics
from trainables.noise.controller import Injection
from trainables.noise.signals import SIGNALS, Reading
from trainables.settings import parse_config

CONFIG = parse_config(
    TrainConfig,
    {"epochs": 20, "noise": {"policy": "on_stagnation", "trigger_epochs": 2, "cooldown_min": 4}},
)
NOISY = Injection(
    "gradient",
    0.1234,
    0.875,
    ("stuck",),
    "injecting",
    cooldown_remaining=3,
    raised_streak=2,
    injection_streak=1,
    readings=(
        Reading("stuck", 7.0, 5.0, raised=True),
        Reading("overfitting", None, 1e-5, raised=False),
    ),
)
CLEAN = Injection("none", 0.0, 0.0, (), "warm_up")


def row(epoch: int, accuracy: float = 0.5) -> EpochMetrics:
    return EpochMetrics(epoch, 1.5, 0.6, 1.25, accuracy, 2.0, 0.3, 0.01, noise_magnitude=0.1234)


def terminal(width: int = 120, height: int = 60) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, _environ={})


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def show(console: Console, *, graphs: bool = False) -> str:
    with watching(console, Watched.of(CONFIG, "BabyCNN on digits", []), graphs=graphs) as view:
        view.step(3, 7)
        view.epoch(row(0, 0.7), CLEAN)
        view.step(7, 7)
        view.epoch(row(1), NOISY)
    return text_of(console)


def test_the_dashboard_shows_the_state_of_run_and_controller() -> None:
    shown = show(terminal())
    last = shown[shown.rindex("BabyCNN on digits") :]
    for part in (
        "2/20",
        "left",
        "metrics, epoch 2",
        "loss 1.5000   accuracy 60.00%",
        "loss 1.2500   accuracy 50.00%",
        "70.00% in epoch 1   gap +10.00%",
        "on stagnation: injecting noise",
        "gradient   σ 0.1234   severity 0.875",
        "stuck 7 / 5  raised",
        "overfitting – / 1e-05",
        "raised 2 of 2   noisy 1 of 10",
        "3 epochs left",
    ):
        assert part in last, part
    assert "noise magnitude" not in last


def test_graphs_when_they_are_asked_for_and_have_room() -> None:
    for title in ("accuracy  — training  — validation", "learning rate", "noise magnitude"):
        assert title in show(terminal(), graphs=True)
    short = show(terminal(height=30), graphs=True)
    assert "accuracy  — training" in short
    assert "noise magnitude" not in short
    assert "at least 80 columns and 25 lines" in show(terminal(height=20), graphs=True)
    assert "at least 80 columns and 32 lines" in show(terminal(79), graphs=True)
    assert "at least 80 columns and 32 lines" in show(terminal(80, 31), graphs=True)
    narrow = show(terminal(80, 32), graphs=True)
    assert "accuracy  — training" in narrow
    assert "noise magnitude" not in narrow
    assert "noise magnitude" in show(terminal(80, 41), graphs=True)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (100, 30), (200, 80)])
def test_it_fits_any_terminal(width: int, height: int) -> None:
    shown = show(terminal(width, height), graphs=True)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width


@pytest.mark.parametrize("policy", ["on_stagnation", "off"])
def test_the_usual_small_terminal_has_room_for_all_but_graphs(policy: str) -> None:
    config = CONFIG.model_copy(update={"noise": CONFIG.noise.model_copy(update={"policy": policy})})
    readings = tuple(Reading(name, 0.123456, 1e-5, raised=True) for name in SIGNALS)
    everything = replace(NOISY, signals=tuple(SIGNALS), readings=readings)
    watched = Watched.of(config, "BabyCNN on digits", [row(0)])
    watched.injection = everything
    console = terminal(80, 24)
    console.print(render(watched, _progress(watched), graphs=True))
    lines = text_of(console).rstrip().splitlines()
    # One line is left for what was said before.
    assert len(lines) <= 23
    assert lines[-1].startswith("graphs need")


def test_without_a_terminal_a_line_an_epoch() -> None:
    console = Console(file=io.StringIO(), width=80)
    with watching(console, Watched.of(CONFIG, "title", []), graphs=True) as view:
        assert isinstance(view, PlainView)
        view.step(1, 7)
        view.epoch(row(0, 0.7), CLEAN)
        view.epoch(row(1), NOISY)
    first, second = text_of(console).splitlines()
    assert first.startswith(
        "epoch 1/20  train 1.5000 60.00%  val 1.2500 70.00%  best 70.00% @ 1  lr 1.00e-02  "
        "noise none (warm-up)"
    )
    assert "best 70.00% @ 1" in second
    assert "noise gradient 0.123 by stuck" in second


def test_a_terminal_gets_the_dashboard_and_a_dumb_one_lines() -> None:
    with watching(terminal(), Watched.of(CONFIG, "t", [])) as view:
        assert isinstance(view, LiveView)
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    with watching(dumb, Watched.of(CONFIG, "t", [])) as view:
        assert isinstance(view, PlainView)


def test_a_run_that_goes_on_knows_its_past() -> None:
    watched = Watched.of(CONFIG, "t", [row(0, 0.9), row(1)])
    assert watched.best is not None
    assert watched.best.epoch == 0
    assert watched.seconds_left is None, "no step of this process yet"
    watched.done = 2.5
    watched.began -= 10
    # Half an epoch in ten seconds: 17.5 left.
    assert watched.seconds_left == pytest.approx(350, rel=0.01)
    assert "epoch 2/20" in epoch_line(watched, row(1), CLEAN)


def test_what_the_controller_waits_for_is_said() -> None:
    watching_signals = Injection("none", 0.0, 0.0, ("stuck",), "watching")
    assert noise_text(watching_signals) == "none (watching: stuck)"
    assert noise_text(Injection("weight", 2.0, 0.0, (), "injecting")) == "weight 2"


@pytest.mark.parametrize(
    "values", [[0.0], [0.0, 0.0], [5.0], [1e-300, 0.0], [-1.0, 3.0], [1e30, -1e30]]
)
def test_any_values_can_be_drawn(values: list[float]) -> None:
    drawn = draw_lines(((tuple(values), "red"),), epochs=1, width=40, height=8)
    assert len(drawn.splitlines()) == 8


def axis(drawn: str) -> list[float]:
    """The numbers beside the axis of the values."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    return [float(number) for number in re.findall(r"^ *(-?[\d.]+)┤", plain, re.MULTILINE)]


def test_the_axis_of_the_values_fits_them() -> None:
    lines = (((0.4, 0.6), "red"), ((0.5, 0.7), "cyan"))
    assert axis(draw_lines(lines, 2, width=40, height=8))[0] == 0.7
    assert min(axis(draw_lines(lines, 2, width=40, height=8))) == 0.4
    assert min(axis(draw_lines(lines, 2, floor=0.0, width=40, height=8))) == 0.0
    assert min(axis(draw_lines((((-1.0, 3.0), "red"),), 2, floor=0.0, width=40, height=8))) == -1
