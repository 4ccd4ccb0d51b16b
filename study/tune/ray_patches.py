"""Everything that touches Ray's private parts, each with its reason."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import ray
import ray._private.utils as ray_utils
import ray._private.worker as ray_worker
from ray._private import ray_constants, services
from ray._private.node import Node as RayNode
from ray._private.state import GlobalState

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

GRPC_OPTIONS = ray_constants.GLOBAL_GRPC_OPTIONS
"""What Ray itself connects with: never through a proxy. Asking an address must go the same way."""

_OF_THE_AGENT = (
    "aiohttp",
    "aiohttp_cors",
    "opencensus",
    "opentelemetry.exporter.prometheus",
    "opentelemetry.proto",
    "prometheus_client",
)
_NODE_SECONDS, _NODE_POLL = 30.0, 0.02


def cluster_at(address: str) -> str:
    """Where the cluster is: what ``auto`` leads to, by Ray's own rules; other addresses as given.

    Ray has no public way to ask without joining. It may be a cluster that is gone: Ray's note of
    the last one that this machine started or joined outlives a crash.

    Raises:
        ConnectionError: no cluster was started on this machine, or ``RAY_ADDRESS`` is ``local``.
    """
    if address != "auto":
        return address
    services.find_gcs_addresses.cache_clear()
    place: str | None = services.canonicalize_bootstrap_address(address)
    if place is None:
        raise ConnectionError("RAY_ADDRESS is local, which is no cluster")
    return place


@contextmanager
def noted_cluster() -> Iterator[None]:
    """Let ``auto`` mean inside the cluster that Ray's note names, if there is a note.

    Where another Ray runs on this machine, such as that of another study, Ray would take that one.
    """
    if ray_utils.read_ray_address() is None:
        yield
        return
    with _replaced(services, find_gcs_addresses=cache(frozenset)):
        yield


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
    """Let a Ray that starts inside leave out three servers that one machine does not need.

    The monitor adds and removes nodes. There are none to add; Ray waits a second for its start,
    and another second for its end. The dashboard's server starts even without a dashboard; all it
    does then is to report usage to Ray's makers. The log monitor sends what workers print to
    drivers that want it (``log_to_driver``); its start takes 0.4 s of a core from them.
    """

    def nothing(self: RayNode, **_: Any) -> None:
        pass

    def missing() -> ImportError | None:
        # Ray imports them all to know whether its agent can: a quarter of a second.
        try:
            known = all(find_spec(name) for name in _OF_THE_AGENT)
        except ImportError:
            known = False
        return None if known else ImportError("Ray's agent lacks libraries")

    dependencies = _replaced(ray_utils, get_dashboard_dependency_error=missing)
    names = "start_monitor", "start_api_server", "start_log_monitor"
    with dependencies, _replaced(RayNode, **dict.fromkeys(names, nothing)):
        yield


@contextmanager
def noticed_at_once(meanwhile: Callable[[], object]) -> Iterator[None]:
    """Let a Ray that starts inside go on as soon as its node is there.

    Ray asks once a second, and the node needs about one, in which ``meanwhile`` is called.
    """
    asked = GlobalState.get_node

    def get_node(self: GlobalState, node_id: str) -> Any:
        meanwhile()
        accessor = self._connect_and_get_accessor()
        end = time.monotonic() + _NODE_SECONDS
        while not accessor.get_node_table() and time.monotonic() < end:
            time.sleep(_NODE_POLL)
        return asked(self, node_id)

    with _replaced(GlobalState, get_node=get_node):
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
    # Ray starts without Tune, whose import takes a second: workers begin theirs meanwhile.
    import ray.train._internal.storage as tune_storage
    from ray import tune
    from ray.air._internal import usage
    from ray.tune.impl.tuner_internal import TunerInternal

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
    from ray.tune.execution import class_cache

    if not started_processes():
        yield
        return
    with _replaced(class_cache, DEFAULT_ENV_VARS={}, ENV_VARS_TO_PROPAGATE=frozenset()):
        yield


def keep_workers(controller: Any, trial: "Trial", more: int) -> None:
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


@contextmanager
def given_up_if(hopeless: Callable[["Trial"], bool]) -> Iterator[None]:
    """Let Tune not try a trial again whose failure is hopeless. It only counts failures."""
    from ray.tune.experiment import Trial

    usual = Trial.should_recover

    def should_recover(self: Trial) -> bool:
        return bool(usual(self)) and not hopeless(self)

    with _replaced(Trial, should_recover=should_recover):
        yield


def take_back_failure(trial: "Trial") -> None:
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
