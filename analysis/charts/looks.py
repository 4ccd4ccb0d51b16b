"""The colours, dashes and symbols of charts."""

from itertools import cycle
from typing import Literal

from trainables.noise.signals import SIGNALS

# Okabe and Ito's palette, told apart by people of all kinds of colour vision, without its yellow
# and black, which vanish on a light and on a dark page.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY = "#56B4E9", "#CC79A7", "#888888"
SIGNAL_COLOURS = dict(
    zip(SIGNALS, cycle((BLUE, SKY, GREEN, ORANGE, PINK, "#882255", "#999933")), strict=False)
)
"""Red is the noise's own. The last two are Tol's wine and olive, for further signals."""

Dash = Literal["solid", "dash", "dot"]
Symbol = Literal["circle", "x", "square", "diamond", "triangle-up"]
