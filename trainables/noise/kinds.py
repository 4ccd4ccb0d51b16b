"""The kinds of noise: what the settings, the spaces and the commands know of each, without torch.

How a kind enters a training step is in ``step_noise.py``, under the same name.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NoiseKind:
    """What is said of a kind of noise.

    Attributes:
        ratio: the setting that multiplies the magnitude of its adaptive noise.
        has_distribution: whether the settings ``distribution`` and ``scaling`` mean something.
    """

    ratio: str | None = None
    has_distribution: bool = True


NOISE_KINDS: dict[str, NoiseKind] = {
    "gradient": NoiseKind(),
    "weight": NoiseKind(ratio="weight_ratio"),
    "input": NoiseKind(),
    "label": NoiseKind(has_distribution=False),
}
"""By name. Where signals ask for several kinds at once, the first of these wins."""

MAX_LABEL_PROBABILITY = 0.5
"""Label noise replaces at most this share of the labels, however large the magnitude."""
