"""The controller: the statistics so far in, the next epoch's injection out (METHOD, sections 4, 5).

``NoiseController`` is for the loop, one epoch at a time; ``replay`` and ``fork_epoch`` answer from
a recorded history, without training, what it would do.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainables.metrics import EpochMetrics, Phase
from trainables.noise.decay import decay
from trainables.noise.kinds import NOISE_KINDS
from trainables.noise.signals import (
    SIGNALS,
    Reading,
    count_without_best,
    evaluate_signals,
    listening,
    severity_signals,
)
from trainables.noise_config import NoiseConfig

SEVERITY_UNKNOWN = 0.5
"""Severity of a signal that has no scale of its own."""


@dataclass(frozen=True, slots=True)
class Injection:
    """What the controller decided for one epoch, and why.

    Attributes:
        kind: what is perturbed; ``none`` for a clean epoch.
        magnitude: the noise's standard deviation σ, decay included; 0 for a clean epoch.
        severity: how bad the signal behind an adaptive injection is, in [0.5, 1]; otherwise 0.
        signals: the raised signals, in METHOD's order; none in warm-up and cooldown.
        cooldown_remaining: clean epochs that must still follow this one.
        raised_streak: consecutive epochs with a raised signal, this one included; 0 again from
            the epoch on that starts a cooldown.
        injection_streak: consecutive noisy epochs, likewise.
        readings: what the listened signals measured; empty in warm-up and cooldown.
    """

    kind: str
    magnitude: float
    severity: float
    signals: tuple[str, ...]
    phase: Phase
    cooldown_remaining: int = 0
    raised_streak: int = 0
    injection_streak: int = 0
    readings: tuple[Reading, ...] = ()

    @property
    def injecting(self) -> bool:
        return self.kind != "none"

    def recorded(self) -> dict[str, Any]:
        """What ``EpochMetrics`` has of it."""
        return {
            "noise_kind": self.kind,
            "noise_magnitude": self.magnitude,
            "noise_severity": self.severity,
            "noise_phase": self.phase,
            "signals": self.signals,
        }


@dataclass(frozen=True, slots=True)
class ControllerState:
    """What one decision hands to the next: the streaks and the count for signal ``stuck``."""

    cooldown_remaining: int = 0
    raised_streak: int = 0
    injection_streak: int = 0
    best_loss: float = math.inf
    epochs_without_best: int = 0


class NoiseController:
    """Decides before each epoch whether noise is injected, of which kind and how strong.

    A decision depends on the settings and the history alone. What is kept between calls is a cache
    that makes consecutive calls cheap: a history that goes on from the last one costs one decision
    per new epoch, any other one is replayed from its start. So a controller needs no checkpoint.
    """

    def __init__(self, noise: NoiseConfig, epochs: int) -> None:
        """``epochs`` is the budget that the decay refers to; ValueError if it is less than 1."""
        if epochs < 1:
            raise ValueError(f"epochs = {epochs}: must be at least 1")
        self._noise = noise
        self._epochs = epochs
        self._seen: list[EpochMetrics] = []
        self._decided: tuple[Injection, ControllerState] | None = None

    def step(self, history: Sequence[EpochMetrics]) -> Injection:
        """The decision for epoch ``len(history)``."""
        rows = list(history)
        if self._decided is None or rows[: len(self._seen)] != self._seen:
            self._seen = []
            self._decided = decide(self._noise, self._epochs, rows, 0, ControllerState())
        for epoch in range(len(self._seen) + 1, len(rows) + 1):
            self._decided = decide(self._noise, self._epochs, rows, epoch, self._decided[1])
        self._seen = rows
        return self._decided[0]


def replay(history: Sequence[EpochMetrics], noise: NoiseConfig, epochs: int) -> Iterator[Injection]:
    """The decisions for epochs 0 … ``len(history)``, as far as they lie within the budget."""
    state = ControllerState()
    for epoch in range(min(len(history) + 1, epochs)):
        injection, state = decide(noise, epochs, history, epoch, state)
        yield injection


def fork_epoch(history: Sequence[EpochMetrics], noise: NoiseConfig, epochs: int) -> int | None:
    """The first epoch in which a trial would inject noise (METHOD, section 9).

    Until its first noisy epoch a trial equals the baseline of its seed, so that the baseline's
    statistics and the trial's settings decide this epoch without training.

    Args:
        history: the baseline's epochs; the whole of them, or as many as there are.

    Returns:
        The epoch, or None if noise does not begin within ``history`` and the budget.
    """
    if noise.policy == "off":
        return None
    decisions = enumerate(replay(history, noise, epochs))
    return next((epoch for epoch, injection in decisions if injection.injecting), None)


def decide(
    noise: NoiseConfig,
    epochs: int,
    history: Sequence[EpochMetrics],
    epoch: int,
    state: ControllerState,
) -> tuple[Injection, ControllerState]:
    """One decision: a pure function of the history and of the state after the decision before.

    Args:
        history: at least ``epoch`` completed epochs; later ones are not looked at.
        state: what the decision for ``epoch`` − 1 returned.
    """
    if epoch > 0:
        count, best = count_without_best(
            state.epochs_without_best, state.best_loss, history[epoch - 1].train_loss
        )
        state = replace(state, epochs_without_best=count, best_loss=best)
    if noise.policy == "off":
        return _clean("off", state), state
    if noise.policy == "always":
        magnitude = noise.magnitude * decay(noise.schedule, epoch, epochs)
        return Injection(noise.kind, magnitude, 0.0, (), "injecting"), state
    if noise.policy == "planned":
        return _planned(noise, epoch, state), state
    if state.cooldown_remaining > 0:
        state = replace(
            state,
            cooldown_remaining=state.cooldown_remaining - 1,
            raised_streak=0,
            injection_streak=0,
        )
        return _clean("cooldown", state), state
    if not listening(noise, epoch):
        return _clean("warm_up", state), state
    readings = evaluate_signals(noise, history, epoch, state.epochs_without_best)
    return _react(noise, decay(noise.schedule, epoch, epochs), readings, state)


def _planned(noise: NoiseConfig, epoch: int, state: ControllerState) -> Injection:
    """What the plan has for ``epoch``; its magnitudes have their decay already."""
    for planned, kind, magnitude in noise.plan:
        if planned == epoch:
            return Injection(kind, magnitude, 0.0, (), "injecting")
    return _clean("off", state)


def _react(
    noise: NoiseConfig, decayed: float, readings: tuple[Reading, ...], state: ControllerState
) -> tuple[Injection, ControllerState]:
    """Steps 2 to 4 of METHOD's section 4, once the signals are read."""
    raised = {reading.name: reading for reading in readings if reading.raised}
    state = replace(state, raised_streak=state.raised_streak + 1 if raised else 0)
    if not raised or state.raised_streak < noise.trigger_epochs:
        state = replace(state, injection_streak=0)
        return _clean("watching", state, readings), state
    state = replace(state, injection_streak=state.injection_streak + 1)
    asked = {SIGNALS[name].asks_for for name in raised}
    kind = next(kind for kind in NOISE_KINDS if kind in asked)
    ratio = NOISE_KINDS[kind].ratio
    how_bad = _severity_of(kind, raised)
    sigma = (noise.magnitude_min + how_bad * noise.magnitude_extra) * decayed
    if ratio is not None:
        sigma *= getattr(noise, ratio)
    if state.injection_streak >= noise.max_injection_epochs:
        severity_then = _severity_of("gradient", raised)
        cooldown = math.floor(noise.cooldown_min + severity_then * noise.cooldown_extra)
        state = replace(state, cooldown_remaining=cooldown, raised_streak=0, injection_streak=0)
    clean = _clean("injecting", state, readings)
    return replace(clean, kind=kind, magnitude=sigma, severity=how_bad), state


def _clean(phase: Phase, state: ControllerState, readings: tuple[Reading, ...] = ()) -> Injection:
    return Injection(
        kind="none",
        magnitude=0.0,
        severity=0.0,
        signals=tuple(reading.name for reading in readings if reading.raised),
        phase=phase,
        cooldown_remaining=state.cooldown_remaining,
        raised_streak=state.raised_streak,
        injection_streak=state.injection_streak,
        readings=readings,
    )


def _severity_of(kind: str, raised: Mapping[str, Reading]) -> float:
    for name in severity_signals(kind):
        reading = raised.get(name)
        if reading is not None and reading.value is not None:
            return severity(reading.value, reading.threshold)
    return SEVERITY_UNKNOWN


def severity(improvement: float, delta: float) -> float:
    """How bad an improvement short of ``delta`` is: 1 − sigmoid((2/δ)·(improvement − δ)).

    METHOD's section 5; 0.5 at ``delta``, 0.88 at no improvement, towards 1 below. No finite
    arguments with ``delta`` > 0 overflow it, subnormal ones included.
    """
    x = 2.0 * (improvement / delta - 1.0)
    if x > 0:
        small = math.exp(-x)
        return small / (1.0 + small)
    return 1.0 / (1.0 + math.exp(x))
