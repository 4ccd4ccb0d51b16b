"""MLflow stores for tests: an empty database, a port, real and broken servers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from study.store import ui_command, ui_environment


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """A real tracking server on an SQLite file in ``folder``; its URI."""
    environment = ui_environment(f"sqlite:///{folder}/server.db", folder)
    # It keeps the artifacts itself, as a server for several machines does.
    environment.pop("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    environment["MLFLOW_ARTIFACTS_DESTINATION"] = str(folder / "served")
    with subprocess.Popen(
        ui_command("127.0.0.1", port),
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            uri = f"http://127.0.0.1:{port}"
            _wait_until_healthy(uri, process)
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait_until_healthy(uri: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):
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
def broken_server(port: int) -> Iterator[ThreadingHTTPServer]:
    """A server that answers everything with 500 and counts the requests in ``asked``."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Broken)
    server.asked = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_empty_database(path: Path) -> None:
    """Let MLflow make its tables, in a process of its own: that takes seconds, once."""
    code = (
        "import sys; from study.store import MlflowStore; "
        "MlflowStore(f'sqlite:///{sys.argv[1]}').find_experiment('x')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)
