"""The controls: trainings of which it is known beyond doubt what noise does to them.

None of them is a target to be tuned on: docs/controls.md has the same with other depths, widths and
data.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from study.campaigns.confirm_plan import CONTROLS as BESIDE
from study.campaigns.confirmation import Confirmation
from study.campaigns.contrast import objections, timing_shown
from study.campaigns.controls import Control, ControlFinding, Room, Studied
from study.formats import signed
from study.records.planned_run import Role
from study.records.verdict import beats_baseline
from trainables.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig

FINAL = "final_val_accuracy"

HUGE = 0.3
"""What a stuck training gains at least, in final validation accuracy, once noise has freed it."""

WORTH_HAVING = 0.01


def training(
    classifier: str, epochs: int, *, lr: float, momentum: float = 0.0, **data: Any
) -> TrainConfig:
    """Training on the embedded digits, without weight decay, one cosine."""
    return TrainConfig(
        data=DataConfig(dataset="digits", **data),
        model=ModelConfig(classifier=classifier),
        optimizer=OptimizerConfig(
            lr=lr, momentum=momentum, weight_decay=0.0, lr_restart_period=epochs
        ),
        epochs=epochs,
    )


STUCK_MLP = training("DeepMLP", 60, lr=0.1)
STUCK_CNN = training("PlainCNN", 60, lr=0.05, momentum=0.9)
FEW_IMAGES = training("TinyCNN", 100, lr=0.02, momentum=0.9, subset=0.1, batch_size=25)
HEALTHY = training("BabyCNN", 12, lr=0.01, momentum=0.9, batch_size=64)
TRAPPED = training("trainables.models.control_networks:short_mlp", 60, lr=0.02)


def _stuck(name: str, train: TrainConfig, room: Room) -> ControlFinding:
    """With everything as shipped: space, objective, sampler, race."""
    studied = room.study(name, train, trials=room.pick(16, 24), race_seeds=room.pick(4, None))
    differences = studied.fresh_differences(FINAL)
    mean = _mean(differences)
    return ControlFinding(
        f"{studied.winner}: {FINAL} {signed(mean)} on {len(differences)} seeds after its selection",
        passed=mean is not None and mean >= HUGE,
    )


def stuck_mlp(room: Room) -> ControlFinding:
    return _stuck("stuck-mlp", STUCK_MLP, room)


def stuck_cnn(room: Room) -> ControlFinding:
    return _stuck("stuck-cnn", STUCK_CNN, room)


def few_images(room: Room) -> ControlFinding:
    studied = room.study(
        "few-images",
        FEW_IMAGES,
        space="static_noise",
        trials=16,
    )
    confirmed = studied.confirmed(10)
    [sample] = confirmed.samples(FINAL).values()
    mean = _mean(sample.complete)
    return ControlFinding(
        f"{studied.winner}: {FINAL} {signed(mean)} on {len(sample.complete)} fresh seeds",
        passed=mean is not None and mean >= WORTH_HAVING,
    )


def nothing(room: Room) -> ControlFinding:
    off = [
        {"noise/policy": "always", "noise/kind": kind, "noise/magnitude": 0.0}
        for kind in ("gradient", "weight", "input", "label")
    ]
    weak = [
        {"noise/policy": "always", "noise/kind": "gradient", "noise/magnitude": magnitude}
        for magnitude in (1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3)
    ]
    zero = room.study("nothing-zero", HEALTHY, configs=off, race_seeds=3)
    faint = room.study("nothing-weak", HEALTHY, configs=weak, race_seeds=room.pick(4, 15))
    different = [value for value in zero.differences() if value != 0]
    return ControlFinding(
        f"magnitude 0: {len(different)} of {len(zero.differences())} differences are not exactly "
        f"zero; far too weak: {_claim(faint)}",
        passed=bool(zero.differences())
        and not different
        and _shown(faint) is not None
        and not faint.claimed,
    )


def harm(room: Room) -> ControlFinding:
    destroying = [{"noise/policy": "always", "noise/kind": "input", "noise/magnitude": 4.0}]
    studied = room.study("harm", HEALTHY, configs=destroying)
    confirmed = studied.confirmed(5)
    [(trial, judged)] = confirmed.verdicts().items()
    return ControlFinding(f"{trial}: {judged.sentence}", passed=judged.worse)


def trap(room: Room) -> ControlFinding:
    budget = room.pick(6, 16)
    settings: Mapping[str, Any] = {"trials": budget, "race_seeds": room.pick(4, None)}
    untuned = room.study("trap", TRAPPED, **settings)
    tuned = room.study("trap-tuned", TRAPPED, tune_baseline=budget, **settings)
    lr = tuned.config.train.optimizer.lr
    return ControlFinding(
        f"untuned: {_claim(untuned)}; beside the baseline tuned to learning rate {lr:g}: "
        f"{_claim(tuned)}",
        # Where noise gains nothing before, there is no gain that could vanish.
        passed=room.pick(_ahead(untuned), untuned.claimed) and _gain_vanished(untuned, tuned),
    )


def _gain_vanished(untuned: Studied, tuned: Studied) -> bool:
    """Whether none is claimed beside the tuned baseline, and no more than half of it is left.

    On the few seeds of a quick control no gain could be claimed, however large it is.
    """
    before, after = _shown(untuned), _shown(tuned)
    if before is None or after is None or tuned.claimed:
        return False
    sign = 1 if tuned.config.modes[0] == "max" else -1
    return sign * after[0] <= sign * before[0] / 2


def clock(room: Room) -> ControlFinding:
    adaptive = {
        "noise/policy": "on_stagnation",
        "noise/scaling": "step",
        "noise/magnitude_min": 0.316,
        "noise/magnitude_extra": 0.0,
        "noise/signals": ["grad_norm_plateau", "low_weight_update", "stuck"],
        "noise/grad_plateau_threshold": 1.0,
        "noise/schedule": "exponential",
        "noise/patience": 1,
        "noise/warmup_epochs": 3,
        "noise/window": 3,
        # It begins two epochs after its clock does, once: its placebos share none of its epochs.
        "noise/trigger_epochs": 3,
        "noise/max_injection_epochs": 10,
        "noise/cooldown_min": 57,
        "noise/cooldown_extra": 0,
    }
    studied = room.study("clock", STUCK_MLP, configs=[adaptive])
    confirmed = studied.confirmed(room.pick(3, 8))
    [trial] = confirmed.config.trials
    beside = {role: _beside(confirmed, role) for role in BESIDE}
    claimed = timing_shown(confirmed, trial)
    untold = "".join(f"; {why}" for why in objections(confirmed, trial).values())
    gained = _mean(beside["placebo"])
    return ControlFinding(
        f"{confirmed.decide_by}: {_mean_of(beside['placebo'])} beside its placebo, "
        f"{_mean_of(beside['clock'])} beside its clock; "
        f"its timing is {'' if claimed else 'not '}claimed to matter{untold}",
        # Its placebos must tempt to the claim, or its clock had nothing to prevent.
        passed=not claimed and not untold and gained is not None and gained > 0,
    )


def _beside(confirmed: Confirmation, role: Role) -> Sequence[float]:
    [sample] = confirmed.samples(confirmed.decide_by, against=role).values()
    return sample.complete


def _mean_of(values: Sequence[float]) -> str:
    return f"{signed(_mean(values))} (n = {len(values)})"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _shown(studied: Studied) -> tuple[float, int] | None:
    """The winner's mean difference and its seeds; None if no trial is complete."""
    best = studied.summary.first
    if best is None or not isinstance(best.mean_difference, float):
        return None
    return best.mean_difference, best.n


def _ahead(studied: Studied) -> bool:
    """Whether its winner is ahead: all that the few seeds of a quick control can show."""
    best = studied.summary.first
    return best is not None and beats_baseline(studied.config, best)


def _claim(studied: Studied) -> str:
    shown = _shown(studied)
    if shown is None:
        return "no trial is complete"
    mean, seeds = shown
    how = "a gain is claimed" if studied.claimed else "no gain is claimed"
    return f"{signed(mean)} on {seeds} seeds, {how}"


CONTROLS: Mapping[str, Control] = {
    control.name: control
    for control in (
        Control(
            "stuck-mlp",
            "20 layers, stuck at chance: noise lifts it by more than 0.3",
            stuck_mlp,
        ),
        Control(
            "stuck-cnn",
            "12 convolutions, stuck at chance: noise lifts it by more than 0.3",
            stuck_cnn,
            quick=False,
        ),
        Control(
            "few-images",
            "100 digits: label noise gains a point of validation accuracy or more",
            few_images,
            quick=False,
        ),
        Control(
            "nothing",
            "magnitude 0 changes nothing at all, and noise far too weak gains nothing",
            nothing,
        ),
        Control("harm", "noise that destroys is worse than none", harm),
        Control(
            "trap",
            "a learning rate five times too small: what noise gains, tuning gains, too",
            trap,
        ),
        Control(
            "clock",
            "a training stuck from the start needs noise, not signals: timing does not matter",
            clock,
        ),
    )
}
"""All controls by name, in the order in which they are run."""
