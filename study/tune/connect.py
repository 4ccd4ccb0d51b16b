"""Connects to Ray: starts it on this machine, or joins a cluster; leaves it safely."""

import gc
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

import grpc
import ray

from study.config import RunsConfig
from study.tune.address import address_of
from study.tune.cores import cores_here, cores_of
from study.tune.left_processes import ended_with_this_process
from study.tune.ray_patches import (
    GRPC_OPTIONS,
    cluster_at,
    environment,
    noted_cluster,
    noticed_at_once,
    on_loopback,
    started_processes,
    without_servers,
)
from study.tune.shipped_code import shipped_code, with_own_code
from trainables.errors import InputError

log = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {
    # glibc gives large blocks back to the system after every batch; half of TinyCNN's time was
    # page faults. It must stand in the process's environment before it starts.
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # As Tune sets it: processes that Lightning forks hang in a worker (Ray's issue 28197).
    "PL_DISABLE_FORK": "1",
    # Paths that a study was given are relative to where it was started, not to a trial's folder.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}

# What Ray is told where it starts here: a name that it does not know it leaves out in silence.
READY = {
    "RAY_preload_python_modules": "trainables.ahead",
    # Ray ends a worker that had nothing to do for a second, just before the driver asks for it.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}
NO_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
_MOST_AHEAD = 8

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Interrupts are ours to handle (study.tune.interrupts).
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A study goes on from its own records, not from Tune's snapshots: make them rare.
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
}

_LOGGING: dict[str, Any] = {"logging_level": logging.ERROR, "configure_logging": True}

_CONNECT_SECONDS = 10.0
_CLIENT_TRIES = 3

_KEPT: ContextVar[ExitStack | None] = ContextVar("kept", default=None)
"""What leaves Ray at the end of ``ray_kept``; None outside of it."""


@contextmanager
def ray_kept() -> Iterator[None]:
    """Let the Ray of the first session inside serve the further ones, until the block ends."""
    with ExitStack() as leaving:
        token = _KEPT.set(leaving)
        try:
            yield
        finally:
            _KEPT.reset(token)


@contextmanager
def ray_session(config: RunsConfig) -> Iterator[None]:
    """Connect to Ray, or start it on this machine; a Ray that was there before stays.

    Within ``ray_kept`` it stays, too, unless what is done in the session fails.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _QUIET.items()})
    if ray.is_initialized():
        yield
        return
    address = address_of(config)
    ahead = _workers_ahead(config) if address is None else NO_WORKERS
    if address is None:
        _start_here(ahead | with_own_code(config.train))
    else:
        with shipped_code(config.train) as modules, noted_cluster():
            _join(address, modules)
    raylet = started_processes().get("raylet")
    with ExitStack() as leaving:
        leaving.enter_context(ended_with_this_process(raylet.pid if raylet else None))
        leaving.callback(leave_ray)
        yield
        kept = _KEPT.get()
        if kept is not None:
            kept.push(leaving.pop_all())
            if ahead is READY:
                _start_workers()


def leave_ray() -> None:
    """``ray.shutdown``, safe beside other threads, such as the one that writes to MLflow.

    Dropping one of Ray's references while Ray shuts down ends the whole process at once, with exit
    code 1 and nothing but a line in Ray's log. Tune leaves references in cycles. A garbage
    collection in any thread could drop them just then: so they are collected before, and nothing is
    collected meanwhile.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if enabled:
            gc.enable()


def _workers_ahead(config: RunsConfig) -> dict[str, str]:
    """Variables for a Ray that starts here: which workers it starts in advance.

    It starts one a core. Where trials will use all of them, they import torch at once, so that they
    are ready when the driver is. Elsewhere, and where there are many, none is started: each would
    cost seconds, and memory.
    """
    cores = cores_here()
    trials = config.max_concurrent or cores
    if config.cpus_per_trial:
        trials = min(trials, int(cores / cores_of(config)))
    few = cores <= _MOST_AHEAD and trials >= cores and not config.gpus_per_trial
    return READY if few else NO_WORKERS


def _start_workers() -> None:
    """Start a worker a core for what follows, as Ray itself does for the first session."""
    start = ray.remote(num_cpus=1)(_nothing)
    for _ in range(cores_here()):
        start.remote()


def _nothing() -> None:
    pass


def _join(address: str, modules: list[str]) -> None:
    """Connect to a cluster; ``modules``: files and folders that its workers can import."""
    workers: dict[str, Any] = {"env_vars": WORKER_ENVIRONMENT}
    if modules:
        workers["py_modules"] = modules
    options: dict[str, Any] = {
        "address": address,
        "runtime_env": workers,
        "log_to_driver": False,
    }
    if address.startswith("ray://"):
        # The client does not take _LOGGING's options.
        logging.getLogger("ray").setLevel(logging.ERROR)
    else:
        options |= _LOGGING
    _knock(address)
    try:
        # Given auto, Ray takes this machine's token along, given the place it does not.
        _init_again(options)
    except Exception as error:
        # Ray has no one exception for this: also ValueError, RuntimeError, ImportError.
        leave_ray()
        lines = (str(error).strip() or type(error).__name__).splitlines()
        # The client's server answers with a traceback, whose last line is the reason.
        reason = " … ".join(line.strip()[:300] for line in dict.fromkeys((lines[0], lines[-1])))
        raise InputError(_no_cluster(address, reason)) from None


def _start_here(ahead: dict[str, str]) -> None:
    """Start Ray on this machine; ``ahead``: further variables.

    Its processes inherit the workers' variables. A runtime environment with them would cost a
    second: Ray starts workers in advance, and can use them only where there is no such environment.
    """
    # Ray counts the machine's cores; a process bound to some of them would train on those alone.
    cores = cores_here()
    share = {} if cores == os.cpu_count() else {"num_cpus": cores}
    variables = environment(WORKER_ENVIRONMENT | ahead)
    with on_loopback(), without_servers(), noticed_at_once(_import_tune), variables:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, **_LOGGING, **share)


def _import_tune() -> None:
    """What the driver needs next, while it waits for Ray: later it would take workers' time."""
    # What it raises here, Ray would take for its own.
    with suppress(Exception):
        import ray.tune  # noqa: F401


def _init_again(options: dict[str, Any]) -> None:
    """``ray.init``, several times if the client's server does not start.

    The cluster's head forks that server for each client, beside gRPC's threads. Now and then that
    ends the new process at once (Ray's issue 63202); the next one starts as usual.
    """
    for left in reversed(range(_CLIENT_TRIES)):
        try:
            ray.init(**options)
        except ConnectionAbortedError as error:
            if not left:
                raise
            log.warning("Ray's client server did not start, trying again: %s", error)
            leave_ray()
        else:
            return


def _knock(address: str) -> None:
    """Refuse an address where no Ray answers; Ray itself would try for minutes."""
    found = ""
    try:
        place = cluster_at(address)
        found = "" if place == address else f"{place}, to which it leads: "
        host, _, port = place.removeprefix("ray://").rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        # Ray's note may hold no address after a crash.
        raise InputError(_no_cluster(address, f"{found}{error}")) from None
    if os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
        return
    with grpc.insecure_channel(f"{host}:{port}", options=GRPC_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise InputError(_no_cluster(address, f"{found}something else answers")) from None


def _no_cluster(address: str, reason: str) -> str:
    return (
        f"address = {address!r}: no Ray cluster can be used there ({reason}). On a node of the "
        "cluster give auto or the head's HOST:PORT, from outside ray://HOST:10001, or use ray job "
        "submit; where it wants a token, set RAY_AUTH_MODE=token; leave --address out to run on "
        "this machine"
    )
