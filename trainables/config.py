"""The typed configuration of one training run: frozen, bounded, JSON in and out.

Every field that has an option on the command lines says so here (``option``, ``short``), so that
names, bounds, defaults and help have one definition. Nothing in this file imports torch: a mistake
is answered before anything heavy is loaded.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import to_jsonable_python

from trainables.code_identity import CodeIdentity, is_own, joined
from trainables.data_config import DataConfig as DataConfig  # noqa: PLC0414  (others import it here)
from trainables.epochs import epoch_number
from trainables.metric_config import MetricConfig, metrics_with, read_measured
from trainables.metrics import Metric, metrics_of
from trainables.noise_config import NoiseConfig
from trainables.optimizer_config import OptimizerConfig as OptimizerConfig  # noqa: PLC0414
from trainables.settings import (
    FrozenConfig,
    Named,
    came_later,
    merge,
    nest,
    parse_config,
    setting,
)
from trainables.task_config import TaskConfig

Precision = Literal["fp32", "bf16"]

_CLASSIFIER_ALIASES = {
    alias: name
    for name in ("BabyCNN", "TinyCNN", "SimpleCNN", "resnet18")
    for alias in (name.lower(), name.lower().replace("cnn", "_cnn"))
}


def _canonical_classifier(value: object) -> object:
    return _CLASSIFIER_ALIASES.get(value.lower(), value) if isinstance(value, str) else value


class ModelConfig(FrozenConfig):
    classifier: Annotated[str, BeforeValidator(_canonical_classifier)] = setting(
        "BabyCNN",
        "BabyCNN, TinyCNN, SimpleCNN, resnet18, DeepMLP, PlainCNN, another torchvision classifier, "
        "timm's as timm:NAME, or your own as package.module:function",
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
    weights: str | None = setting(
        None,
        "start from the tensors of this file that fit: a state dict by torch.save, a checkpoint "
        "that holds one, or .safetensors",
        option="--weights",
        later=True,
    )
    content: str | None = setting(None, "hash of that file, filled in when it is read", later=True)
    code: tuple[str, ...] | None = setting(
        None, "the identity of a classifier of one's own (code_identity), when it was trained"
    )

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What has no code of its own, and no weights, says nothing of it: its files and digests
        stay the same."""
        values: dict[str, Any] = handler(self)
        if self.code is None or not is_own(self.classifier):
            values.pop("code", None)
        if self.weights is None:
            values.pop("weights", None)
            values.pop("content", None)
        return values

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.weights is not None and self.download_weights:
            raise ValueError(
                f"model.weights (--weights) = {self.weights!r} with model.download_weights "
                "(--download-weights) = True: a model starts from one of them; leave one out"
            )
        return self

    @property
    def pretrained(self) -> bool:
        """Whether it starts from weights that were trained before."""
        return self.download_weights or self.weights is not None


class TrainConfig(FrozenConfig):
    """Everything that decides the numbers of one run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    noise: NoiseConfig = NoiseConfig()
    task: TaskConfig = TaskConfig()
    epochs: int = setting(
        100, "the epoch budget", option="--epochs", short="-e", ge=1, le=1_000_000
    )
    seed: int = setting(0, "seed of every random stream", option="--seed", ge=0, lt=2**63)
    threads: int = setting(
        1, "CPU threads of one run; sums differ between counts", option="--threads", ge=1, le=1024
    )
    device: str = setting(
        "cpu",
        "cpu, cuda, cuda:N, mps, or auto (resolved before the run starts)",
        option="--device",
        pattern=r"^(cpu|cuda(:\d+)?|mps|auto)$",
    )
    precision: Annotated[Precision, Named(get_args(Precision))] = setting(
        "fp32", "fp32, or bf16 autocast", option="--precision"
    )
    deterministic: bool = setting(
        True,
        "deterministic algorithms on a GPU, which bit-identical runs need",
        option="--deterministic",
    )

    slice: int = setting(
        # No constant per model: none gained by slices in a worker (docs/lab-notes.md, Speed).
        0,
        "images of a batch that pass at a time, their gradients added: the same step up to "
        "rounding; may be faster on a CPU with small caches (0: whole batches)",
        option="--slice",
        later=True,
        ge=0,
    )

    clean_gap: bool = setting(
        # Off: what runs meant that were recorded before. The presets of studies turn it on.
        False,
        "measure training accuracy in the last epochs without noise and augmentation, too, on a "
        "fixed part of the training set; generalization_gap then takes that",
        option="--clean-gap",
        later=True,
    )

    codes: tuple[tuple[str, tuple[str, ...]], ...] = setting(
        # Pairs, since a mapping has no hash.
        (),
        "name and identity (code_identity) of what else is one's own, when it was trained",
        later=True,
    )

    measured: Annotated[tuple[MetricConfig, ...], BeforeValidator(read_measured)] = setting(
        (), "further metrics of classifiers (--metric)", later=True
    )

    @model_serializer(mode="wrap")
    def _without_task(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What has no task, no code of its own, no further metric, no slices says nothing of it:
        its files stay the same."""
        values: dict[str, Any] = handler(self)
        if self.task.name is None:
            values.pop("task", None)
        for name in ("codes", "measured", "slice"):
            if not getattr(self, name):
                values.pop(name, None)
        return values

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The figures that its runs are compared by."""
        if self.task.name is not None:
            return metrics_of(self.task.metrics)
        return metrics_with(self.measured)

    @property
    def metrics_known(self) -> bool:
        """Whether it says what is measured; code of one's own is asked when a study begins."""
        if self.task.name is not None:
            return bool(self.task.metrics)
        return all(each.mode is not None for each in self.measured)

    @property
    def what(self) -> str:
        """What is trained, in a few words."""
        return self.task.name or f"{self.model.classifier} on {self.data.what}"

    @property
    def own_names(self) -> dict[str, str]:
        """Setting → the code of one's own that it names, as ``package.module:name``."""
        if self.task.name is not None:
            return {"task": self.task.name}
        named = {
            "dataset": self.data.dataset,
            "classifier": self.model.classifier,
            "augment": self.data.augment,
        }
        return {s: name for s, name in named.items() if is_own(name)} | self.optimizer.owns

    @property
    def identities(self) -> dict[str, CodeIdentity]:
        """Name → the identity of that code, as far as it was recorded."""
        first = self.task if self.task.name is not None else self.model
        known = dict(self.codes)
        if first.code is not None:
            known[self.task.name or self.model.classifier] = first.code
        return {name: known[name] for name in self.own_names.values() if name in known}

    @property
    def code(self) -> CodeIdentity | None:
        """The identity of all of it together; None: nothing was recorded."""
        known = self.identities
        return joined(known.values()) if known else None

    def with_identities(self, known: Mapping[str, CodeIdentity]) -> Self:
        """The configuration with these identities of what it names, and no others."""
        group = "model" if self.task.name is None else "task"
        names = dict(self.own_names)
        first = names.pop("task", None) or names.pop("classifier", None)
        code = known.get(first) if first is not None else None
        changed = getattr(self, group).model_copy(update={"code": code})
        codes = tuple((name, known[name]) for name in sorted({*names.values()}) if name in known)
        return self.model_copy(update={group: changed, "codes": codes})

    @model_validator(mode="after")
    def _scaling_fits(self) -> Self:
        if self.noise.scaling == "step" and self.optimizer.step_rate is None:
            raise ValueError(
                f"noise.scaling = 'step' with optimizer.optimizer = {self.optimizer.optimizer!r}: "
                "it sets how far SGD moves the weights; Adam and AdamW divide the noise by the "
                "gradient's own size, and one's own optimizer is not known. Take scaling relative "
                "or absolute, or SGD"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        warmup = self.optimizer.lr_warmup_epochs
        if warmup >= self.epochs:
            raise ValueError(
                f"optimizer.lr_warmup_epochs (--lr-warmup-epochs) = {warmup:g}: the budget has "
                f"{self.epochs} epochs, and the rate would never be reached; give less"
            )
        return self

    @model_validator(mode="after")
    def _batch_is_divided(self) -> Self:
        images, parts = self.data.batch_size, self.optimizer.accumulate
        if images % parts:
            fitting = max(n for n in range(1, min(parts, images) + 1) if images % n == 0)
            raise ValueError(
                f"optimizer.accumulate (--accumulate) = {parts}: the {images} images of a step "
                f"(data.batch_size) can't be divided evenly among as many passes; give {fitting}, "
                "or another --batch-size"
            )
        return self

    @model_validator(mode="after")
    def _noise_can_begin(self) -> Self:
        noise = self.noise
        if noise.plan and noise.plan[-1][0] >= self.epochs:
            raise ValueError(
                f"epochs = {self.epochs}: noise.plan reaches epoch {noise.plan[-1][0]} (plans "
                f"count from 0); train for at least {epoch_number(noise.plan[-1][0])} epochs"
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
                f"{epoch_number(earliest)} (noise.warmup_epochs = {noise.warmup_epochs}, "
                f"window = {noise.window}, trigger_epochs = {noise.trigger_epochs}); "
                f"train for at least {epoch_number(earliest)} epochs or lower these"
            )
        return self


def without_later(config: TrainConfig, values: dict[str, Any]) -> dict[str, Any]:
    """``values``, dumped from ``config``, without settings at a default that came later.

    What is named by a digest of the rest keeps its name, whatever settings are added.
    """
    kept = {k: dict(v) if isinstance(v, dict) else v for k, v in values.items()}
    for path, field in setting_paths(type(config)).items():
        above, _, name = path.rpartition("/")
        group = kept.get(above, {}) if above else kept
        if came_later(field) and group.get(name) == to_jsonable_python(field.default):
            group.pop(name, None)
    return kept


def apply_overrides(config: TrainConfig, overrides: Mapping[str, Any]) -> TrainConfig:
    """The configuration with some settings replaced, keyed by path (``"noise/patience"``)."""
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
