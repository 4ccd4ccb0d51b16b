"""What ``set`` and ``stop`` ask of a campaign that runs: it acts between two steps of Tune."""

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from study.config import StudyConfig
from study.records.events import NoteEvent, now_ms
from study.records.folder import StudyFolder
from study.records.ledger_view import LedgerState
from study.records.requests import SETTABLE, STOP_TAG, Reply, Request, RequestBox, recorded_answer
from study.tune.interrupts import interrupt
from trainables.errors import InputError, nearest
from trainables.settings import merge, parse_config

if TYPE_CHECKING:
    from study.campaigns.campaign import Campaign
    from study.tune.limits import Limits

log = logging.getLogger(__name__)

LOCAL_SECONDS = 1.0
REMOTE_SECONDS = 10.0
"""How often a process looks for requests in its folder, and in an object store."""

_STOPPABLE = frozenset({"trial", "race", "tuning"})
"""Roles of runs that may be ended by hand; nothing else is compared with them."""


class LiveRequests:
    """The requests to one campaign, collected in a thread, acted on in the driver's."""

    def __init__(self, campaign: "Campaign[Any, Any]") -> None:
        self._campaign = campaign
        self._since = now_ms()
        self._inbox = _Inbox(campaign.folder, self._since)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Look for requests while the body runs; what is left then is answered that it is over."""
        self._inbox = _Inbox(self._campaign.folder, self._since)
        self._inbox.start()
        try:
            yield
        finally:
            self._inbox.finish()

    def attend(self, limits: "Limits") -> None:
        """Act on what has arrived. Call it in the main thread."""
        for request in self._inbox.arrived():
            session = self._campaign.session
            # Nothing is stored in a folder that is no longer the study's.
            session.check_kept()
            answer = recorded_answer(session.state(), request)
            if answer is None:
                answer = self._act(request, limits)
                # Before the answer: who was told that it is done can rely on it.
                try:
                    session.append(NoteEvent(None, {request.tag: str(answer)}))
                except OSError as error:
                    log.warning("what became of a request can't be recorded: %s", error)
                session.say(f"{self._campaign.config.name}: {answer.text}")
            self._inbox.answer(request, answer)

    def _act(self, request: Request, limits: "Limits") -> Reply:
        try:
            if request.changes:
                text = self._set(request.changes, limits)
            elif request.trial is not None:
                text = self._stop_run(request.trial, limits)
            else:
                text = self._stop_all(request)
        except InputError as error:
            return Reply(False, str(error))
        except OSError as error:
            return Reply(False, f"it can't be stored ({error}); nothing is changed")
        return Reply(True, text)

    def _stop_all(self, request: Request) -> str:
        if not request.stop:
            raise InputError("nothing was asked for")
        if not interrupt():
            raise InputError("it runs inside another program, which alone can stop it")
        return "it is stopped as by Ctrl-C; what is finished is kept"

    def _set(self, changes: Mapping[str, Any], limits: "Limits") -> str:
        campaign = self._campaign
        before = campaign.config
        for name in changes:
            # A request is a file that anybody may have written.
            known = name in SETTABLE
            why_not = campaign.refusal(name, limits) if known else "not to be changed while it runs"
            if why_not:
                raise InputError(f"{name}: {why_not}")
        values = parse_config(type(before), merge(before.model_dump(mode="json"), changes))
        now = before.model_copy(update={name: getattr(values, name) for name in changes})
        check_trials(before, now, campaign.session.state())
        at_once = limits.concurrent
        campaign.reconfigure(now, limits)
        said = [
            f"{name} = {_shown(getattr(now, name))} (it was {_shown(getattr(before, name))})"
            for name in changes
        ]
        if limits.concurrent < at_once:
            said.append("what runs now comes to its end")
        return "; ".join(said)

    def _stop_run(self, key: str, limits: "Limits") -> str:
        session = self._campaign.session
        check_stop(key, session.state())
        session.append(NoteEvent(key, {STOP_TAG: "by hand"}))
        limits.stopped.add(key)
        return f"{key} is stopped by hand; it takes no part in what follows"


def check_trials(before: Any, now: Any, state: LedgerState) -> None:
    """Refuse fewer trials than have begun."""
    if not isinstance(now, StudyConfig) or now.trials == before.trials:
        return
    begun = len(state.by_role("trial"))
    if now.trials < begun:
        raise InputError(
            f"trials (--trials) = {now.trials}: {begun} have begun already; give at least {begun}"
        )


def check_stop(key: str, state: LedgerState) -> None:
    """Refuse to stop what does not run, or what others are compared with."""
    record = state.trials.get(key)
    if record is None:
        known = [run.key for run in state.trials.values() if not run.finished]
        hint = nearest(key, known) if known else "none runs at the moment"
        raise InputError(f"trial (--trial) = {key!r}: no such run has begun; {hint}")
    if record.finished:
        raise InputError(f"trial (--trial) = {key!r}: it has ended already ({record.state})")
    if record.role not in _STOPPABLE:
        raise InputError(
            f"trial (--trial) = {key!r}: a run of the role {record.role!r} can't be stopped alone, "
            "others are compared with it; leave --trial out to stop all"
        )


def to_be_stopped(state: LedgerState) -> set[str]:
    """The runs that an earlier process was asked to stop, and that have not ended."""
    return {r.key for r in state.trials.values() if STOP_TAG in r.tags and not r.finished}


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


class _Inbox:
    """Reads requests and writes answers in a thread: a folder or a store may be slow, or away."""

    def __init__(self, folder: StudyFolder, since: int) -> None:
        """``since``: when the process took the study over, in ms."""
        self._since = since
        self._boxes = [(RequestBox(folder.path), LOCAL_SECONDS)]
        if folder.remote is not None:
            self._boxes.append((RequestBox(folder.remote), REMOTE_SECONDS))
        self._looked: dict[RequestBox, float] = {}
        self._from: dict[str, RequestBox] = {}  # by the request's id
        self._arrived: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Request, Reply] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, name="requests", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def arrived(self) -> Iterator[Request]:
        while not self._arrived.empty():
            yield self._arrived.get_nowait()

    def answer(self, request: Request, answer: Reply) -> None:
        self._answers.put((request, answer))

    def finish(self) -> None:
        """End the thread; what nobody acted on is answered."""
        self._answers.put(None)
        self._thread.join(timeout=2 * REMOTE_SECONDS)

    def _follow(self) -> None:
        self._look(left_over=True)
        while True:
            try:
                item = self._answers.get(timeout=LOCAL_SECONDS)
            except queue.Empty:
                self._look()
                continue
            if item is None:
                break
            self._write(*item)
        self._looked.clear()
        self._look()
        for request in self.arrived():
            self._write(request, Reply(False, "the study ended before it could act on this"))

    def _look(self, *, left_over: bool = False) -> None:
        """``left_over``: what is there may have been asked of a process that is gone."""
        for box, seconds in self._boxes:
            if time.monotonic() < self._looked.get(box, -seconds) + seconds:
                continue
            self._looked[box] = time.monotonic()
            try:
                if left_over:
                    box.tidy()
                for request in box.waiting():
                    self._take(request, box, left_over)
            except OSError as error:
                log.warning("requests to the study can't be read now: %s", error)

    def _take(self, request: Request, box: RequestBox, left_over: bool) -> None:
        if request.id in self._from:
            return
        self._from[request.id] = box
        earlier = left_over and request.is_older(self._since)
        if earlier and request.stop and request.trial is None:
            # Who goes on with a study does not want it stopped.
            self._write(request, Reply(False, "the process that was to stop is gone"))
        else:
            self._arrived.put(request)

    def _write(self, request: Request, answer: Reply) -> None:
        try:
            self._from[request.id].answer(request, answer)
        except OSError as error:
            log.warning("the answer to a request can't be written (%s): %s", error, answer)
