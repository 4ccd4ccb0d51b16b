"""What is checked before anything is started or written. Nothing here imports Ray or MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.config import RunsConfig, StudyConfig
from study.records.folder import check_secrets, storage_of
from study.records.register import OBJECTS
from study.records.remote import check_remote
from study.search.own_space import beginnings, space_of, with_own_space
from study.search.samplers import check_conditional, check_learns, check_sampler
from study.tracking.addresses import check_uri
from study.tune.address import address_of
from study.tune.cores import cores_here, trials_here
from trainables.code_identity import CodeIdentity, changed_modules, code_identity
from trainables.config import TrainConfig, apply_overrides
from trainables.data.image_sets import check_data
from trainables.device import resolve_device
from trainables.documents import read_document
from trainables.errors import InputError
from trainables.lr_schedule import check_schedule
from trainables.margin import effective_margin
from trainables.memory import check_training
from trainables.metric_config import MetricConfig
from trainables.metrics import check_deciding, check_objectives
from trainables.models.pretrained import check_pretrained, checked_weights
from trainables.models.registry import check_classifier, check_layers, check_slices
from trainables.paths import check_writable


def check_train(
    config: TrainConfig, *, elsewhere: bool = False, trains: bool = True, at_once: int = 1
) -> TrainConfig:
    """Check a classifier's configuration against this machine; returns it with a device resolved.

    Args:
        elsewhere: it is trained on a cluster, whose GPUs and memory this machine need not have.
        trains: False where weights are evaluated only, which takes less memory, and none of what
            trains them.
        at_once: how many of its trainings run here at the same time.
    """
    if config.task.name is not None:
        raise InputError(
            f"task = {config.task.name!r}: single runs, grids and noise-test are for classifiers, "
            "whose models they build; a task is trained by noise-study run --task, and "
            "AdaptiveNoise (docs/own-loop.md) brings what a study found into its own loop"
        )
    classifier, shape = config.model.classifier, config.data.shape
    size = check_classifier(classifier, shape)
    if config.model.download_weights:
        check_pretrained(classifier, shape.size)
    check_data(config.data)
    check_layers(classifier, config.noise.layers, shape)
    device = resolve_device(config.device, elsewhere=elsewhere)
    config = config.model_copy(update={"device": device, "measured": _described(config)})
    if trains:
        check_slices(classifier, config.slice, shape)
        _check_recipe(config)
        config = config.model_copy(update={"model": checked_weights(config.model, shape)})
    if size is not None and config.device == "cpu" and trains and not elsewhere:
        check_training(config, size, at_once)
    return config


def _described(config: TrainConfig) -> tuple[MetricConfig, ...]:
    """The further metrics of a classifier, with what one's own say of themselves."""
    if not config.measured:
        return ()
    from trainables.classifier_metrics import described

    return tuple(described(each) for each in config.measured)


def _check_task(config: StudyConfig, *, elsewhere: bool) -> StudyConfig:
    """Check a study of a task of one's own; returns it with what the task says of itself."""
    from trainables.tasks.own_task import described

    if config.tune_baseline:
        raise InputError(
            f"tune_baseline (--tune-baseline) = {config.tune_baseline}: it tunes the learning rate "
            "of classifiers; a task has its own, tune it by --task-option"
        )
    train = config.train
    device = resolve_device(train.device, elsewhere=elsewhere)
    train = train.model_copy(update={"task": described(train.task), "device": device})
    config = config.model_copy(update={"train": train})
    _check_figures(config)
    return config


def _check_figures(config: StudyConfig) -> None:
    """Check what is searched for and decided by against what one's own code declares."""
    metrics = config.train.metrics
    check_objectives(config.objective, metrics)
    check_deciding(config.decide_by, metrics)
    # Else it would be told once all is trained.
    effective_margin(config.decide_by, config.margin, None, metrics)


def _check_recipe(config: TrainConfig) -> None:
    """Refuse an optimizer, a schedule or an augmentation of one's own that can't be right."""
    owns = config.own_names
    if "lr_schedule" in owns:
        check_schedule(config.optimizer, config.epochs)
    if "augment" in owns:
        from trainables.data.augmentation import check_augmentation

        check_augmentation(config.data)
    if "optimizer" in owns:
        from trainables.optimizers import check_optimizer

        check_optimizer(config.optimizer)


def with_present_code(config: TrainConfig) -> TrainConfig:
    """One run's configuration with the source that its own code has."""
    return with_present_metrics(config).with_identities(present_identities(config))


def with_present_metrics(config: TrainConfig) -> TrainConfig:
    """What is begun anew measures by the source that its metrics have, whatever a file recorded."""
    measured = tuple(each.model_copy(update={"code": None}) for each in config.measured)
    return config.model_copy(update={"measured": measured})


def present_identities(config: TrainConfig) -> dict[str, CodeIdentity]:
    """Name → the identity of the code of one's own, as it is; without what is not there."""
    found = {name: code_identity(name) for name in config.own_names.values()}
    return {name: identity for name, identity in found.items() if identity}


def changed_since(config: TrainConfig) -> str:
    """A sentence if the source is not what a file's configuration was recorded with; or empty."""
    changed: set[str] = set()
    for name, recorded in config.identities.items():
        module = name.partition(":")[0].partition(".")[0]
        # Else the command line names another one.
        if any(entry.startswith((f"{module} ", f"{module}.")) for entry in recorded):
            changed |= {*changed_modules(recorded, code_identity(name))}
    if not changed:
        return ""
    return (
        f"the source of {', '.join(sorted(changed))} was changed since this configuration was "
        "recorded: its numbers will differ"
    )


def check_study(config: StudyConfig) -> StudyConfig:
    """Check a study; returns it with the device resolved."""
    check_runs(config)
    check_sampler(config.sampler, len(config.objective))
    check_warm(config)
    check_ranges(config)
    elsewhere = address_of(config) is not None
    if config.train.task.name is not None:
        config = _check_task(config, elsewhere=elsewhere)
    else:
        train = check_train(config.train, elsewhere=elsewhere, at_once=trials_here(config))
        config = config.model_copy(update={"train": train})
        if train.measured:
            _check_figures(config)
    train, config = config.train, with_own_space(config)
    if config.configs is None:
        space = space_of(config)
        if space.conditions(space.distributions(train)):
            check_conditional(config.sampler, config.space)
        beginnings(config)
    else:
        if not config.configs:
            raise InputError("configs: an empty list; give at least one entry, or no file at all")
        for index, overrides in enumerate(config.configs):
            checked_entry(config, index, overrides)
    return config


def check_warm(config: StudyConfig) -> None:
    """Refuse a warm start where nothing is searched, or by what can't use it."""
    if config.warm_start is None:
        return
    check_learns(config.sampler)
    if config.configs is not None:
        raise InputError(
            "warm_start (--warm-start): a list of given configurations is no search; leave one of "
            "the two out"
        )
    if config.warm_start == config.name:
        raise InputError(
            f"warm_start (--warm-start) = {config.warm_start!r}: the study itself; to go on with "
            "it, take noise-study resume"
        )


def check_ranges(config: StudyConfig) -> None:
    """Refuse ranges beside a list of given configurations, of which none would be drawn."""
    if config.configs is not None and config.ranges:
        raise InputError(
            f"ranges (--range) = {', '.join(config.ranges)}: with configs (--configs) exactly "
            "those configurations are run, and nothing is searched; leave one of the two out"
        )


def checked_entry(config: StudyConfig, index: int, overrides: Mapping[str, Any]) -> TrainConfig:
    """The run that one entry of a configurations file means; a wrong one is named by its index."""
    try:
        # The space sets the policy, unless the entry does so itself.
        own = {"noise/policy": space_of(config).policy, **overrides}
        trial = apply_overrides(config.train, own)
        if trial.task.name is None:
            check_layers(trial.model.classifier, trial.noise.layers, trial.data.shape)
    except InputError as error:
        raise InputError(f"configs entry {index}: {error}") from None
    baseline = config.train.model_dump(exclude={"noise"})
    changed = trial.model_dump(exclude={"noise"})
    if changed != baseline:
        wrong = [path for path in overrides if not path.startswith("noise/")]
        raise InputError(
            f"configs entry {index}: {', '.join(wrong)}: only settings of the noise may differ "
            "from the base configuration, or the pinned baseline would be no baseline of it"
        )
    return trial


def read_configs(path: str | Path) -> tuple[dict[str, Any], ...]:
    """Read a configurations file: a JSON list of overrides."""
    entries = read_document(path)
    if not isinstance(entries, list):
        raise InputError(
            f"{path}: expected a list of overrides, found {type(entries).__name__}, "
            'e.g. [{"noise/patience": 3}]'
        )
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(
                f"{path}: entry {index}: expected a mapping of overrides, found {entry!r}"
            )
    return tuple(entries)


def check_runs(config: RunsConfig) -> None:
    """Check what all kinds of runs need: secrets, storage, tracking URI, cores and GPUs."""
    check_secrets(config)
    storage = storage_of(config)
    check_writable(storage.folder, "storage", "--storage")
    if storage.remote is not None:
        # A study of an earlier version may be called so.
        if config.name == OBJECTS and not (storage.folder / OBJECTS).is_dir():
            raise InputError(
                f"name = {OBJECTS!r}: the register of {storage.shown} lies there; give another "
                "--name"
            )
        check_remote(storage.remote)
    check_uri(config.tracking_uri, storage.folder)
    _check_resources(config)


def _check_resources(config: RunsConfig) -> None:
    """Refuse GPUs and cores that are not there. A cluster's are known to Ray alone, later."""
    if address_of(config) is not None:
        return
    cores = cores_here()
    if config.cpus_per_trial > cores:
        raise InputError(
            f"cpus_per_trial = {config.cpus_per_trial:g}: no trial fits, this machine has {cores} "
            "cores"
        )
    if not config.gpus_per_trial:
        return
    if not config.train.device.startswith("cuda") and config.train.device != "auto":
        raise InputError(
            f"gpus_per_trial = {config.gpus_per_trial:g}: the runs' device is "
            f"{config.train.device!r}, which uses none; add --device cuda"
        )
    import torch

    there = torch.cuda.device_count()
    if there < config.gpus_per_trial:
        raise InputError(
            f"gpus_per_trial = {config.gpus_per_trial:g}: this machine has {there} GPUs; "
            "leave the option out, or give the cluster's --address"
        )
