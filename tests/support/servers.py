"""What studies write to, for tests: MLflow servers, real and broken; a locked database; a disk."""

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from study.tracking.ui import ui_command, ui_environment

_PORTS = 1500
"""How many ports a test process has for itself."""


def _own_ports() -> Iterator[int]:
    """The ports of this test process, round and round.

    They lie above those of Ray's workers, which end at 19999, and below those that systems hand
    out unasked, from 32768 on. Each process of a session has its own, and begins at a place of
    its own among them: sessions side by side share them.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = 20_000 + int(worker) % 8 * _PORTS
    return (first + number % _PORTS for number in count(os.getpid() * 97))


_own = _own_ports()


def free_port() -> int:
    """A port that nobody listens on, nor gets soon: who asked for it binds it seconds later."""
    for port in islice(_own, _PORTS):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def served(command: list[str], port: int, page: str, **options: Any) -> Iterator[str]:
    """A server until the end of the block; its address.

    Args:
        command: what starts it.
        port: where it listens, on this machine.
        page: what it answers once it is ready.
        options: for the process.
    """
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_served(f"{address}/{page}", process)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """A real tracking server on an SQLite file in ``folder``; its URI."""
    environment = ui_environment(f"sqlite:///{folder}/server.db", folder)
    # It keeps the artifacts itself, as a server for several machines does.
    environment.pop("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    environment["MLFLOW_ARTIFACTS_DESTINATION"] = str(folder / "served")
    command = ui_command("127.0.0.1", port)
    with served(command, port, "health", env=environment, cwd=folder) as uri:
        yield uri


def _wait_until_served(page: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(page, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError("the server does not answer")


class _Broken(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"<h1>Internal Server Error</h1>")

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[ThreadingHTTPServer]:
    """A server that answers, in a thread of its own, until the body ends."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def broken_server(port: int) -> Iterator[ThreadingHTTPServer]:
    """A server that answers everything with 500 and counts the requests in ``asked``."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Broken)
    server.asked = 0  # type: ignore[attr-defined]
    with answering(server):
        yield server


_HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin exclusive")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked_database(path: Path) -> Iterator[None]:
    """Another process's long transaction on an SQLite file; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            process.kill()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own at ``path``, so small that it can be filled."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def full_disk(folder: Path, since: Callable[[], bool]) -> Iterator[None]:
    """From a moment on, no space is left on the folder's disk: what becomes free is used up.

    At the end of the block there is room again.
    """
    filler, stop = folder / "filler", threading.Event()

    def fill() -> None:
        while not since() and not stop.is_set():
            time.sleep(0.002)
        with filler.open("ab", buffering=0) as file:
            while not stop.is_set():
                for size in (1 << 20, 1 << 12):
                    with suppress(OSError):
                        while file.write(bytes(size)) == size:
                            pass
                stop.wait(0.002)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        filler.unlink(missing_ok=True)


def make_empty_database(path: Path) -> None:
    """Let MLflow make its tables, in a process of its own: that takes seconds, once."""
    code = (
        "import sys; from study.tracking.store import MlflowStore; "
        "MlflowStore(f'sqlite:///{sys.argv[1]}').find_experiment('x')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)


class ObjectStore(NamedTuple):
    """A store that speaks S3: where it is, and the secrets that its URIs hold."""

    endpoint: str
    user: str = "AKIAUSER"
    secret: str = "hush-hush-hush"

    def uri(self, path: str) -> str:
        """The URI of a bucket's folder, with the secrets."""
        query = f"scheme=http&endpoint_override={self.endpoint}&region=us-east-1"
        return f"s3://{self.user}:{self.secret}@{path}?{query}"


class _Relay(BaseHTTPRequestHandler):
    """Hands each request on to a store; while ``server.due()``, one that writes goes wrong.

    By turns it is answered by 500, the connection breaks in the middle of its body, or what it
    asks is done and its answer is lost.
    """

    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        server: Any = self.server
        writes = self.command in {"PUT", "POST", "DELETE"}
        turn = server.broken % 3 if writes and server.due() else None
        if turn is not None:
            server.broken += 1
        if turn == 1:
            if self.command == "PUT":
                self.rfile.read(1)
            self.close_connection = True
            return
        body = self._body()
        if turn == 0:
            self._answer(500, {}, b"")
            return
        connection = http.client.HTTPConnection(server.upstream)
        left_out = {"transfer-encoding", "content-length", "expect"}
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        connection.request(self.command, self.path, body, headers)
        found = connection.getresponse()
        content = found.read()
        connection.close()
        if turn == 2:
            self.close_connection = True
            return
        self._answer(found.status, dict(found.getheaders()), content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in {"transfer-encoding", "connection", "content-length"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(content)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def failing_store(
    store: ObjectStore, due: Callable[[], bool]
) -> Iterator[tuple[ObjectStore, Callable[[], int]]]:
    """A store through a server that breaks what writes to it, whenever ``due()``.

    The second value says how many requests were broken.
    """
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Relay)
    server.upstream, server.due, server.broken = store.endpoint, due, 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store._replace(endpoint=f"127.0.0.1:{server.server_port}"), lambda: server.broken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def object_store(bucket: str) -> Iterator[ObjectStore]:
    """A server on 127.0.0.1 that speaks S3, with an empty bucket; it forgets all at the end."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = ObjectStore(f"{host}:{port}")
        system, path = FileSystem.from_uri(store.uri(bucket) + "&allow_bucket_creation=true")
        system.create_dir(path)
        yield store
    finally:
        server.stop()
