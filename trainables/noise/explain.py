"""Why there is noise in an epoch, or why not, in a sentence."""

from trainables.epochs import epoch_number
from trainables.noise.controller import Injection
from trainables.noise.signals import SIGNALS, Reading
from trainables.noise_config import NoiseConfig


def explanation(noise: NoiseConfig, decided: Injection, epoch: int, epochs: int) -> str:
    """``decided`` is the decision for ``epoch``, which counts from 0."""
    where = f"epoch {epoch_number(epoch)} of {epochs}" if epoch < epochs else "after the last epoch"
    return f"{where}: {_what(decided)}; {_why(noise, decided, epoch)}"


def _what(decided: Injection) -> str:
    if not decided.injecting:
        return "no noise"
    return f"{decided.kind} noise of magnitude {decided.magnitude:.4g}"


def _why(noise: NoiseConfig, decided: Injection, epoch: int) -> str:
    phase = decided.phase
    if phase == "off":
        return "it is switched off" if noise.policy == "off" else "none is planned here"
    if phase == "cooldown":
        return f"cooldown, {decided.cooldown_remaining} clean epochs are to follow"
    if phase == "warm_up":
        needed = max(noise.warmup_epochs, noise.window)
        return f"no signal is read before {needed} epochs are complete"
    if noise.policy != "on_stagnation":
        return f"as the policy {noise.policy!r} says"
    read = "; ".join(map(_reading, decided.readings)) or "no signal can be raised"
    if phase == "watching" and decided.signals:
        streak, needed = decided.raised_streak, noise.trigger_epochs
        return f"a signal is raised in {streak} of {needed} epochs in a row: {read}"
    return read


def _reading(reading: Reading) -> str:
    if reading.value is None:
        return f"{reading.name} can't be read yet"
    side = "above" if SIGNALS[reading.name].is_above else "below"
    raised = "raised" if reading.raised else "not raised"
    return f"{reading.name} {raised}: {reading.value:.4g} (raised {side} {reading.threshold:.4g})"
