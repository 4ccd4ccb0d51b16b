"""Ray, on this machine or a cluster: connect, count what fits, refuse what can't work there."""

import gc
import logging
import os
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import ray
import ray.train._internal.storage as tune_storage
from ray import tune
from ray._private import ray_constants
from ray._private.node import Node as RayNode
from ray.tune.impl.tuner_internal import TunerInternal
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import RunsConfig
from study.preflight import address_of
from study.records.folder import storage_of
from study.records.storage import Storage
from trainables.device import resolve_device
from trainables.errors import InputError
from trainables.object_store import location
from trainables.uris import redact_uri

log = logging.getLogger(__name__)

WORKER_ENVIRONMENT = {
    # glibc gives large blocks back to the system after every batch; half of TinyCNN's time was
    # page faults. It must stand in the process's environment before it starts.
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Interrupts are ours to handle (study.interrupts).
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A snapshot of the experiment is of no use to us: make it rare.
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
}

_LOGGING: dict[str, Any] = {"logging_level": logging.ERROR, "configure_logging": True}

_SERVERS = ("start_monitor", "start_api_server")

_CONNECT_SECONDS = 10.0
_CLIENT_TRIES = 3
_PROBE_SECONDS = 120.0
_EPSILON = 1e-9


# Connecting


@contextmanager
def ray_session(config: RunsConfig) -> Iterator[None]:
    """Connect to Ray, or start it on this machine, and leave it as it was.

    Raises:
        InputError: if there is no cluster at the address.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _QUIET.items()})
    started = not ray.is_initialized()
    if started:
        _connect(address_of(config))
    try:
        yield
    finally:
        if started:
            leave_ray()


def leave_ray() -> None:
    """``ray.shutdown``, safe beside other threads, such as the one that writes to MLflow.

    While Ray shuts down, a reference of its that is dropped ends the whole process at once, with
    exit code 1 and nothing but a line in Ray's log. Tune leaves references in cycles, and a garbage
    collection in any thread may drop them just then: so they go before, and none is collected
    meanwhile.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if enabled:
            gc.enable()


def _connect(address: str | None) -> None:
    if address is None:
        _start_here()
        return
    options: dict[str, Any] = {
        "address": address,
        "runtime_env": {"env_vars": WORKER_ENVIRONMENT},
        "log_to_driver": False,
    }
    if address.startswith("ray://"):
        # What the options below do, the client does not take.
        logging.getLogger("ray").setLevel(logging.ERROR)
    else:
        options |= _LOGGING
    _knock(address)
    try:
        _init_again(options)
    except Exception as error:
        # Ray has no one exception for this: also ValueError, RuntimeError, ImportError.
        leave_ray()
        lines = (str(error).strip() or type(error).__name__).splitlines()
        # What the client's server says is a traceback, with the reason in its last line.
        reason = " … ".join(line.strip()[:300] for line in dict.fromkeys((lines[0], lines[-1])))
        raise InputError(_no_cluster(address, reason)) from None


def _start_here() -> None:
    """Start Ray on this machine.

    Its processes inherit the workers' variables. In a runtime environment they would cost a second:
    Ray starts workers in advance, which are of use only where there is none.
    """
    with _on_loopback(), _without_servers(), _environment(WORKER_ENVIRONMENT):
        ray.init(address="local", include_dashboard=False, log_to_driver=False, **_LOGGING)


def _init_again(options: dict[str, Any]) -> None:
    """``ray.init``, several times if the client's server does not start.

    The cluster's head forks that server for each client, beside gRPC's threads, which now and then
    ends the new process at once (Ray's issue 63202); the next one starts as if nothing had been.
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


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that is started inside listen on 127.0.0.1 alone, as it does on a Mac.

    Otherwise each of its processes listens on all of the machine's interfaces, and whoever reaches
    one of them runs code here. The variable is for the processes that Ray starts.
    """
    usual, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        with _environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual


@contextmanager
def _without_servers() -> Iterator[None]:
    """Let a Ray that is started inside do without what is of no use on one machine.

    The monitor adds and removes nodes, of which there are none; Ray waits a second for its start,
    and another one, in vain, for it to end by itself. The dashboard's server, which Ray starts even
    without a dashboard, only reports usage to Ray's makers.
    """
    usual = {name: getattr(RayNode, name) for name in _SERVERS}
    try:
        for name in _SERVERS:
            setattr(RayNode, name, lambda self, **_: None)
        yield
    finally:
        for name, method in usual.items():
            setattr(RayNode, name, method)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
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


def _knock(address: str) -> None:
    """Refuse an address where nobody is, or something else: Ray itself tries for minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(_no_cluster(address, str(error))) from None
    if os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}:
        return
    # As Ray's own: never through a proxy.
    options = ray_constants.GLOBAL_GRPC_OPTIONS
    with grpc.insecure_channel(f"{host}:{port}", options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_SECONDS)
        except grpc.FutureTimeoutError:
            raise InputError(_no_cluster(address, "something else answers")) from None


def _no_cluster(address: str, reason: str) -> str:
    return (
        f"address = {address!r}: no Ray cluster can be used there ({reason}). On a node of the "
        "cluster give auto or the head's HOST:PORT, from outside ray://HOST:10001, or use ray job "
        "submit; leave --address away to run on this machine"
    )


# What fits


class Node(NamedTuple):
    """A node that is alive: Ray's id, its address, its logical cores and GPUs."""

    id: str
    host: str
    cpus: float
    gpus: float

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.host} ({self.id[:8]})"


def alive_nodes() -> list[Node]:
    """The nodes of the cluster that Ray is connected to."""
    nodes = []
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            cpus, gpus = float(has.get("CPU", 0)), float(has.get("GPU", 0))
            nodes.append(Node(node["NodeID"], node["NodeManagerAddress"], cpus, gpus))
    return nodes


def several_nodes() -> bool:
    """Whether Ray is connected to a cluster of more than one node."""
    return len(alive_nodes()) > 1


def trials_on(node: Node, config: RunsConfig) -> int | None:
    """How many trials fit on a node; None: any number, they ask for nothing.

    A GPU's fractions are packed whole: 0.4 of one packs two, not two and a half.
    """
    share = config.gpus_per_trial
    limits = []
    if config.cpus_per_trial:
        limits.append(int(node.cpus / config.cpus_per_trial + _EPSILON))
    if 0 < share < 1:
        limits.append(int(node.gpus) * int(1 / share + _EPSILON))
    elif share:
        limits.append(int(node.gpus / share + _EPSILON))
    return min(limits, default=None)


@dataclass(frozen=True)
class Capacity:
    """What the nodes that can run trials offer, and how many trials run at once on them."""

    cpus: float
    gpus: float
    concurrent: int
    nodes: int = 1

    def describe(self, config: RunsConfig) -> str:
        """One line for the start of a study."""
        gpu = ""
        if config.gpus_per_trial:
            gpu = f", {self.gpus:g} GPUs ({packing(config.gpus_per_trial)})"
        where = f" on {self.nodes} nodes" if self.nodes > 1 else ""
        return (
            f"{self.concurrent} trials at once: {self.cpus:g} cores{where}, "
            f"{config.cpus_per_trial:g} a trial{gpu}"
        )


def packing(share: float) -> str:
    """What a trial's share of GPUs means: ``3 trials share a GPU, 0.1 of it is left over``."""
    if share >= 1:
        return f"{share:g} GPUs each"
    fit = int(1 / share + _EPSILON)
    left = 1 - fit * share
    text = f"{fit} trials share a GPU" if fit > 1 else "one trial a GPU"
    return text if left < _EPSILON else f"{text}, {left:.2g} of it is left over"


def capacity(config: RunsConfig) -> Capacity:
    """How many trials fit on what Ray has: on each node by itself.

    Raises:
        InputError: if not even one does.
    """
    nodes = alive_nodes()
    fits = [trials_on(node, config) for node in nodes]
    limits = [] if None in fits else [sum(fit or 0 for fit in fits)]
    if config.max_concurrent is not None:
        limits.append(config.max_concurrent)
    concurrent = min(limits, default=1)
    if concurrent < 1:
        has = "; ".join(
            f"{'this machine' if len(nodes) == 1 else node.name} has {node.cpus:g} cores and "
            f"{node.gpus:g} GPUs"
            for node in nodes[:4]
        )
        raise InputError(
            f"cpus_per_trial = {config.cpus_per_trial:g}, gpus_per_trial = "
            f"{config.gpus_per_trial:g}: no trial fits, {has}"
        )
    used = [node for node, fit in zip(nodes, fits, strict=True) if fit != 0]
    return Capacity(
        cpus=sum(node.cpus for node in used),
        gpus=sum(node.gpus for node in used),
        concurrent=concurrent,
        nodes=len(used),
    )


# What can't work on a cluster


@contextmanager
def cluster(config: RunsConfig) -> Iterator[None]:
    """Stay connected to the cluster, once it is known that the runs can work on it.

    Raises:
        InputError: if they can't, with the remedy; nothing has been written.
    """
    with ray_session(config):
        capacity(config)
        storage, nodes = storage_of(config), alive_nodes()
        if len(nodes) > 1:
            check_tracking_shared(config, storage, len(nodes))
        if len(nodes) > 1 or address_of(config) is not None:
            probe_nodes(config, storage, [node for node in nodes if trials_on(node, config) != 0])
        yield


def check_tracking_shared(config: RunsConfig, storage: Storage, nodes: int) -> None:
    """Refuse a tracking store that is a file of this machine.

    Raises:
        InputError: with the remedy.
    """
    given = config.tracking_uri
    if given is None and storage.remote is not None:
        return  # It lies in the work folder, and is copied to the object store.
    if given is not None and not given.startswith("sqlite"):
        return
    what = "STORAGE/mlflow.db, the default" if given is None else redact_uri(given)
    raise InputError(
        f"tracking_uri = {what}: a database in a file of this machine, but the cluster has {nodes} "
        "nodes; start a server, e.g. mlflow server --host HOST --port 5000 --backend-store-uri "
        "sqlite:////FOLDER/mlflow.db, and give --tracking-uri http://HOST:5000"
    )


def probe_nodes(config: RunsConfig, storage: Storage, nodes: list[Node]) -> None:
    """Let each node that trials may run on read a file in the storage, and find the device.

    Raises:
        InputError: naming the first node that can't, with the remedy.
    """
    token = uuid.uuid4().hex
    with _token_file(storage, token) as place:
        read = ray.remote(num_cpus=0, max_retries=0)(_look)
        answers = [
            read.options(
                num_gpus=config.gpus_per_trial,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            ).remote(place, config.train.device)
            for node in nodes
        ]
        for node, answer in zip(nodes, answers, strict=True):
            try:
                found, problem = ray.get(answer, timeout=_PROBE_SECONDS)
            except ray.exceptions.GetTimeoutError:
                raise InputError(
                    f"address = {address_of(config)!r}: node {node.name} had no room for a look "
                    f"within {_PROBE_SECONDS:.0f} s: its GPUs are in use, or it hangs; try later"
                ) from None
            except Exception as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                raise InputError(
                    f"address = {address_of(config)!r}: node {node.name} can't run this project "
                    f"({redact_uri(lines[-1])[:300]}); install it there, in the same version"
                ) from None
            if problem:
                raise InputError(f"{problem} (on node {node.name})")
            if found != token:
                raise InputError(_not_shared(storage, node))


def _look(place: str, device: str) -> tuple[str, str]:
    """On a node: what the file holds, and why the device can't be used (empty: it can)."""
    try:
        resolve_device(device)
    except InputError as error:
        return "", str(error)
    try:
        return location(place).read_bytes().decode(), ""
    except OSError:
        return "", ""


def _not_shared(storage: Storage, node: Node) -> str:
    if storage.remote is not None:
        return (
            f"storage = {storage.shown}: node {node.name} can't read it; let it reach the store, "
            "with credentials in its environment or in the URI"
        )
    relative = (
        ""
        if Path(storage.given).expanduser().is_absolute()
        else (" (a relative path, from the folder that this command was started in)")
    )
    return (
        f"storage = {storage.given!r}{relative}: node {node.name} does not see {storage.folder}; "
        "give a folder that all nodes share (NFS, say), or an object store such as "
        "--storage s3://BUCKET/FOLDER"
    )


@contextmanager
def _token_file(storage: Storage, token: str) -> Iterator[str]:
    """A file in the storage that holds the token; afterwards the storage is as it was."""
    name = f".noise-study-{token[:8]}"
    if storage.remote is not None:
        place = storage.remote / name
        try:
            place.write_bytes(token.encode())
        except OSError as error:
            first = str(error).splitlines()[0][:300]
            raise InputError(f"storage = {storage.shown}: can't be written ({first})") from None
        try:
            yield place.uri
        finally:
            # Credentials may write, but not remove.
            with suppress(OSError):
                place.unlink(missing_ok=True)
        return
    made = [path for path in (storage.folder, *storage.folder.parents) if not path.exists()]
    file = storage.folder / name
    try:
        storage.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(token, encoding="utf-8")
        yield str(file)
    finally:
        file.unlink(missing_ok=True)
        # Another study may use the folder by now.
        with suppress(OSError):
            for path in made:
                path.rmdir()


# Tune through Ray's client


def fit(**settings: Any) -> None:
    """Run Tune in this process, through Ray's client (``ray://``) too.

    There Tune would move itself, callbacks and searcher included, to the cluster, which sees
    neither the ledger nor the journal. Its loop stays here instead; all that it lacks is Ray's
    session folder, in which it would keep files of the driver's.

    Args:
        settings: what ``tune.Tuner`` takes.
    """
    if not ray.util.client.ray.is_connected():
        tune.Tuner(**settings).fit()
        return
    inner = TunerInternal(**settings, _tuner_kwargs={"_remote": False})
    usual = tune_storage._get_ray_train_session_dir
    with tempfile.TemporaryDirectory(prefix="noise-study-") as folder:
        tune_storage._get_ray_train_session_dir = lambda: folder
        try:
            inner.fit()
        finally:
            tune_storage._get_ray_train_session_dir = usual
