"""What settings would do on a recorded baseline: which signals, when noise begins, how strong.

A trial equals the baseline of its seed until its first noisy epoch (METHOD, section 9). So up to
that epoch all of it follows from the baseline's recorded statistics and the settings, without
training; after it the course is another one, which nobody knows yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.reading import BaselineHistory
from trainables.epochs import epoch_number
from trainables.errors import InputError
from trainables.metrics import EpochMetrics
from trainables.noise.controller import SEVERITY_UNKNOWN, Injection, replay
from trainables.noise.signals import severity_signals
from trainables.noise_config import NoiseConfig


@dataclass(frozen=True)
class SignalPreview:
    """One signal that is listened to, over the epochs that are known.

    Attributes:
        threshold: what it is compared with.
        raised: the epochs before which it is raised.
        evaluated: how many epochs it was evaluated before.
        lowest, highest: of what was measured; None if it never was.
    """

    name: str
    threshold: float | None
    raised: tuple[int, ...]
    evaluated: int
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class CooldownPreview:
    """The first cooldown.

    Attributes:
        exact: its length in epochs, where it follows from the baseline; else None.
        earliest: the first epoch that it could begin at.
        shortest, longest: the lengths that the settings allow.
        at_this_severity: its length if the gradient's severity stays as at the fork.
    """

    exact: int | None
    earliest: int
    shortest: int
    longest: int
    at_this_severity: int


@dataclass(frozen=True)
class Preview:
    """What the settings would do.

    Attributes:
        source: whose history it is.
        history: the baseline's recorded epochs.
        decisions: one for each epoch from 0 on that is known.
        fork: the first noisy epoch; None if noise does not begin within what is known.
        cooldown: the first cooldown; None without a fork, or where there is none.
    """

    source: str
    noise: NoiseConfig
    epochs: int
    history: tuple[EpochMetrics, ...]
    decisions: tuple[Injection, ...]
    fork: int | None
    signals: tuple[SignalPreview, ...]
    cooldown: CooldownPreview | None

    @property
    def known(self) -> int:
        """Epochs whose decision is known: from 0 on."""
        return len(self.decisions)

    @property
    def injection(self) -> Injection | None:
        return None if self.fork is None else self.decisions[self.fork]

    def sentences(self) -> list[str]:
        return [*_beginning(self), *_after(self)]


def preview(baseline: BaselineHistory, noise: NoiseConfig) -> Preview:
    """See from a baseline's history, or as much as is recorded, what settings would do."""
    if noise.policy == "off":
        raise InputError(
            "noise.policy = 'off': there is no noise to preview; "
            "give --policy on_stagnation or always"
        )
    if not baseline.rows and baseline.noisy_from is None:
        raise InputError(f"{baseline.source}: no epoch is recorded yet")
    every = list(replay(baseline.rows, noise, baseline.epochs))
    fork = next((epoch for epoch, decided in enumerate(every) if decided.injecting), None)
    known = len(every) if fork is None else fork + 1
    decisions = every[:known]
    cooldown = None if fork is None else _cooldown(noise, decisions[fork], fork)
    if fork is not None and cooldown is not None and cooldown.exact:
        # A cooldown of known length is clean, whatever training does meanwhile.
        last = min(baseline.epochs, fork + 1 + cooldown.exact)
        decisions += [
            Injection("none", 0.0, 0.0, (), "cooldown", cooldown_remaining=last - 1 - epoch)
            for epoch in range(fork + 1, last)
        ]
    return Preview(
        source=baseline.source,
        noise=noise,
        epochs=baseline.epochs,
        history=baseline.rows,
        decisions=tuple(decisions),
        fork=fork,
        signals=_signals(noise, decisions),
        cooldown=cooldown,
    )


def _signals(noise: NoiseConfig, decisions: Sequence[Injection]) -> tuple[SignalPreview, ...]:
    if noise.policy != "on_stagnation":
        return ()
    found = []
    for name in noise.signals:
        seen = [
            (epoch, reading)
            for epoch, decided in enumerate(decisions)
            for reading in decided.readings
            if reading.name == name
        ]
        values = [reading.value for _, reading in seen if reading.value is not None]
        found.append(
            SignalPreview(
                name=name,
                threshold=seen[0][1].threshold if seen else None,
                raised=tuple(epoch for epoch, reading in seen if reading.raised),
                evaluated=len(values),
                lowest=min(values, default=None),
                highest=max(values, default=None),
            )
        )
    return tuple(found)


def _cooldown(noise: NoiseConfig, first: Injection, fork: int) -> CooldownPreview | None:
    """METHOD, section 4, step 4: the length follows from the severity of the *last* noisy epoch."""
    if noise.policy != "on_stagnation" or noise.cooldown_min + noise.cooldown_extra == 0:
        return None

    def length(severity: float) -> int:
        return math.floor(noise.cooldown_min + severity * noise.cooldown_extra)

    def measured(signals: Sequence[str]) -> bool:
        """Whether one of them says how severe it is for the gradient, which cooldowns ask."""
        return any(name in signals for name in severity_signals("gradient"))

    return CooldownPreview(
        exact=first.cooldown_remaining if noise.max_injection_epochs == 1 else None,
        earliest=fork + noise.max_injection_epochs,
        shortest=length(SEVERITY_UNKNOWN),
        longest=length(1.0 if measured(noise.signals) else SEVERITY_UNKNOWN),
        at_this_severity=length(first.severity if measured(first.signals) else SEVERITY_UNKNOWN),
    )


def _beginning(found: Preview) -> list[str]:
    injection = found.injection
    if injection is None:
        told = len(found.history)
        if told >= found.epochs - 1:
            return [
                f"Noise never begins within {found.epochs} epochs: a trial with these settings "
                "would equal the baseline."
            ]
        return [
            f"Noise does not begin within the {told} epochs recorded of {found.epochs}; "
            "what comes later is not known."
        ]
    begins = (
        f"Noise begins in epoch {epoch_number(found.fork or 0)} of {found.epochs}: "
        f"{injection.kind} noise of magnitude {injection.magnitude:.4g}"
    )
    if found.noise.policy == "always":
        return [f"{begins}, in every epoch."]
    raised = ", ".join(injection.signals)
    return [f"{begins}, severity {injection.severity:.3f}, because of {raised}."]


def _after(found: Preview) -> list[str]:
    if found.fork is None:
        return []
    if found.noise.policy == "always":
        return ["What training becomes under it is not known in advance."]
    lines = []
    cooldown, noise = found.cooldown, found.noise
    if cooldown is None:
        lines.append("There is no cooldown.")
    elif cooldown.earliest >= found.epochs:
        lines.append(
            f"There is no room for a cooldown: it would follow {noise.max_injection_epochs} noisy "
            "epochs in a row."
        )
    elif cooldown.exact is not None:
        lines.append(
            f"One noisy epoch, then a cooldown of {cooldown.exact} epochs "
            f"(from epoch {epoch_number(cooldown.earliest)} on)."
        )
    else:
        lines.append(
            f"A cooldown follows {noise.max_injection_epochs} noisy epochs in a row, so from epoch "
            f"{epoch_number(cooldown.earliest)} on at the earliest: {_lengths(cooldown)}."
        )
    if found.known < found.epochs:
        since = epoch_number(found.known)
        lines.append(f"From epoch {since} on nothing is known: training leaves the baseline.")
    return lines


def _lengths(cooldown: CooldownPreview) -> str:
    if cooldown.shortest == cooldown.longest:
        return f"{cooldown.shortest} epochs long"
    return (
        f"{cooldown.shortest} to {cooldown.longest} epochs long, {cooldown.at_this_severity} "
        "if the severity stays"
    )
