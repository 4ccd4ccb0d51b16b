"""A study of code of one's own goes on only with the source that it was begun with.

Nothing here imports that code, Ray or torch.
"""

from collections.abc import Mapping
from dataclasses import replace

from study.campaigns.session import Session
from study.checks import check_study, present_identities, with_present_metrics
from study.config import StudyConfig
from study.records.events import EndEvent, NoteEvent
from study.records.folder import StudyFolder
from study.records.ledger_view import TrialRecord, read_ledger
from study.records.own_code import OTHER_CODE, code_of, code_tag, is_present, later_codes
from trainables.code_identity import CodeIdentity, changed_modules, code_identity
from trainables.code_trust import allow, is_trusted
from trainables.errors import InputError

ACCEPT = "--accept-changed-code"


def with_code(config: StudyConfig, folder: StudyFolder, *, accept: bool = False) -> StudyConfig:
    """The configuration with the source of its own code, as it is, or as the study recorded it.

    ``accept``: whether a changed source is accepted; else it is refused.
    """
    names = config.train.own_names
    if not names:
        return config
    now = present_identities(config.train)
    stored = folder.stored_config()
    if stored is None:
        return _with(config, now, 0)
    if stored.train.own_names != names:
        return config  # Another study, which is refused as such.
    kept = _with(config, stored.train.identities, stored.code_changes)
    recorded = {**later_codes(read_ledger(folder.ledger)), **stored.train.identities}
    changed = [
        setting
        for setting, name in names.items()
        if name in now and name in recorded and changed_modules(recorded[name], now[name])
    ]
    if not changed:
        return kept
    if not accept:
        name = names[changed[0]]
        raise InputError(
            refusal(config.name, name, recorded[name], now[name], changed[0])
            + f", or go on with the changed source by {ACCEPT} (with new baselines; what was "
            "trained before is kept, and not ranked)"
        )
    _check_acceptable(stored, folder)
    for name in names.values():
        if name in recorded and is_trusted(name, recorded[name]):
            allow(name)
    return _with(config, now, stored.code_changes + 1)


def checked_with_code(
    config: StudyConfig, folder: StudyFolder, fetched: bool, *, accept: bool = False
) -> StudyConfig:
    """Check a study (``check_study``) and the source of its own code, which that may run.

    ``fetched``: what an object store has of the study is here already.
    """
    folder.check_files()
    if folder.stored_config() is None:
        config = config.model_copy(update={"train": with_present_metrics(config.train)})
    # Before the code is run, as far as the records are here.
    config = check_study(with_code(config, folder, accept=accept))
    if fetched:
        return config
    folder.fetch()
    return with_code(config, folder, accept=accept)


def refusal(
    study: str,
    name: str,
    recorded: CodeIdentity,
    now: CodeIdentity,
    setting: str = "classifier",
) -> str:
    return (
        f"name = {study!r}: the source of {', '.join(changed_modules(recorded, now))}, which "
        f"{setting} = {name!r} consists of, was changed since this began: what is trained now "
        "could not be compared with what was. Restore the source, give another --name"
    )


def _with(config: StudyConfig, known: Mapping[str, CodeIdentity], changes: int) -> StudyConfig:
    train = config.train.with_identities(known)
    return config.model_copy(update={"train": train, "code_changes": changes})


def _check_acceptable(stored: StudyConfig, folder: StudyFolder) -> None:
    why = ""
    if stored.configs is not None:
        why = "it runs a list of given configurations, each once"
    elif stored.is_to_be_tuned and read_ledger(folder.ledger).by_role("tuning"):
        why = "the tuning of its baseline is not over"
    if why:
        raise InputError(
            f"{ACCEPT}: {stored.name} can't go on with a changed source: {why}. Restore the "
            "source, or give another --name"
        )


def leave_behind(session: Session, config: StudyConfig) -> None:
    """Record what another source was trained with; again after a crash, each once."""
    others = [r for r in session.whole_state().trials.values() if not is_present(config, r)]
    for record in others:
        if not record.finished:
            session.append(EndEvent(record.key, "failed", f"{OTHER_CODE}: it was not finished"))
        if record.tags.get("excluded") != OTHER_CODE:
            session.append(NoteEvent(record.key, {"excluded": OTHER_CODE}))
    if others:
        changed = changed_modules(code_of(others[-1]) or (), config.train.code or ())
        session.note(
            f"the source of {', '.join(changed)} was changed, and that was accepted "
            f"({config.code_changes}): {others[-1].key} and what began before it is not ranked"
        )


def record_late(session: Session, codes: Mapping[str, CodeIdentity]) -> None:
    """Record the source of what was begun by a version that did not record it, once."""
    known = later_codes(session.whole_state())
    new = {name: code for name, code in codes.items() if name not in known and code}
    if new:
        session.append(NoteEvent(None, code_tag({**known, **new})))
        session.note(
            f"the source of {', '.join(new)} is recorded from now on; nothing says whether it is "
            "what was trained with before"
        )


def late_codes(config: StudyConfig) -> dict[str, CodeIdentity]:
    """What ``record_late`` is to record of a study: nothing, if its runs say it."""
    known = config.train.identities
    late = [name for name in config.train.own_names.values() if name not in known]
    return {name: code_identity(name) for name in late}


def for_searcher(config: StudyConfig, records: Mapping[str, TrialRecord]) -> dict[str, TrialRecord]:
    """The trials as the sampler hears of them: those of another source teach it nothing."""
    return {
        key: r if is_present(config, r) else replace(r, state="failed", reason=OTHER_CODE)
        for key, r in records.items()
    }
