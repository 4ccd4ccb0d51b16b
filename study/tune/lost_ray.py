"""Notices that Ray's head is gone, and ends the runs in order before Ray ends this process.

Ray's core waits a minute for a head that does not answer. Then it ends the process from a thread of
its own, whatever Python does, with a text that says nothing of the study.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from study.config import RunsConfig
from study.errors import RayLostError, StudyFailedError
from study.tune.address import address_of
from study.tune.connect import leave_ray, ray_session
from study.tune.interrupts import break_off
from study.tune.ray_patches import started_processes
from study.tune.ray_words import ray_words_in

_LOOK_SECONDS = 0.5
_CONNECT_SECONDS = 5.0
_RAY_WAITS = "RAY_gcs_rpc_server_reconnect_timeout_s"
_RAY_WAITS_SECONDS = 60.0
_PATIENCE = 0.6
"""The share of the time that Ray waits, after which a head elsewhere is given up."""
_RESERVE_SECONDS = 4.0
"""How long before Ray ends the process it is ended here, if it has not come to its end."""


@contextmanager
def watched_ray(config: RunsConfig, log: Path, again: str) -> Iterator[None]:
    """A session with Ray for the runs of a study, in which nothing that Ray does is a surprise.

    Ray's texts about failures go to the file ``log``. ``again`` is the command that goes on where
    Ray is lost (``RayLostError``).
    """
    with ray_session(config), ray_words_in(log), lost_ray_noticed(config, again):
        yield


@contextmanager
def lost_ray_noticed(config: RunsConfig, again: str) -> Iterator[None]:
    """Inside, a lost Ray ends what runs: ``RayLostError`` follows, and Ray is left.

    ``again``: the command that goes on.
    """
    watch = _Watch(config, again)
    watch.start()
    try:
        yield
    except StudyFailedError:
        raise
    except (Exception, KeyboardInterrupt):
        if not watch.lost.is_set() and watch.missing() is None:
            raise
        # Ray's core can't end this process any more once it is left.
        leave_ray()
        raise RayLostError(watch.message) from None
    finally:
        watch.stop()


class _Watch(threading.Thread):
    """Looks whether the head is there; if not for too long, breaks off what runs."""

    def __init__(self, config: RunsConfig, again: str) -> None:
        super().__init__(name="noise-study-ray", daemon=True)
        self.lost = threading.Event()
        self.missing, what, patient = _looks(address_of(config))
        self.message = f"{config.name}: {what}. All that is recorded is kept; go on with: {again}"
        waits = float(os.environ.get(_RAY_WAITS, _RAY_WAITS_SECONDS))
        self._patience = waits * _PATIENCE if patient else 0.0
        self._last = max(waits - _RESERVE_SECONDS, self._patience)
        self._left = threading.Event()

    def run(self) -> None:
        since = None
        while not self._left.wait(_LOOK_SECONDS):
            if self.missing() is None:
                since = None
                continue
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= self._patience:
                break
        if since is None or self._left.is_set():
            return
        self.lost.set()
        break_off()
        if not self._left.wait(max(0.0, since + self._last - time.monotonic())):
            # What runs hangs in Ray's core, which would end the process in a moment.
            with suppress(OSError):
                sys.stdout.flush()
            os.write(2, f"noise-study: {self.message}\n".encode())
            os._exit(1)

    def stop(self) -> None:
        self._left.set()
        self.join()


def _looks(address: str | None) -> tuple[Callable[[], str | None], str, bool]:
    """What tells that the head is missing (None: it is there), in words, and whether to wait."""
    processes = started_processes()
    if processes:

        def ended() -> str | None:
            return next((n for n, p in processes.items() if p.poll() is not None), None)

        return ended, "a process of Ray's on this machine has died (gcs_server or raylet)", False
    client = address is not None and address.startswith("ray://")
    place = str(address) if client else ray.get_runtime_context().gcs_address

    def silent() -> str | None:
        host, _, port = place.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
        except OSError:
            return place
        return None

    return silent, f"the head of the cluster at {place} does not answer any more", True
