"""Requests to a study that runs: files in its folder, which its process acts on and answers.

A request is a file ``requests/ID.json``, written whole; the answer is ``requests/ID.answer.json``.
What was done stands in the ledger, under the tag ``request.ID``, before the answer is written: so a
request that a killed process had acted on is not acted on again.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from study.records.events import Event, NoteEvent, now_ms
from study.records.file_lock import is_held
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState
from study.records.remote_lock import is_alive
from trainables.files import write_atomically
from trainables.object_store import Location

log = logging.getLogger(__name__)

FOLDER = "requests"

SETTABLE = ("trials", "max_concurrent", "time_budget")
"""Settings of a study that may be changed while it runs."""

STOPPED_BY_HAND = "stopped by hand"
"""How the reason of a run begins that a person ended."""

STOP_TAG = "stop"
"""The tag of a run that a person wants to end."""

_ENDING = ".json"
_ANSWER = ".answer.json"
_TAG = "request."
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Request:
    """What a person asks of a study that runs.

    Attributes:
        changes: settings by name, as JSON types.
        stop: end a run, or the whole study.
        trial: the key of the run to end; None: the study.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    stop: bool = False
    trial: str | None = None
    id: str = field(default_factory=lambda: f"{now_ms()}-{uuid.uuid4().hex[:8]}")

    def is_older(self, time: int) -> bool:
        """Whether it was made before a time (ms); so is a request that does not say when."""
        made = self.id.partition("-")[0]
        return not made.isdecimal() or int(made) < time

    @property
    def tag(self) -> str:
        """The tag under which the ledger has the answer."""
        return f"{_TAG}{self.id}"


@dataclass(frozen=True)
class Reply:
    """What became of a request, in a sentence; ``done``: it was not refused."""

    done: bool
    text: str

    def __str__(self) -> str:
        return f"{'done' if self.done else 'refused'}: {self.text}"


def is_answer(event: Event) -> bool:
    """Whether an event of a ledger says what became of a request."""
    return isinstance(event, NoteEvent) and any(tag.startswith(_TAG) for tag in event.tags)


def recorded_answer(state: LedgerState, request: Request) -> Reply | None:
    """The answer that the ledger has; None if the request was not acted on yet."""
    text = state.study.tags.get(request.tag) if state.study else None
    if text is None:
        return None
    word, _, sentence = text.partition(": ")
    return Reply(word == "done", sentence)


class RequestBox:
    """The requests of one study, in a folder or in an object store; ``OSError`` if it is away."""

    def __init__(self, place: Location) -> None:
        """``place``: the study's folder, local or in the store."""
        self._folder = place / FOLDER

    def put(self, request: Request) -> None:
        content = json.dumps(asdict(request), ensure_ascii=False, allow_nan=False)
        write_atomically(self._folder / f"{request.id}{_ENDING}", content.encode())

    def waiting(self) -> list[Request]:
        """What was asked and not yet answered, in order; a file that is no request is removed."""
        found = []
        for name in sorted(self._names()):
            if name.endswith(_ENDING) and not name.endswith(_ANSWER):
                request = self._read(name)
                if request is not None:
                    found.append(request)
        return found

    def answer(self, request: Request, answer: Reply) -> None:
        content = json.dumps(asdict(answer), ensure_ascii=False)
        write_atomically(self._folder / f"{request.id}{_ANSWER}", content.encode())
        self.withdraw(request)

    def take_answer(self, request: Request) -> Reply | None:
        """The answer, which is removed; None while there is none."""
        path = self._folder / f"{request.id}{_ANSWER}"
        try:
            values = json.loads(path.read_bytes())
            answer = Reply(bool(values["done"]), str(values["text"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            answer = Reply(False, f"{path}: the answer is damaged; the study's ledger has it")
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return answer

    def withdraw(self, request: Request) -> None:
        (self._folder / f"{request.id}{_ENDING}").unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove answers that nobody waits for any more."""
        for name in self._names():
            if name.endswith(_ANSWER):
                (self._folder / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        try:
            return [path.name for path in self._folder.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> Request | None:
        path = self._folder / name
        try:
            content = path.read_bytes()
            if len(content) > _MOST_BYTES:
                raise ValueError("too large")
            values = json.loads(content)
            request = Request(**values)
            if f"{request.id}{_ENDING}" != name or not isinstance(request.changes, dict):
                raise ValueError("not a request")
            if not isinstance(request.trial, str | None) or not isinstance(request.stop, bool):
                raise ValueError("not a request")
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError) as error:
            log.warning("%s: no request (%s); it is removed", path, error)
            path.unlink(missing_ok=True)
            return None
        return request


def box_of_running(folder: StudyFolder) -> RequestBox | None:
    """Where the process that runs the study looks for requests; None if none runs.

    On this machine, or on a shared folder, that is the study's folder, else the object store.
    """
    if is_held(folder.lock):
        return RequestBox(folder.path)
    if folder.remote is not None and is_alive(folder.remote):
        return RequestBox(folder.remote)
    return None
