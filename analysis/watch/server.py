"""Serves a report on 127.0.0.1, and renews it while what it tells of goes on.

A page asks for a small status every other second, and for the report's parts when these have
changed. Whatever page is open in a browser can send requests to this machine, under any name that
its owner lets point here: so only requests that name this machine are answered, and nothing but
GET.
"""

import json
import logging
import signal
import threading
import time
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from analysis.report.page import Page
from analysis.watch.assets import served
from analysis.watch.watched import WatchedRecords
from trainables.errors import InputError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_HERE = frozenset({HOST, "localhost"})

_LEAST_SECONDS = 2.0
_SHARE = 0.1
"""A report is made anew after that time at least, and in no more than that share of all time."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Renewed:
    """The report as somebody last asked for it."""

    def __init__(self, watched: WatchedRecords) -> None:
        self._watched = watched
        self._lock = threading.Lock()
        self._page: Page | None = None
        self._stamp = ""
        self._made = 0.0
        self._took = 0.0

    def status(self) -> dict[str, Any]:
        """What the page is told every other second; ``version``: of the report that there is."""
        with self._lock:
            now = asdict(self._watched.status())
            stamp = self._watched.stamp()
            return {**now, "version": stamp if self._due(stamp) else self._stamp}

    def page(self) -> tuple[str, Page]:
        """The report with its version, made anew if that is due."""
        with self._lock:
            stamp = self._watched.stamp()
            if self._page is None or self._due(stamp):
                began = time.monotonic()
                self._page = self._watched.page()
                # What came while it was made is no part of it: the stamp is that of before.
                self._stamp, self._made = stamp, time.monotonic()
                self._took = self._made - began
            return self._stamp, self._page

    def _due(self, stamp: str) -> bool:
        pause = max(_LEAST_SECONDS, self._took / _SHARE)
        return stamp != self._stamp and time.monotonic() - self._made >= pause


class _Answer(NamedTuple):
    kind: str
    content: bytes
    code: HTTPStatus = HTTPStatus.OK


def answer(report: Renewed, path: str) -> _Answer:
    """What is answered to a path; a problem with the study is told, and shown by the page."""
    try:
        if path == "/":
            version, page = report.page()
            return _Answer("text/html", page.html(served(version)).encode())
        if path == "/parts":
            version, page = report.page()
            return _json({**page.parts(), "version": version})
        if path == "/status":
            return _json(report.status())
    except (InputError, OSError) as error:
        if path == "/":
            return _text(f"The report can't be made now: {error}", HTTPStatus.SERVICE_UNAVAILABLE)
        return _json({"problem": str(error)})
    return _text("There is no such page.", HTTPStatus.NOT_FOUND)


def _json(value: object) -> _Answer:
    return _Answer("application/json", json.dumps(value, allow_nan=False).encode())


def _text(text: str, code: HTTPStatus) -> _Answer:
    return _Answer("text/plain", f"{text}\n".encode(), code)


def is_of_here(host: str | None) -> bool:
    """Whether a request's Host header names this machine, through whatever port."""
    try:
        return urlsplit(f"//{host or ''}").hostname in _HERE
    except ValueError:
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "noise-analysis"
    sys_version = ""
    timeout = 60
    report: Renewed

    def do_GET(self) -> None:
        if not is_of_here(self.headers.get("Host")):
            self._send(_text("This report is served to this machine only.", HTTPStatus.FORBIDDEN))
            return
        try:
            found = answer(self.report, self.path.partition("?")[0])
        except Exception:
            log.exception("the report can't be made")
            found = _text("unexpected error; see the terminal", HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(found)

    def _send(self, found: _Answer) -> None:
        self.send_response(found.code)
        self.send_header("Content-Type", f"{found.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(found.content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(found.content)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each question would fill the terminal."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A page that keeps its connection open, or a report that is being made, holds up no end.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is no fault."""
        log.debug("a request broke off", exc_info=True)


def serving(watched: WatchedRecords, port: int) -> ThreadingHTTPServer:
    """A server that listens, on ``port`` or, for 0, on a free one; nothing is answered yet."""
    handler = type("Handler", (_Handler,), {"report": Renewed(watched)})
    try:
        return _Server((HOST, port), handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--port = {port}: can't listen on {HOST}: {error}") from None


def serve(server: ThreadingHTTPServer) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
        server.server_close()
