"""MLflow's own server, started for a person to look at a study."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from contextlib import suppress
from pathlib import Path

from study.tracking.addresses import ENVIRONMENT, artifact_root, is_server, view_link
from trainables.errors import InputError
from trainables.uris import redact_uri

_UI_GRACE_SECONDS = 3.0
_UI_START_SECONDS = 120.0
_UI_LOOK_SECONDS = 0.5


def ui_command(host: str, port: int) -> list[str]:
    server = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    # A line for each file that the pages ask for helps nobody.
    quiet = ["--uvicorn-opts", "--log-level warning"]
    return [*server, *quiet, "--host", host, "--port", str(port)]


def ui_environment(uri: str, storage: Path) -> dict[str, str]:
    """The environment for ``ui_command``: URIs hold passwords, which command lines would show."""
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": uri}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    root = artifact_root(uri, storage)
    if root is not None:
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = root
    return environment


def pages_of(uri: str, name: str) -> str:
    """The address of a study's table of runs within MLflow's pages."""
    from study.tracking.store import MlflowStore
    from study.tracking.types import StoreRefusedError, StoreUnavailableError

    try:
        experiment = MlflowStore(uri).known_experiment(name)
    except (StoreUnavailableError, StoreRefusedError) as error:
        raise InputError(f"tracking_uri = {redact_uri(uri)!r}: can't be asked: {error}") from None
    if experiment is None:
        raise InputError(f"name = {name!r}: MLflow has no study of this name")
    return view_link(experiment)


def open_when_ready(address: str) -> None:
    """Open a page in a browser once its server answers, where there is a screen to show it on."""
    on_screen = sys.platform in {"darwin", "win32"}
    if on_screen or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()


def _open_when_ready(address: str) -> None:
    began = time.monotonic()
    while time.monotonic() < began + _UI_START_SECONDS:
        with suppress(OSError):
            urllib.request.urlopen(address, timeout=1).close()
            webbrowser.open(address)
            return
        time.sleep(_UI_LOOK_SECONDS)


def serve_ui(uri: str, storage: Path, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's pages until the server ends; its exit code."""
    if is_server(uri):
        raise InputError(f"tracking_uri = {redact_uri(uri)!r} is a server: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"port = {port}: can't listen on {host}: {error}") from None
    # MLflow's command starts the server as a process of its own, and ends without it: so all of
    # them are one group, which goes together.
    server = subprocess.Popen(
        ui_command(host, port),
        env=ui_environment(uri, storage),
        cwd=storage if storage.is_dir() else None,
        process_group=0,
    )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
        _end_group(server)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_UI_GRACE_SECONDS)
