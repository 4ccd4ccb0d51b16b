"""How a trial can end, in the order and the colours of every picture."""

from analysis.charts.chart import BLUE, GREEN, ORANGE, PINK, RED, Symbol

OUTCOMES: dict[str, tuple[str, Symbol]] = {
    "complete": (BLUE, "circle"),
    "never injected": (GREEN, "square"),
    "stopped early": (ORANGE, "triangle-up"),
    "failed": (RED, "x"),
    "unfinished": (PINK, "diamond"),
}
"""How a trial ended → colour and symbol: told apart by both."""
