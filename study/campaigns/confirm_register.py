"""A confirmation in the register: what it adds, and the how manieth on its test images it is."""

import hashlib
from collections.abc import Sequence

from study.campaigns.confirm_plan import ConfirmConfig
from study.campaigns.confirmation import Confirmation
from study.records.folder import StudyFolder
from study.records.register import Register, RegisterEntry, RegisterError, new_entry
from study.records.values import ResultPart
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset, KnownImages

_BY = "noise-study confirm"
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    *("tenth", "eleventh", "twelfth"),
)


class RegisterStanding(ResultPart):
    """Where a confirmation stands among all that the register has on the same test images.

    Attributes:
        confirmations: how many were planned on these images, this one included.
        readings: how often something else read them: single runs, evaluations. A report reads them
            for runs of a confirmation, which did so itself: that is no other reading.
        ordinal: which of the confirmations this one is, from 1, in the order of their plans.
        images: how many test images there are.
    """

    confirmations: int
    readings: int
    ordinal: int
    images: int


def register_of(folder: StudyFolder) -> Register:
    """The register of the storage that a study lies in."""
    return Register(folder.path.parent, None if folder.remote is None else folder.remote.parent)


def test_set_of(train: TrainConfig, images: Sequence[tuple[TrainConfig, Dataset]]) -> KnownImages:
    """By what a test set is known: of a task of one's own, by its name and version."""
    for _, dataset in images:
        return dataset.test_set
    task = train.task.model_dump_json(include={"name", "version"})
    return KnownImages(hashlib.blake2b(task.encode(), digest_size=16).hexdigest(), 0)


def _uid(confirmation: Confirmation) -> str:
    known = confirmation.state.study
    return known.uid if known is not None else ""


def register_plan(
    confirmation: Confirmation, test_set: KnownImages, before: ConfirmConfig | None
) -> None:
    """Register that a confirmation, whose ledger is begun, is planned, or now has more.

    Once, however often it goes on. ``before``: how it was configured by an earlier process, which
    may have been of a version without a register.
    """
    register, uid = register_of(confirmation.folder), _uid(confirmation)
    own = [entry for entry in register.read().entries if entry.uid == uid]
    plans = [entry for entry in own if entry.what in {"planned", "extended"}]
    new: list[RegisterEntry] = []
    if not plans:
        new.append(_entry("planned", confirmation, test_set, before or confirmation.config))
    config, last = confirmation.config, (plans + new)[-1]
    if (last.trials, last.seeds) != (config.trials, config.fresh_seeds):
        new.append(_entry("extended", confirmation, test_set, config))
    register.add(*new)


def register_end(
    confirmation: Confirmation, test_set: KnownImages, verdict: dict[str, str]
) -> None:
    """Register how a confirmation ended, once for each number of trials and seeds."""
    used = confirmation.used_seeds()
    entry = _entry(
        "ended", confirmation, test_set, confirmation.config, seeds=used, verdict=verdict
    )
    register_of(confirmation.folder).add(entry)


def _entry(
    what: str,
    confirmation: Confirmation,
    test_set: KnownImages,
    config: ConfirmConfig,
    **more: object,
) -> RegisterEntry:
    uid, values = _uid(confirmation), {"seeds": config.fresh_seeds, **more}
    # A plan is one, whatever it consists of.
    same = [uid] if what == "planned" else [uid, config.trials, values["seeds"]]
    name, trials = confirmation.study.name, config.trials
    return new_entry(
        test_set, *same, what=what, by=_BY, name=name, uid=uid, trials=trials, **values
    )


def standing(confirmation: Confirmation) -> tuple[RegisterStanding | None, str]:
    """A confirmation's place in the register, and the sentence about it.

    None where it is not registered, or the register can't be read.
    """
    register, uid = register_of(confirmation.folder), _uid(confirmation)
    try:
        found = register.read()
    except RegisterError as error:
        return None, f"How many confirmations there were on these test images is not known: {error}"
    own = next((entry for entry in found.entries if uid and entry.uid == uid), None)
    if own is None:
        return None, (
            "This confirmation is not in the register of its storage: it was begun before there "
            "was one, or elsewhere. How many there were on its test images is not known."
        )
    same = [entry for entry in found.entries if entry.test_set == own.test_set]
    plans = list(dict.fromkeys(entry.uid for entry in same if entry.uid))
    place = RegisterStanding(
        confirmations=len(plans),
        readings=sum(entry.what == "read" and not entry.trials for entry in same),
        ordinal=plans.index(uid) + 1,
        images=own.images,
    )
    return place, _sentence(place, register, found.damage)


def _sentence(place: RegisterStanding, register: Register, damage: tuple[str, ...]) -> str:
    later = place.confirmations - place.ordinal
    more = f", {later} {'was' if later == 1 else 'were'} planned after it" if later else ""
    on = f"these {place.images} test images" if place.images else "this task's test data"
    times = {0: "not read", 1: "read once"}.get(place.readings, f"read {place.readings} times")
    text = (
        f"This is the {ordinal(place.ordinal)} confirmation on {on}"
        f"{more}; besides, they were {times} (so says the register of what reads test sets, "
        f"{register})."
    )
    if damage:
        text += f" Not counted is what is damaged: {'; '.join(damage)}."
    return text


def ordinal(number: int) -> str:
    """``third``, ``21st``."""
    if number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
