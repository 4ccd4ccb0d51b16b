"""How a classifier is trained: its optimizer, learning rate, clipping, smoothing and averaging."""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import model_validator

from trainables.code_identity import is_own
from trainables.errors import InputError
from trainables.settings import LARGEST, FrozenConfig, Named, setting

OPTIMIZERS = ("SGD", "Adam", "AdamW")

SCHEDULES = ("cosine", "one-cycle", "constant", "step")

_OF_SCHEDULES = {
    "lr_peak_at": "one-cycle",
    "lr_step_epochs": "step",
    "lr_step_factor": "step",
}
"""Setting → the only schedule in which it has an effect."""


class OptimizerConfig(FrozenConfig):
    optimizer: Annotated[str, Named(OPTIMIZERS, any_case=True, or_own=True)] = setting(
        "SGD",
        "SGD, Adam (L2 decay), AdamW (decoupled decay), or your own as package.module:function "
        "(docs/own-training.md)",
        option="--optimizer",
        short="-o",
    )
    nesterov: bool = setting(
        True, "SGD: Nesterov's momentum, where momentum > 0", option="--nesterov", later=True
    )
    lr: float = setting(
        1e-2,
        "learning rate: the highest of its schedule, or what that begins with",
        option="--lr",
        gt=0,
        le=LARGEST,
    )
    weight_decay: float = setting(
        1e-3, "weight decay: L2, under AdamW decoupled", option="--wd", ge=0, le=LARGEST
    )
    momentum: float = setting(0.9, "SGD's momentum", option="--momentum", short="-m", ge=0, lt=1)
    beta1: float = setting(0.9, "Adam's beta 1", option="--beta1", short="-b1", ge=0, lt=1)
    beta2: float = setting(0.999, "Adam's beta 2", option="--beta2", short="-b2", ge=0, lt=1)
    lr_restart_period: int = setting(
        50, "epochs of one cosine cycle", option="--lr-restart-period", ge=1
    )
    lr_schedule: Annotated[str, Named(SCHEDULES, or_own=True)] = setting(
        "cosine",
        "cosine (with restarts), one-cycle, constant, step, or your own as "
        "package.module:function (docs/own-training.md)",
        option="--lr-schedule",
        later=True,
    )
    lr_warmup_epochs: float = setting(
        0.0,
        "epochs over which the rate rises linearly; it multiplies any schedule",
        option="--lr-warmup-epochs",
        later=True,
        ge=0,
        le=1_000_000,
    )
    lr_warmup_fraction: float = setting(
        0.0,
        "the same as a share of the budget",
        option="--lr-warmup-fraction",
        later=True,
        ge=0,
        lt=1,
    )
    lr_peak_at: float = setting(
        0.3,
        "one-cycle: share of the budget after which the rate is highest",
        option="--lr-peak-at",
        later=True,
        gt=0,
        lt=1,
    )
    lr_step_epochs: int | None = setting(
        None,
        "step: epochs between two steps (None: a third of the budget)",
        option="--lr-step-epochs",
        later=True,
        ge=1,
    )
    lr_step_factor: float = setting(
        0.1,
        "step: what the rate is multiplied with",
        option="--lr-step-factor",
        later=True,
        gt=0,
        lt=1,
    )
    clip_norm: float | None = setting(
        None,
        "largest L2 norm of all gradients together, before noise is added to them (None: any)",
        option="--clip-norm",
        later=True,
        gt=0,
        le=LARGEST,
    )
    label_smoothing: float = setting(
        0.0,
        "share of a training label that is spread evenly over all classes; validation and test "
        "know nothing of it",
        option="--label-smoothing",
        later=True,
        ge=0,
        lt=1,
    )
    ema: float | None = setting(
        None,
        "decay a step of a moving average of the weights, e.g. 0.999; the average is what is "
        "validated, tested and kept (None: none)",
        option="--ema",
        later=True,
        gt=0,
        lt=1,
    )
    accumulate: int = setting(
        1,
        "passes that the images of a step are divided among: less memory, as many steps",
        option="--accumulate",
        later=True,
        ge=1,
    )

    @property
    def step_rate(self) -> float | None:
        """How far SGD moves a weight, in the end, for each step with a gradient of 1.

        By the configured learning rate, with Nesterov's momentum or the classical one. None: Adam
        and AdamW divide a gradient by its own size, so that no such number is theirs, and what
        one's own optimizer does is not known.
        """
        return self.lr / (1 - self.momentum) if self.optimizer == "SGD" else None

    @property
    def average_words(self) -> str:
        """A sentence where it is not the weights of the steps that are evaluated; else empty."""
        if self.ema is None:
            return ""
        return (
            f"The weights that are validated, tested and kept are a moving average of those of the "
            f"steps, of decay {self.ema:g} (--ema)."
        )

    @property
    def owns(self) -> dict[str, str]:
        """Setting → the code of one's own that it names."""
        names = {"optimizer": self.optimizer, "lr_schedule": self.lr_schedule}
        return {setting: name for setting, name in names.items() if is_own(name)}

    @model_validator(mode="after")
    def _of_its_schedule(self) -> Self:
        for name, schedule in _OF_SCHEDULES.items():
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default and self.lr_schedule != schedule:
                raise ValueError(
                    f"optimizer.{name} (--{name.replace('_', '-')}) = {value}: it is for "
                    f"--lr-schedule {schedule}; optimizer.lr_schedule = {self.lr_schedule!r} does "
                    "not read it"
                )
        return self

    @model_validator(mode="after")
    def _one_warmup(self) -> Self:
        if self.lr_warmup_epochs and self.lr_warmup_fraction:
            raise ValueError(
                f"optimizer.lr_warmup_epochs (--lr-warmup-epochs) = {self.lr_warmup_epochs:g} and "
                f"optimizer.lr_warmup_fraction (--lr-warmup-fraction) = "
                f"{self.lr_warmup_fraction:g} say the same thing: give one of them"
            )
        return self


def check_read(config: OptimizerConfig, given: Iterable[str]) -> None:
    """Refuse Nesterov's momentum where an option gives it to an optimizer that has none.

    Recorded configurations may say it of any, and grids say it once for several.

    Args:
        given: the paths of the settings that a command line gave.
    """
    if config.optimizer != "SGD" and any(path.endswith("optimizer/nesterov") for path in given):
        raise InputError(
            f"optimizer.nesterov (--nesterov) = {config.nesterov}: it is for --optimizer SGD; "
            f"optimizer.optimizer = {config.optimizer!r} does not read it"
        )
