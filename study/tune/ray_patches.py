"""Everything that touches Ray's private parts, each with its reason."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import ray._private.worker as ray_worker
import ray.train._internal.storage as tune_storage
from ray import tune
from ray._private import ray_constants
from ray._private.node import Node as RayNode
from ray.air._internal import usage
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.impl.tuner_internal import TunerInternal

GRPC_OPTIONS = ray_constants.GLOBAL_GRPC_OPTIONS
"""What Ray itself connects with: never through a proxy. Asking an address must go the same way."""


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that starts inside listen on 127.0.0.1 alone, as it does on a Mac.

    Otherwise each of its processes listens on all of the machine's interfaces, and whoever reaches
    one of them runs code here. The constant is for this process, the variable for those that Ray
    starts.
    """
    variable = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    with _replaced(ray_constants, ENABLE_RAY_CLUSTER=False), environment(variable):
        yield


@contextmanager
def without_servers() -> Iterator[None]:
    """Let a Ray that starts inside leave out two servers that one machine does not need.

    The monitor adds and removes nodes. There are none to add; Ray waits a second for its start,
    and another second for its end. The dashboard's server starts even without a dashboard; all it
    does then is to report usage to Ray's makers.
    """

    def nothing(self: RayNode, **_: Any) -> None:
        pass

    with _replaced(RayNode, start_monitor=nothing, start_api_server=nothing):
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for processes that are started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def started_processes() -> dict[str, "subprocess.Popen[bytes]"]:
    """The processes without which a Ray that this process started can't go on; else none."""
    node = ray_worker._global_node
    started = node.all_processes if node is not None else {}
    kinds = (ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET)
    return {kind: info.process for kind in kinds for info in started.get(kind, ())}


@contextmanager
def messages_pass(passes: Callable[[str], bool]) -> Iterator[None]:
    """Ask which messages of Ray's processes are printed here.

    They come to the driver through the head, and are printed by a thread; there is no hook.
    """
    usual = ray_worker.print_to_stdstream

    def printed(data: Mapping[str, Any], *arguments: Any, **named: Any) -> None:
        if data.get("pid") == "raylet":
            data = {**data, "lines": [line for line in data["lines"] if passes(line)]}
        if data["lines"]:
            usual(data, *arguments, **named)

    with _replaced(ray_worker, print_to_stdstream=printed):
        yield


def fit(**settings: Any) -> None:
    """Run Tune in this process, through Ray's client (``ray://``) too.

    There Tune would move itself, callbacks and searcher included, to the cluster, which sees
    neither the ledger nor the journal. Its loop stays here instead; all that it lacks is Ray's
    session folder, in which it would keep files of the driver's. Telling Ray's makers which
    callbacks are used would import MLflow and others; it is left out.
    """
    with _replaced(usage, tag_callbacks=lambda callbacks: False), _workers_started_ahead():
        if not ray.util.client.ray.is_connected():
            tune.Tuner(**settings).fit()
            return
        inner = TunerInternal(**settings, _tuner_kwargs={"_remote": False})
        with (
            tempfile.TemporaryDirectory(prefix="noise-study-") as folder,
            _replaced(tune_storage, _get_ray_train_session_dir=lambda: folder),
        ):
            inner.fit()


@contextmanager
def _workers_started_ahead() -> Iterator[None]:
    """Let Tune use the workers that a Ray of this process's own has started in advance.

    Tune asks for workers with some variables in a runtime environment, and those that are there
    have none. On this machine they inherit all variables anyway (``WORKER_ENVIRONMENT``).
    """
    if not started_processes():
        yield
        return
    with _replaced(class_cache, DEFAULT_ENV_VARS={}, ENV_VARS_TO_PROPAGATE=frozenset()):
        yield


def keep_workers(controller: Any, trial: Trial, more: int) -> None:
    """Let Tune keep so many more free workers for trials still to come; negative: fewer.

    Tune keeps one, and ends the others: it does not know that there will be more trials.
    """
    controller._actor_cache.increase_max(trial.placement_group_factory, by=more)


def drop_dead_workers(controller: Any) -> None:
    """Let Tune forget free workers that have died, such as those that the system had no memory for.

    It would notice only when it gives one a trial, and then fail that trial without another try.
    """
    cache, live = controller._actor_cache, controller._actor_manager
    for kept in cache._cached_objects.values():
        for worker in list(kept):
            handle, _ = live._live_actors_to_ray_actors_resources[worker]
            try:
                ray.get(handle.get_current_ip_pid.remote())
            except ray.exceptions.RayActorError:
                kept.remove(worker)
                cache._num_cached_objects -= 1
                controller._remove_actor(tracked_actor=worker)


def take_back_failure(trial: Trial) -> None:
    """Let Tune forget one failure of a trial, which it has no way to be told."""
    # A failure that Ray itself takes for a preemption is not counted in the first place.
    trial.run_metadata.num_failures = max(0, trial.run_metadata.num_failures - 1)


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    usual = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in usual.items():
            setattr(owner, name, value)
