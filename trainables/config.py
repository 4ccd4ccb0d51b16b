"""The typed configuration of one training run: frozen, bounded, JSON in and out.

Every field that has an option on the command lines says so here (``option``, ``short``), so that
names, bounds, defaults and help have one definition. Nothing in this file imports torch: a mistake
is answered before anything heavy is loaded.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from trainables.errors import InputError, explain, nearest

Policy = Literal["off", "always", "on_stagnation", "planned"]
NoiseKind = Literal["gradient", "weight", "input", "label"]
Schedule = Literal["constant", "linear", "cosine", "exponential"]
Distribution = Literal["gaussian", "uniform"]
Scaling = Literal["relative", "absolute"]
SignalName = Literal[
    "grad_norm_plateau", "low_weight_update", "stuck", "val_loss_plateau", "overfitting"
]
DatasetName = Literal["digits", "cifar10", "cifar100", "imagefolder", "synthetic"]
Split = Literal["holdout", "reference"]
Precision = Literal["fp32", "bf16"]
PlannedNoise = tuple[Annotated[int, Field(ge=0)], NoiseKind, Annotated[float, Field(ge=0)]]
"""Epoch, kind and magnitude of noise that is planned."""

ALL_SIGNALS: tuple[SignalName, ...] = (
    "grad_norm_plateau",
    "low_weight_update",
    "stuck",
    "val_loss_plateau",
    "overfitting",
)
GRADIENT_SIGNALS: frozenset[SignalName] = frozenset(ALL_SIGNALS[:3])

_CLASSIFIER_ALIASES = {
    "babycnn": "BabyCNN",
    "baby_cnn": "BabyCNN",
    "tinycnn": "TinyCNN",
    "tiny_cnn": "TinyCNN",
    "simplecnn": "SimpleCNN",
    "simple_cnn": "SimpleCNN",
    "resnet18": "resnet18",
}


class FrozenConfig(BaseModel):
    """Base of all configurations: immutable, finite numbers only, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, strict=False
    )


def _named(allowed: tuple[str, ...], *, any_case: bool = False) -> BeforeValidator:
    """Check a name against ``allowed`` and answer a wrong one with the nearest."""
    canonical = {name.lower(): name for name in allowed}

    def check(value: object) -> object:
        if isinstance(value, str):
            if any_case and value.lower() in canonical:
                return canonical[value.lower()]
            if value not in allowed:
                raise ValueError(nearest(value, allowed))
        return value

    return BeforeValidator(check)


def setting(
    default: Any, help: str, *, option: str | None = None, short: str | None = None, **bounds: Any
) -> Any:
    """A pydantic field with its command-line spelling.

    Args:
        default: the field's default.
        help: one sentence for ``--help`` and the README's table.
        option: the long option if it is not the field's name with dashes, e.g. ``--wd``.
        short: the short option, e.g. ``-b``.
        bounds: pydantic's bounds (``gt``, ``ge``, ``le`` …).
    """
    extra: dict[str, JsonValue] = {
        key: value for key, value in (("option", option), ("short", short)) if value
    }
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def _split_signals(value: object) -> object:
    """Accept ``"stuck+overfitting"`` (a search space's category) as well as a list."""
    if isinstance(value, str):
        value = tuple(part.strip() for part in value.replace(",", "+").split("+") if part.strip())
    if isinstance(value, (list, tuple, set, frozenset)):
        unknown = [name for name in value if isinstance(name, str) and name not in ALL_SIGNALS]
        if unknown:
            raise ValueError(nearest(unknown[0], ALL_SIGNALS))
        # The order never matters to the method; one order makes equal sets equal configurations.
        return tuple(name for name in ALL_SIGNALS if name in value) or ()
    return value


class NoiseConfig(FrozenConfig):
    """When noise is injected, of which kind, and how strong (METHOD: policy, signals, severity)."""

    policy: Annotated[Policy, _named(("off", "always", "on_stagnation", "planned"))] = setting(
        "off",
        "off: no noise, the baseline; always: static noise of one kind in every epoch; "
        "on_stagnation: adaptive noise, when the signals say that training is stuck "
        "(planned: for placebos only, whose configuration files hold the plan)",
        option="--policy",
    )
    kind: Annotated[NoiseKind, _named(("gradient", "weight", "input", "label"))] = setting(
        "gradient", "what static noise perturbs (policy always only)", option="--kind"
    )
    magnitude: float = setting(
        0.01,
        "standard deviation of static noise, before decay",
        option="--noise-magnitude",
        short="-nm",
        ge=0,
    )
    magnitude_min: float = setting(
        0.01,
        "standard deviation of adaptive noise at severity 0",
        option="--relative-min-noise",
        ge=0,
    )
    magnitude_extra: float = setting(
        0.09, "what severity 1 adds to magnitude_min", option="--magnitude-extra", ge=0
    )
    weight_ratio: float = setting(
        1.0,
        "adaptive weight noise is this many times as strong as gradient noise",
        option="--weight-ratio",
        ge=0,
    )
    schedule: Annotated[Schedule, _named(("constant", "linear", "cosine", "exponential"))] = (
        setting(
            "constant",
            "decay of the magnitude over the epoch budget",
            option="--noise-schedule",
            short="-ns",
        )
    )
    distribution: Annotated[Distribution, _named(("gaussian", "uniform"))] = setting(
        "gaussian",
        "distribution of the noise; both have the same variance",
        option="--noise-distribution",
        short="-nd",
    )
    scaling: Annotated[Scaling, _named(("relative", "absolute"))] = setting(
        "relative",
        "relative: magnitudes are multiples of the RMS of the tensor perturbed; absolute: as given",
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
    signals: Annotated[tuple[SignalName, ...], BeforeValidator(_split_signals)] = setting(
        ALL_SIGNALS, "the signals listened to", option="--signals", min_length=1
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
        """The first epoch in which noise could begin, whatever training does.

        Returns None if it never could (policy ``off``, or no listened signal can ever be raised).
        """
        if self.policy == "off":
            return None
        if self.policy == "always":
            return 0
        if self.policy == "planned":
            return self.plan[0][0]
        needed = {
            "grad_norm_plateau": self.window,
            "low_weight_update": self.window,
            # Epoch 0 is always a new best: patience + 1 epochs must follow it.
            "stuck": None if self.patience is None else self.patience + 2,
            "val_loss_plateau": self.window,
            "overfitting": self.overfit_epochs + 1,
        }
        possible = [n for name in self.signals if (n := needed[name]) is not None]
        if not possible:
            return None
        raised = max(self.warmup_epochs, self.window, min(possible))
        return raised + self.trigger_epochs - 1


class DataConfig(FrozenConfig):
    """Which images, how they are divided, and how large a batch is."""

    dataset: Annotated[
        DatasetName, _named(("digits", "cifar10", "cifar100", "imagefolder", "synthetic"))
    ] = setting(
        "digits",
        "digits (embedded, 1,797 images), cifar10, cifar100, imagefolder "
        "(DATA_DIR/train/<class>/, DATA_DIR/test/<class>/), synthetic",
        option="--dataset",
    )
    data_dir: str | None = setting(None, "where the data set is", option="--data-dir", short="-d")
    download: bool = setting(False, "download CIFAR if it is not there", option="--download")
    split: Annotated[Split, _named(("holdout", "reference"))] = setting(
        "holdout",
        "holdout: validation is a stratified tenth of the training set; "
        "reference: validation is half of the test set",
        option="--split",
    )
    subset: float = setting(
        1.0,
        "stratified fraction of the training data",
        option="--subset",
        short="-s",
        gt=0,
        le=1,
    )
    batch_size: int = setting(128, "images a step", option="--batch-size", short="-b", ge=1)
    workers: int = setting(
        4,
        "processes that decode an image folder, once; training itself needs none: "
        "the data are one tensor, cut by indexing",
        option="--workers",
        short="-n",
        ge=0,
    )
    flip: bool = setting(
        True, "random horizontal flips (never for digits and synthetic)", option="--flip"
    )
    mean: tuple[float, float, float] | None = setting(
        None, "normalisation: mean per channel, in [0, 1]; None: the data set's own"
    )
    std: tuple[float, float, float] | None = setting(
        None, "normalisation: standard deviation per channel; None: the data set's own"
    )
    classes: tuple[str, ...] | None = setting(None, "class names, filled in when the data are read")
    synthetic_train: int = setting(
        2000, "synthetic: training images", option="--synthetic-train", ge=1
    )
    synthetic_test: int = setting(500, "synthetic: test images", option="--synthetic-test", ge=1)
    synthetic_classes: int = setting(10, "synthetic: classes", option="--synthetic-classes", ge=2)
    synthetic_noise: float = setting(
        1.0, "synthetic: standard deviation of the pixel noise", option="--synthetic-noise", ge=0
    )

    @field_validator("std")
    @classmethod
    def _std_positive(
        cls, value: tuple[float, float, float] | None
    ) -> tuple[float, float, float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("each standard deviation must be greater than 0")
        return value

    @model_validator(mode="after")
    def _data_dir_given(self) -> Self:
        if self.dataset == "imagefolder" and self.data_dir is None:
            raise ValueError(
                "data.data_dir = None: an imagefolder needs the folder that holds "
                "train/<class>/ and test/<class>/ (--data-dir)"
            )
        return self


def _canonical_classifier(value: object) -> object:
    return _CLASSIFIER_ALIASES.get(value.lower(), value) if isinstance(value, str) else value


class ModelConfig(FrozenConfig):
    """Which classifier is trained."""

    classifier: Annotated[str, BeforeValidator(_canonical_classifier)] = setting(
        "BabyCNN",
        "BabyCNN, TinyCNN, SimpleCNN, resnet18, another torchvision classifier, "
        "or your own as package.module:function",
        option="--classifier",
        short="-c",
        min_length=1,
    )
    download_weights: bool = setting(
        False,
        "start from torchvision's pre-trained weights where it has them",
        option="--download-weights",
        short="-w",
    )


class OptimizerConfig(FrozenConfig):
    """Optimiser and learning-rate schedule."""

    optimizer: Annotated[Literal["SGD", "Adam"], _named(("SGD", "Adam"), any_case=True)] = setting(
        "SGD", "SGD (Nesterov when momentum > 0) or Adam", option="--optimizer", short="-o"
    )
    lr: float = setting(1e-2, "learning rate at the start of a cycle", option="--lr", gt=0)
    weight_decay: float = setting(1e-3, "L2 weight decay", option="--wd", ge=0)
    momentum: float = setting(0.9, "SGD's momentum", option="--momentum", short="-m", ge=0, lt=1)
    beta1: float = setting(0.9, "Adam's beta 1", option="--beta1", short="-b1", ge=0, lt=1)
    beta2: float = setting(0.999, "Adam's beta 2", option="--beta2", short="-b2", ge=0, lt=1)
    lr_restart_period: int = setting(
        50, "epochs of one cosine cycle", option="--lr-restart-period", ge=1
    )


class TrainConfig(FrozenConfig):
    """Everything that decides the numbers of one run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    noise: NoiseConfig = NoiseConfig()
    epochs: int = setting(100, "the epoch budget", option="--epochs", short="-e", ge=1)
    seed: int = setting(0, "seed of every random stream", option="--seed", ge=0, lt=2**63)
    threads: int = setting(
        1, "CPU threads of one run; sums differ between counts", option="--threads", ge=1
    )
    device: str = setting(
        "cpu",
        "cpu, cuda, cuda:N, mps, or auto (resolved before the run starts)",
        option="--device",
        pattern=r"^(cpu|cuda(:\d+)?|mps|auto)$",
    )
    precision: Annotated[Precision, _named(("fp32", "bf16"))] = setting(
        "fp32", "fp32, or bf16 autocast", option="--precision"
    )
    deterministic: bool = setting(
        True,
        "deterministic algorithms on a GPU, which bit-identical runs need",
        option="--deterministic",
    )

    @model_validator(mode="after")
    def _noise_can_begin(self) -> Self:
        noise = self.noise
        if noise.plan and noise.plan[-1][0] >= self.epochs:
            raise ValueError(
                f"epochs = {self.epochs}: noise.plan reaches epoch {noise.plan[-1][0]} (counted "
                f"from 0); train for at least {noise.plan[-1][0] + 1} epochs"
            )
        if noise.policy != "on_stagnation":
            return self
        earliest = noise.earliest_injection()
        if earliest is None:
            raise ValueError(
                f"noise.signals = {'+'.join(noise.signals)} with noise.patience = None: no signal "
                "could ever be raised; set a patience or listen to further signals"
            )
        if earliest >= self.epochs:
            raise ValueError(
                f"epochs = {self.epochs}: noise could never begin, its first possible epoch is "
                f"{earliest} (counted from 0; noise.warmup_epochs = {noise.warmup_epochs}, "
                f"window = {noise.window}, trigger_epochs = {noise.trigger_epochs}); "
                f"train for at least {earliest + 1} epochs or lower these"
            )
        return self


Config = TypeVar("Config", bound=BaseModel)


def parse_config(
    kind: type[Config],
    values: Any,
    *,
    where: str = "",
    options: Mapping[str, str] | None = None,
) -> Config:
    """Validate ``values`` as a ``kind``; ``where`` and ``options`` are as in ``explain``.

    Raises:
        InputError: naming each wrong field, its value and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(explain(error, where=where, options=options)) from None


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a JSON or YAML file that holds one mapping.

    Raises:
        InputError: if the file is missing, is neither, or holds something else.
    """
    values = read_document(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of settings, found {type(values).__name__}")
    return values


def read_document(path: str | Path) -> Any:
    """Read a JSON or YAML file, told apart by its ending (``.yaml``, ``.yml``, else JSON)."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None
    try:
        if path.suffix.lower() in {".yaml", ".yml"}:
            return yaml.safe_load(text)
        return json.loads(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid JSON or YAML: {error}") from None


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, mapping by mapping; neither is modified."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = (
            merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``{"noise/patience": 3}`` → ``{"noise": {"patience": 3}}``."""
    nested: dict[str, Any] = {}
    for path, value in overrides.items():
        *parents, last = path.split("/")
        level = nested
        for parent in parents:
            level = level.setdefault(parent, {})
            if not isinstance(level, dict):
                raise InputError(f"{path}: {parent} is a value, not a group of settings")
        level[last] = value
    return nested


def apply_overrides(config: TrainConfig, overrides: Mapping[str, Any]) -> TrainConfig:
    """The configuration with some settings replaced, keyed by path (``"noise/patience"``).

    Raises:
        InputError: if a path or a value is wrong, or the result is no valid configuration.
    """
    return parse_config(TrainConfig, merge(config.model_dump(mode="json"), nest(overrides)))


def setting_paths(kind: type[BaseModel] = TrainConfig, prefix: str = "") -> dict[str, Any]:
    """All settings of a configuration class: path (``"noise/patience"``) → pydantic's field."""
    paths: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            paths |= setting_paths(field.annotation, f"{prefix}{name}/")
        else:
            paths[prefix + name] = field
    return paths
