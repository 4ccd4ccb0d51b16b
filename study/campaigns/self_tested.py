"""The self-test of a study's own task, before anything is written."""

from rich.console import Console

from search_spaces.adaptive import signal_sets
from study.checks import checked_entry
from study.config import StudyConfig
from study.records.folder import StudyFolder
from study.search.own_space import space_of
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig, possible_kinds

_KIND_BY = ("kind", "signals", "policy")
"""The settings of the noise that decide its kind."""


def tested(
    config: StudyConfig, folder: StudyFolder, console: Console | None
) -> tuple[StudyConfig, str]:
    """A study whose task is tested, once; forking is switched off where it is not repeatable.

    Returns what is to be noted of it, too, in a sentence; empty where there is nothing to say.
    """
    if config.train.task.name is None:
        return config, ""
    stored = folder.stored_config()
    if stored is not None:
        # It was tested when it began.
        never = {"fork": "never"} if stored.fork == "never" else {}
        return config.model_copy(update=never), ""
    import torch

    from trainables.tasks.self_test import self_test

    if console is not None:
        console.print(f"testing {config.train.task.name}: are its trainings repeatable?")
    train = config.train
    if train.device.startswith("cuda") and not torch.cuda.is_available():
        # The runs are a cluster's, whose GPUs this machine need not have.
        train = train.model_copy(update={"device": "cpu"})
    found = self_test(train, _noises(config))
    if found.repeatable:
        return config, ""
    return config.model_copy(update={"fork": "never"}), (
        f"{config.train.task.name} is not repeatable: {'; '.join(found.problems)}. Runs are still "
        "compared by seed, but each is trained from the first epoch on: forking is switched off"
    )


def _noises(config: StudyConfig) -> list[NoiseConfig]:
    """Noise of each kind that the trials may have, from the first epoch on."""
    space = space_of(config)
    if config.configs is None:
        bases = [config.train.noise.model_copy(update={"policy": space.policy})]
    else:
        entries = enumerate(config.configs)
        bases = [checked_entry(config, index, entry).noise for index, entry in entries]
    found: dict[str, NoiseConfig] = {}
    for noise in bases:
        for kind in sorted(_kinds(config, noise)):
            changed = {"policy": "always", "kind": kind, "plan": ()}
            found.setdefault(kind, noise.model_copy(update=changed))
    return list(found.values())


def _kinds(config: StudyConfig, noise: NoiseConfig) -> set[str]:
    kinds = set(possible_kinds(noise))
    if config.configs is None:
        box = space_of(config).distributions(config.train)
        choices = {name: getattr(box.get(f"noise/{name}"), "choices", ()) for name in _KIND_BY}
        kinds |= set(choices["kind"])
        kinds |= {SIGNALS[n].asks_for for names in signal_sets(choices["signals"]) for n in names}
        if "always" in choices["policy"] and "noise/kind" not in box:
            kinds.add(noise.kind)
    return kinds
