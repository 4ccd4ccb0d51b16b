"""Asks a study that runs: checks a request, puts it where its process looks, waits for the answer.

A study that does not run can't be asked: its limits are options of ``resume``.
"""

import shlex
import time
from collections.abc import Mapping
from typing import Any

from study.campaigns.confirm_plan import confirm_folder
from study.campaigns.live_requests import REMOTE_SECONDS, check_stop, check_trials
from study.config import StudyConfig
from study.errors import StudyFailedError
from study.records.file_lock import is_held
from study.records.folder import StudyFolder, open_study
from study.records.ledger_view import read_ledger
from study.records.own_code import present
from study.records.requests import Reply, Request, RequestBox, box_of_running
from study.records.storage import Storage, Where
from trainables.errors import InputError
from trainables.settings import merge, parse_config

WAIT_SECONDS = 10.0
"""How long a command waits for the answer of a study on this machine."""

_LOOK_SECONDS = 0.1
_DIGITS = 18


def set_limits(
    storage: Where, name: str, changes: Mapping[str, Any], options: Mapping[str, str] | None = None
) -> str:
    """Change settings of a study that runs; returns what became of it, in a sentence.

    ``changes``: by name, as a command line gives them; ``options``: their names there.
    ``InputError`` if they are wrong, if the study does not run, or if it refuses.
    """
    where = Storage.of(storage)
    folder = open_study(where, name)
    before = folder.stored_config()
    assert before is not None
    if not changes:
        raise InputError("nothing is changed; give --trials, --max-concurrent or --time-budget")
    if before.configs is not None and "trials" in changes:
        raise InputError("trials (--trials): the study runs a list of given configurations")
    changes = {**changes, **_more(before, changes)}
    values = merge(before.model_dump(mode="json"), changes)
    now = parse_config(StudyConfig, values, options=options or {})
    request = Request(changes={key: getattr(now, key) for key in changes})
    words = [f"--{key.replace('_', '-')} {_word(changes[key])}" for key in changes]
    running, box = _running(folder, f"go on with it so: {_resume(where, name)} {' '.join(words)}")
    if running == folder:
        check_trials(before, now, present(before, read_ledger(folder.ledger)))
    return _asked(running, box, request)


def stop(storage: Where, name: str, trial: str | None = None) -> str:
    """Stop a study that runs, or one run of it; returns what became of it, in a sentence."""
    folder = open_study(storage, name)
    running, box = _running(folder, "there is nothing to stop")
    # Where it runs elsewhere, the records here may not know its newest runs.
    if trial is not None and is_held(running.lock):
        check_stop(trial, read_ledger(running.ledger))
    return _asked(running, box, Request(stop=True, trial=trial))


def _more(before: StudyConfig, changes: Mapping[str, Any]) -> dict[str, int]:
    """``+N`` trials as their whole number."""
    text = str(changes.get("trials", ""))
    if not (text.startswith("+") and text[1:].isdecimal() and len(text) < _DIGITS):
        return {}
    return {"trials": before.trials + int(text)}


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _running(folder: StudyFolder, remedy: str) -> tuple[StudyFolder, RequestBox]:
    """What runs, the study or its confirmation, and where it looks for requests."""
    for each in (confirm_folder(folder), folder):
        box = box_of_running(each)
        if box is not None:
            return each, box
    raise InputError(f"name = {folder.path.name!r}: the study is not running; {remedy}")


def _resume(where: Storage, name: str) -> str:
    return shlex.join(["noise-study", "resume", name, *where.words])


def _asked(running: StudyFolder, box: RequestBox, request: Request) -> str:
    here = is_held(running.lock)
    patience = WAIT_SECONDS if here else WAIT_SECONDS + 2 * REMOTE_SECONDS
    try:
        box.put(request)
        answer = _awaited(box, request, patience)
        if answer is None and box_of_running(running) is None:
            # It may have answered as it ended.
            answer = box.take_answer(request)
            if answer is None:
                box.withdraw(request)
                raise InputError(f"name = {running.path.name!r}: it ended before it could act")
    except OSError as error:
        raise StudyFailedError(f"the study can't be asked: {error}") from None
    if answer is None:
        return (
            f"queued: no answer in {patience:.0f} s (it may be starting, or ending); it acts on "
            "the request as soon as it trains"
        )
    if not answer.done:
        raise InputError(answer.text)
    return answer.text


def _awaited(box: RequestBox, request: Request, patience: float) -> Reply | None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        answer = box.take_answer(request)
        if answer is not None:
            return answer
        time.sleep(_LOOK_SECONDS)
    return None
