"""The reference's options that are no settings of their own, and how all sources combine.

The reference says whether there is noise by three overlapping switches, and strengths and cooldowns
by a minimum and a maximum. Here a policy, and a minimum and what is added to it, say the same
without contradictions; this file translates. Sources combine as preset < configuration file <
single options, wherever these stand on the line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import PurePath
from typing import Annotated, Any

from study.commands.settings import SettingOptions, option
from trainables.config import TrainConfig
from trainables.data_changes import derived_data
from trainables.documents import read_mapping
from trainables.errors import InputError, nearest, shortened
from trainables.noise.kinds import NOISE_KINDS
from trainables.optimizer_config import check_read
from trainables.presets import readme, run_preset
from trainables.settings import LARGEST, merge, nest, parse_config

NOISE_TYPES = ("none", *NOISE_KINDS)

RUN_SETTINGS = SettingOptions(TrainConfig, readme(), omit=["noise/kind"])
"""The generated options of a single run; ``--noise-type`` stands for the kind."""


@dataclass(frozen=True)
class ReferenceOptions:
    """Options of the reference that a run's settings are derived from."""

    noise_type: Annotated[
        str | None,
        option(
            "--noise-type",
            "-nt",
            help="kind of static noise; none: adaptive noise, or with --disable-adaptive-flags "
            "no noise at all",
            value="{" + ",".join(NOISE_TYPES) + "}",
            default="none",
        ),
    ] = None
    noise_during_stuck_only: Annotated[
        bool | None,
        option(
            "--noise-during-stuck-only",
            "-so",
            help="noise only while the signals say that training is stuck; they choose its kind",
            default="False",
        ),
    ] = None
    disable_adaptive_flags: Annotated[
        bool | None,
        option(
            "--disable-adaptive-flags",
            help="no adaptive noise; without --noise-type: the baseline",
            default="False",
        ),
    ] = None
    relative_max_noise: Annotated[
        str | None,
        option(
            "--relative-max-noise",
            help="standard deviation of adaptive noise at severity 1",
            value="FLOAT",
            default="0.1",
        ),
    ] = None
    max_cooldown_epochs: Annotated[
        str | None,
        option(
            "--max-cooldown-epochs",
            help="epochs of cooldown at severity 1",
            value="INT",
            default="15",
        ),
    ] = None
    gpu: Annotated[
        str | None,
        option(
            "--gpu",
            "-g",
            help='device: "0" the first GPU (the CPU where there is none), cpu, mps, auto; '
            "one for a single run",
            value="GPU",
            default="0",
        ),
    ] = None


@dataclass(frozen=True)
class PolicyChoice:
    """What the reference's three switches say: a policy, a kind for ``always``, a type ignored."""

    policy: str
    kind: str | None = None
    ignored: str | None = None


@dataclass(frozen=True)
class ResolvedRun:
    """A run's configuration from all its sources, and what to tell the user about it."""

    config: TrainConfig
    notices: tuple[str, ...] = ()


def choose_policy(noise_type: str, stuck_only: bool, adaptive_off: bool) -> PolicyChoice:
    if stuck_only and adaptive_off:
        raise InputError(
            "--noise-during-stuck-only and --disable-adaptive-flags contradict each other: "
            "the one asks for adaptive noise, the other switches it off; give one of them"
        )
    if noise_type == "none":
        return PolicyChoice("off" if adaptive_off else "on_stagnation")
    if stuck_only:
        return PolicyChoice("on_stagnation", ignored=noise_type)
    return PolicyChoice("always", kind=noise_type)


def resolve_run(
    preset: str, config_file: str | None, given: Mapping[str, Any], reference: ReferenceOptions
) -> ResolvedRun:
    """Combine a preset, a configuration file and single options to one valid configuration.

    ``given`` are settings by path; others are derived from the ``reference``'s options.
    """
    from_file = {} if config_file is None else read_mapping(config_file)
    return combine(run_preset(preset), from_file, config_file or "", given, reference)


def combine(
    base: TrainConfig,
    from_file: Mapping[str, Any],
    where: str,
    given: Mapping[str, Any],
    reference: ReferenceOptions,
) -> ResolvedRun:
    """As ``resolve_run``, from what it has read: ``where`` names the file in messages."""
    values = merge(base.model_dump(mode="json"), from_file)
    below = _parse_below(values, where)
    changes = dict(given)
    notices: list[str] = []
    _derive_data(changes, from_file, below, notices)
    if changes.get("model/weights", below.model.weights) != below.model.weights:
        changes["model/content"] = None
    _derive_extra(changes, below, _MAGNITUDE, reference.relative_max_noise)
    _derive_extra(changes, below, _COOLDOWN, reference.max_cooldown_epochs)
    _derive_policy(changes, from_file, reference, notices)
    if changes.get("noise/policy", "planned") != "planned":
        # A placebo's file with another policy: so its baseline is trained.
        changes["noise/plan"] = []
    _derive_device(changes, reference.gpu, notices)
    config = parse_config(
        TrainConfig, merge(values, nest(changes)), options=RUN_SETTINGS.names_of(given)
    )
    check_read(config.optimizer, given)
    return ResolvedRun(config, tuple(notices))


def _parse_below(values: dict[str, Any], where: str) -> TrainConfig:
    """What preset and file say, as typed values; the policy is decided, and checked, later."""
    if isinstance(values["noise"], dict):
        values = merge(values, {"noise": {"policy": "off", "plan": []}})
    return parse_config(TrainConfig, values, where=where)


def _derive_data(
    changes: dict[str, Any], from_file: Mapping[str, Any], below: TrainConfig, notices: list[str]
) -> None:
    """The data set that the folder's name means, and the folder of the data set named."""
    folder = changes.get("data/data_dir")
    dataset = changes.get("data/dataset")
    if folder is not None:
        if dataset is None and below.data.dataset == "cifar10" and _means_cifar100(folder):
            changes["data/dataset"] = "cifar100"
            notices.append(f"--data-dir {folder}: the data set is CIFAR-100, by the folder's name")
    elif dataset not in (None, below.data.dataset) and _folder_is_anothers(from_file):
        # The folder below belongs to the data set below.
        is_cifar = dataset in ("cifar10", "cifar100")
        changes["data/data_dir"] = f"./data/{dataset}" if is_cifar else None
    # New photos are decoded as they should be, those of a recorded run as they were.
    changes |= derived_data(changes, below.data, from_file.get("data"))


def _folder_is_anothers(from_file: Mapping[str, Any]) -> bool:
    """Whether the folder goes with a data set that a preset or a file names beside it."""
    data = from_file.get("data", {})
    return "data_dir" not in data or "dataset" in data


def _means_cifar100(folder: str) -> bool:
    """Whether the last part of a path that names a CIFAR data set names CIFAR-100."""
    named = [part.lower() for part in PurePath(folder).parts if "cifar10" in part.lower()]
    return bool(named) and "cifar100" in named[-1]


@dataclass(frozen=True)
class _Span:
    """A minimum and what is added to it, which the reference gives as minimum and maximum."""

    minimum: str
    extra: str
    maximum_option: str
    whole: bool

    def stored(self, config: TrainConfig) -> tuple[Decimal, Decimal]:
        noise = config.noise.model_dump()
        low = Decimal(str(noise[self.minimum.split("/")[1]]))
        return low, low + Decimal(str(noise[self.extra.split("/")[1]]))


_MAGNITUDE = _Span(
    "noise/magnitude_min", "noise/magnitude_extra", "--relative-max-noise", whole=False
)
_COOLDOWN = _Span("noise/cooldown_min", "noise/cooldown_extra", "--max-cooldown-epochs", whole=True)


def _derive_extra(
    changes: dict[str, Any], below: TrainConfig, span: _Span, maximum: str | None
) -> None:
    """Set a span's extra so that a changed minimum keeps the maximum, and the other way round.

    The arithmetic is decimal: 0.1 − 0.01 is to be 0.09.
    """
    names = RUN_SETTINGS.long_names
    if span.extra in changes:
        if maximum is not None:
            raise InputError(
                f"{names[span.extra]} = {changes[span.extra]} and {span.maximum_option} = "
                f"{maximum} say the same thing: give one of them"
            )
        return
    if span.minimum not in changes and maximum is None:
        return
    low, high = span.stored(below)
    if span.minimum in changes:
        given = _decimal(changes[span.minimum])
        if given is None:
            return  # No number: the validation of the whole says so.
        low = given
    kept = "" if maximum is not None else ", which stays as it was"
    if maximum is not None:
        given = _decimal(maximum)
        if given is None or (span.whole and given != given.to_integral_value()):
            needed = "a whole number" if span.whole else "a number"
            raise InputError(
                f"{span.maximum_option} = {shortened(maximum)}: {needed} is needed, of at most "
                f"{LARGEST:g}"
            )
        high = given
    if high < low:
        raise InputError(
            f"{span.maximum_option} = {float(high):g}{kept}: it is below "
            f"{names[span.minimum]} = {float(low):g}; give {span.maximum_option} "
            f"{float(low):g} or more"
        )
    changes[span.extra] = int(high - low) if span.whole else float(high - low)


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # What lies beyond has too many digits to reckon with.
    return number if number.is_finite() and abs(number) <= LARGEST else None


def _derive_policy(
    changes: dict[str, Any],
    from_file: Mapping[str, Any],
    reference: ReferenceOptions,
    notices: list[str],
) -> None:
    noise_type = reference.noise_type
    if noise_type is not None and noise_type not in NOISE_TYPES:
        raise InputError(f"--noise-type = {noise_type!r}: {nearest(noise_type, NOISE_TYPES)}")
    if "noise/policy" in changes:
        if noise_type == "none" and changes["noise/policy"] == "always":
            raise InputError(
                "--policy = 'always' and --noise-type = 'none' contradict each other: "
                "name a kind of noise, or give --policy off"
            )
        if noise_type not in (None, "none"):
            changes["noise/kind"] = noise_type
        return
    switches = (noise_type, reference.noise_during_stuck_only, reference.disable_adaptive_flags)
    if all(switch is None for switch in switches) and "policy" in from_file.get("noise", {}):
        return
    choice = choose_policy(
        noise_type or "none",
        bool(reference.noise_during_stuck_only),
        bool(reference.disable_adaptive_flags),
    )
    changes["noise/policy"] = choice.policy
    if choice.kind is not None:
        changes["noise/kind"] = choice.kind
    if choice.ignored is not None:
        notices.append(
            f"--noise-type {choice.ignored} is ignored: with --noise-during-stuck-only the signals "
            "choose the kind of noise"
        )


def _derive_device(changes: dict[str, Any], gpu: str | None, notices: list[str]) -> None:
    if gpu is None:
        return
    if "device" in changes:
        raise InputError(
            f"--gpu = {gpu} and --device = {changes['device']} say the same thing: give one"
        )
    from trainables.device import parse_gpu_option

    found = parse_gpu_option(gpu)
    changes["device"] = found.device
    if found.note is not None:
        notices.append(found.note)
