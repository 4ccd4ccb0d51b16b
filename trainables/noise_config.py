"""The settings of the noise."""

from itertools import pairwise
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from trainables.errors import nearest
from trainables.noise.decay import DECAYS
from trainables.noise.kinds import NOISE_KINDS
from trainables.noise.signals import SIGNALS
from trainables.settings import LARGEST, FrozenConfig, Named, setting

Policy = Literal["off", "always", "on_stagnation", "planned"]
Distribution = Literal["gaussian", "uniform"]
Scaling = Literal["relative", "absolute", "step"]
KindName = Annotated[str, Named(tuple(NOISE_KINDS))]
PlannedNoise = tuple[
    Annotated[int, Field(ge=0)], KindName, Annotated[float, Field(ge=0, le=LARGEST)]
]
"""Epoch, kind and magnitude of noise that is planned."""


def _split_signals(value: object) -> object:
    """Accept ``"stuck+overfitting"`` (a search space's category) as well as a list."""
    if isinstance(value, str):
        value = tuple(part.strip() for part in value.replace(",", "+").split("+") if part.strip())
    if isinstance(value, (list, tuple, set, frozenset)):
        unknown = [name for name in value if isinstance(name, str) and name not in SIGNALS]
        if unknown:
            raise ValueError(nearest(unknown[0], SIGNALS))
        # The order never matters to the method; one order makes equal sets equal configurations.
        return tuple(name for name in SIGNALS if name in value)
    return value


class NoiseConfig(FrozenConfig):
    """When noise is injected, of which kind, and how strong (METHOD: policy, signals, severity)."""

    policy: Annotated[Policy, Named(get_args(Policy))] = setting(
        "off",
        "off: no noise, the baseline; always: static noise of one kind in every epoch; "
        "on_stagnation: adaptive noise, when the signals say that training is stuck "
        "(planned: for placebos and clocks, whose configuration files hold the plan)",
        option="--policy",
    )
    kind: KindName = setting(
        "gradient", "what static noise perturbs (policy always only)", option="--kind"
    )
    magnitude: float = setting(
        0.01,
        "standard deviation of static noise, before decay",
        option="--noise-magnitude",
        short="-nm",
        ge=0,
        le=LARGEST,
    )
    magnitude_min: float = setting(
        0.01,
        "standard deviation of adaptive noise at severity 0",
        option="--relative-min-noise",
        ge=0,
        le=LARGEST,
    )
    magnitude_extra: float = setting(
        0.09, "what severity 1 adds to magnitude_min", option="--magnitude-extra", ge=0, le=LARGEST
    )
    weight_ratio: float = setting(
        1.0,
        "adaptive weight noise is this many times as strong as gradient noise",
        option="--weight-ratio",
        ge=0,
        le=LARGEST,
    )
    schedule: Annotated[str, Named(tuple(DECAYS))] = setting(
        "constant",
        "decay of the magnitude over the epoch budget",
        option="--noise-schedule",
        short="-ns",
    )
    distribution: Annotated[Distribution, Named(get_args(Distribution))] = setting(
        "gaussian",
        "distribution of the noise; both have the same variance",
        option="--noise-distribution",
        short="-nd",
    )
    scaling: Annotated[Scaling, Named(get_args(Scaling))] = setting(
        "relative",
        "relative: magnitudes are multiples of the RMS of the tensor perturbed; absolute: as "
        "given; step: gradient noise moves the weights by that multiple of their initial RMS (SGD "
        "only), other noise is relative",
        option="--scaling",
    )
    layers: tuple[str, ...] = setting(
        (),
        "fragments of parameter names that noise is limited to (repeatable; none: all)",
        option="--noise-layer",
        short="-nl",
    )
    permanent: bool = setting(
        False, "weight noise stays in the weights", option="--permanent", short="-p"
    )
    signals: Annotated[tuple[str, ...], BeforeValidator(_split_signals)] = setting(
        tuple(SIGNALS), "the signals listened to", option="--signals", min_length=1
    )
    patience: int | None = setting(
        5,
        "signal stuck: raised after more than this many epochs without a better training loss "
        "(None: never)",
        option="--patience",
        ge=0,
    )
    warmup_epochs: int = setting(
        10, "no signal is raised before this epoch", option="--flag-min-epochs", ge=0
    )
    window: int = setting(
        5, "completed epochs that a plateau is judged on", option="--flag-window-size", ge=2
    )
    overfit_epochs: int = setting(
        3,
        "signal overfitting: consecutive epochs of rising validation and falling training loss",
        option="--flag-overfit-epochs",
        ge=1,
    )
    plateau_delta: float = setting(
        1e-4,
        "signal val_loss_plateau: raised when the loss fell by less than this over the window",
        option="--flag-plateau-delta",
        gt=0,
    )
    grad_plateau_threshold: float = setting(
        0.05,
        "signal grad_norm_plateau: raised when the norm fell by less than this share",
        option="--flag-grad-plateau-thr",
        gt=0,
    )
    weight_update_threshold: float = setting(
        1e-4,
        "signal low_weight_update: raised when the mean update norm is below this",
        option="--flag-low-weight-update-thr",
        gt=0,
    )
    trigger_epochs: int = setting(
        3,
        "consecutive epochs with a signal before noise begins",
        option="--consecutive-flag-trigger",
        ge=1,
    )
    max_injection_epochs: int = setting(
        10, "noisy epochs in a row before a cooldown", option="--max-injection-epochs", ge=1
    )
    cooldown_min: int = setting(
        5, "epochs of cooldown at severity 0", option="--min-cooldown-epochs", ge=0
    )
    cooldown_extra: int = setting(
        10, "what severity 1 adds to the cooldown", option="--cooldown-extra", ge=0
    )
    plan: tuple[PlannedNoise, ...] = setting(
        (),
        "policy planned: epoch, kind and magnitude of each noisy epoch, in order; the magnitudes "
        "are used as they are, without decay",
    )

    @model_validator(mode="after")
    def _plan_with_its_policy(self) -> Self:
        if bool(self.plan) != (self.policy == "planned"):
            raise ValueError(
                f"policy = {self.policy!r} with a plan of {len(self.plan)} noisy epochs: policy "
                "planned follows a plan, and no other policy has one (noise.plan, in a "
                "configuration file)"
            )
        epochs = [epoch for epoch, _, _ in self.plan]
        for before, after in pairwise(epochs):
            if before >= after:
                raise ValueError(
                    f"plan: epoch {after} after epoch {before}; the epochs must ascend, each once"
                )
        return self

    def earliest_injection(self) -> int | None:
        """The first epoch in which noise could begin, whatever training does; None: never."""
        if self.policy == "off":
            return None
        if self.policy == "always":
            return 0
        if self.policy == "planned":
            return self.plan[0][0]
        needed = (SIGNALS[name].earliest(self) for name in self.signals)
        possible = [epochs for epochs in needed if epochs is not None]
        if not possible:
            return None
        raised = max(self.warmup_epochs, self.window, min(possible))
        return raised + self.trigger_epochs - 1


def possible_kinds(noise: NoiseConfig) -> frozenset[str]:
    """The kinds of noise that there may be in a run."""
    if noise.policy == "off":
        return frozenset()
    if noise.policy == "always":
        return frozenset({noise.kind})
    if noise.policy == "planned":
        return frozenset(kind for _, kind, _ in noise.plan)
    heard = (SIGNALS[name] for name in noise.signals)
    return frozenset(s.asks_for for s in heard if getattr(noise, s.setting) is not None)
