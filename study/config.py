"""The typed configuration of a study: the base run, the search over it, and the resources."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ValidationInfo, field_validator, model_validator

from study.names import NAME_PATTERN, TAKEN_NAMES, is_address
from study.space_config import SpaceConfig
from trainables.config import TrainConfig
from trainables.metrics import (
    ACCURACY_MARGIN,
    LOSS_MARGIN,
    OBJECTIVES,
    Metric,
    Mode,
    check_deciding,
    check_objectives,
)
from trainables.settings import FrozenConfig, setting

RACE_SEEDS = 15
"""Seeds of a race's winner, unless told otherwise (docs/method.md, section 13)."""

MOST_RACE_SEEDS = 1000

MAY_CHANGE: frozenset[str] = frozenset(
    {
        "storage",
        "work_dir",
        "trials",
        "race_seeds",
        "confirm",
        "time_budget",
        "cpus_per_trial",
        "gpus_per_trial",
        "max_concurrent",
        "max_failures",
        "tracking_uri",
        "address",
    }
)
"""Settings of a study that may differ when it goes on: none of them changes a trial's numbers."""


def _objectives(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _known_metrics(info: ValidationInfo) -> Mapping[str, Metric] | None:
    """The figures that there are; None while it is not known: one's own code says it later."""
    train = info.data.get("train")
    if not isinstance(train, TrainConfig) or not train.metrics_known:
        return None
    return train.metrics


class RunsConfig(FrozenConfig):
    """What a search and a grid have in common: a name, the base run, how runs are carried out."""

    name: str = setting(
        "study",
        "the study's name: one folder, one MLflow experiment",
        option="--name",
        pattern=NAME_PATTERN,
    )
    storage: str = setting(
        "studies",
        "folder that holds the studies, or a place in an object store, e.g. s3://BUCKET/FOLDER",
        option="--storage",
    )
    work_dir: str | None = setting(
        None,
        "local folder for the records where --storage is a URI (None: one in ~/.cache/noise-study)",
        option="--work-dir",
    )
    train: TrainConfig = TrainConfig()
    cpus_per_trial: float = setting(
        1.0, "CPU cores reserved for a trial", option="--cpus-per-trial", ge=0
    )
    gpus_per_trial: float = setting(
        0.0, "GPUs, or the fraction of one, reserved for a trial", option="--gpus-per-trial", ge=0
    )
    max_concurrent: int | None = setting(
        None,
        "trials at once (None: as many as the resources allow)",
        option="--max-concurrent",
        ge=1,
    )
    fork: Literal["auto", "never"] = setting(
        "auto",
        "auto: trials start from the baseline's checkpoint where their noise begins; "
        "never: every trial trains from the first epoch on",
        option="--fork",
    )
    fork_disk_mb: float = setting(
        2000.0,
        "disk budget for the baseline checkpoints that trials fork from, in MB; a study's race has "
        "as much again",
        option="--fork-disk-mb",
        gt=0,
    )
    max_failures: int = setting(
        2, "times a failing trial is tried again", option="--max-failures", ge=0
    )
    tracking_uri: str | None = setting(
        None, "MLflow tracking URI (None: STORAGE/mlflow.db)", option="--tracking-uri"
    )
    address: str | None = setting(
        None,
        "Ray cluster to use: auto, HOST:PORT, or ray://HOST:PORT "
        "(None: what RAY_ADDRESS says, or this machine)",
        option="--address",
    )

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, value: str) -> str:
        if value in TAKEN_NAMES or any(value.startswith(f"{name}-") for name in TAKEN_NAMES):
            raise ValueError("the storage folder needs a file of this name; give another name")
        return value

    @field_validator("address")
    @classmethod
    def _address_form(cls, value: str | None) -> str | None:
        if value is None or is_address(value):
            return value
        raise ValueError("allowed: auto, HOST:PORT, ray://HOST:PORT")

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise ValueError(
                f"gpus_per_trial = {self.gpus_per_trial}: a fraction below 1, or a whole number"
            )
        return self


class Untuned(FrozenConfig):
    """What the base run was configured with, where tuning has put other values in its place."""

    lr: float
    weight_decay: float


class StudyConfig(SpaceConfig, RunsConfig):
    """Everything that decides a study: ``DIR/NAME/study.json`` holds one."""

    trials: int = setting(
        16, "configurations to try, besides the baseline", option="--trials", ge=1
    )
    # Which there are is known in study.search, above: the checks and the options' help ask there.
    sampler: str = setting("tpe", "Optuna's sampler", option="--sampler")
    warm_start: str | None = setting(
        None,
        "another study of the same storage; the sampler begins with what it found, as differences "
        "to its baseline (None: it begins with nothing)",
        option="--warm-start",
        pattern=NAME_PATTERN,
    )
    objective: Annotated[tuple[str, ...], BeforeValidator(_objectives)] = setting(
        # The highest estimate where a training learns by itself, and no more than that: the
        # recorded tables do not part the objectives (docs/controls.md).
        ("tail_val_loss",),
        "what is searched for: " + ", ".join(OBJECTIVES) + ", tail_val_METRIC, final_val_METRIC of "
        "--metric; two of them, separated by a comma, for a multi-objective search",
        option="--objective",
    )
    baseline_seeds: int = setting(
        2, "seeds the pinned baseline is trained on", option="--baseline-seeds", ge=1
    )
    tune_baseline: int = setting(
        0,
        "trainings without noise that first tune the baseline's learning rate and weight decay "
        "(0: none; else at least 4)",
        option="--tune-baseline",
        ge=0,
    )
    untuned: Untuned | None = setting(
        None, "the base run's learning rate and weight decay before they were tuned"
    )
    code_changes: int = setting(
        0, "how often a changed source of the study's own code was accepted", ge=0
    )
    configs: tuple[dict[str, Any], ...] | None = setting(
        None, "exactly these overrides are run instead of a search"
    )
    early_stopping: bool = setting(
        # To save a fifth of the epochs or a third, it stops the best setting: by ASHA in
        # up to half of the searches, by the paired rule in up to a fifth (docs/lab-notes.md).
        False,
        "stop trials that lag behind early; they take no part in the race",
        option="--early-stopping",
    )
    early_stopping_rule: Literal["asha", "paired"] = setting(
        "asha",
        "which trials --early-stopping stops: those that lag behind the others at a rung (asha), "
        "or that are beyond hope of beating the best, by what differences to the baseline have "
        "still gained in completed trials (paired; one objective)",
        option="--early-stopping-rule",
    )
    grace_epochs: int | None = setting(
        None,
        "epochs after its first injection before a trial may be stopped early "
        "(None: a tenth of the budget, at least 2; paired: 0)",
        option="--grace-epochs",
        ge=0,
    )
    reduction_factor: int = setting(
        3, "ASHA keeps the best 1/N at each rung", option="--reduction-factor", ge=2
    )
    calibrate: bool = setting(
        True,
        "set the ranges of the thresholds from the baseline's own statistics",
        option="--calibrate",
    )
    race_seeds: int | None = setting(
        None,
        "seeds of the race's winner: after the search the best trials get more seeds, stage by "
        f"stage, the rest none (1: no race; None: {RACE_SEEDS}, and no race of --configs)",
        option="--race-seeds",
        ge=1,
        le=MOST_RACE_SEEDS,
    )
    confirm: Annotated[str | None, BeforeValidator(_as_text)] = setting(
        None,
        "seeds of the confirmation with which run and resume go on once all is trained: N, or "
        "FIRST..LAST for a sequential one (None: no confirmation)",
        option="--confirm",
        pattern=r"^\d{1,4}(\.\.\d{1,4})?$",
    )
    decide_by: str = setting(
        # That of the best-validation weights varies more between seeds, up to 9 times as much
        # (docs/method.md, section 11).
        "final_test_accuracy",
        "what a confirmation decides by, a figure on the test set: final_test_accuracy, "
        "final_test_loss, of the final weights, or test_accuracy, test_loss, of those best in "
        "validation; final_test_METRIC, test_METRIC of --metric, or of --task (default "
        "final_test_loss)",
        option="--decide-by",
    )
    margin: float | None = setting(
        None,
        "the smallest difference worth having, in the unit of --decide-by (None: "
        f"{ACCURACY_MARGIN:g} for an accuracy, {LOSS_MARGIN:g} nats for a loss); of an accuracy "
        "never less than two test images",
        option="--margin",
        gt=0,
    )
    time_budget: float | None = setting(
        None,
        "seconds after which the study ends (tuning and baseline are finished first; the race has "
        "its share of them)",
        option="--time-budget",
        gt=0,
    )

    @field_validator("objective")
    @classmethod
    def _objectives_known(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        metrics = _known_metrics(info)
        if metrics is not None:
            check_objectives(value, metrics)
        return value

    @field_validator("decide_by")
    @classmethod
    def _deciding_known(cls, value: str, info: ValidationInfo) -> str:
        metrics = _known_metrics(info)
        if metrics is not None:
            check_deciding(value, metrics)
        return value

    @field_validator("early_stopping_rule")
    @classmethod
    def _rule_applies(cls, value: str, info: ValidationInfo) -> str:
        if value == "paired" and not info.data.get("early_stopping", True):
            raise ValueError("it needs --early-stopping, which is off; else: asha")
        if value == "paired" and len(info.data.get("objective", ())) > 1:
            raise ValueError("it needs one --objective: of two there is no best; else: asha")
        return value

    @field_validator("tune_baseline")
    @classmethod
    def _enough_to_choose(cls, value: int) -> int:
        if 0 < value < 4:
            raise ValueError("allowed: 0 (no tuning), or at least 4")
        return value

    @property
    def is_to_be_tuned(self) -> bool:
        """Whether the base run waits for the tuning to choose its learning rate."""
        return self.tune_baseline > 0 and self.untuned is None

    @property
    def multi_objective(self) -> bool:
        return len(self.objective) > 1

    @property
    def modes(self) -> tuple[Mode, ...]:
        """``max`` or ``min`` for each objective."""
        return tuple(self.train.metrics[name].mode for name in self.objective)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The baseline's seeds; trials run on the first."""
        return tuple(range(self.train.seed, self.train.seed + self.baseline_seeds))

    @property
    def wanted(self) -> int:
        """How many trials the study is to have, besides the baseline."""
        return self.trials if self.configs is None else len(self.configs)

    @property
    def most_race_seeds(self) -> int:
        """Seeds of the race's winner, the search's own included; 1: there is no race."""
        if self.race_seeds is not None:
            return self.race_seeds
        return RACE_SEEDS if self.configs is None else 1

    @property
    def grace(self) -> int:
        """Epochs after a trial's first injection in which it is not judged."""
        if self.grace_epochs is not None:
            return self.grace_epochs
        if self.early_stopping_rule == "paired":
            # What has still been gained from an epoch on says how much that epoch tells.
            return 0
        return max(2, self.train.epochs // 10)

    @property
    def stops_early(self) -> bool:
        """Whether trials may be stopped early: never in a multi-objective search."""
        return self.early_stopping and not self.multi_objective
