"""Whether every node of a cluster sees the storage, has the code and finds the device."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.config import RunsConfig
from study.records.folder import storage_of
from study.records.storage import Storage
from study.tune.address import address_of
from study.tune.capacity import Node, alive_nodes, capacity, trials_on
from study.tune.connect import ray_session
from study.tune.shipped_code import own_code
from trainables.code_identity import CodeIdentity, changed_modules, code_identity
from trainables.config import ModelConfig, TrainConfig
from trainables.device import resolve_device
from trainables.errors import InputError
from trainables.models.pretrained import check_stored
from trainables.object_store import location
from trainables.uris import redact_uri

_PROBE_SECONDS = 120.0


@contextmanager
def joined(config: RunsConfig) -> Iterator[list[Node]]:
    """Stay connected to the cluster, after refusing one on which no run fits. Yields its nodes."""
    with ray_session(config):
        capacity(config)
        yield alive_nodes()


def probe_nodes(config: RunsConfig, nodes: list[Node]) -> None:
    """Let each node that trains read a file in the storage and find the device.

    Raises:
        InputError: one can't. Nothing has been written by then.
    """
    token, storage = uuid.uuid4().hex, storage_of(config)
    nodes = [node for node in nodes if trials_on(node, config) != 0]
    codes = codes_here(config.train)
    with _token_file(storage, token) as place:
        read = ray.remote(num_cpus=0, max_retries=0)(look_from_node)
        answers = [
            read.options(
                num_gpus=config.gpus_per_trial,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            ).remote(place, config.train.device, codes, config.train.model)
            for node in nodes
        ]
        for node, answer in zip(nodes, answers, strict=True):
            try:
                content, problem = ray.get(answer, timeout=_PROBE_SECONDS)
            except ray.exceptions.GetTimeoutError:
                raise InputError(
                    f"{_ray_of(config)}: node {node.name} had no room for a look "
                    f"within {_PROBE_SECONDS:.0f} s: its GPUs are in use, or it hangs; try later"
                ) from None
            except Exception as error:
                raise InputError(
                    f"{_ray_of(config)}: node {node.name} can't run this project "
                    f"{reason_and_remedy(error)}"
                ) from None
            if problem:
                raise InputError(f"{problem} (on node {node.name})")
            if content != token:
                raise InputError(_not_shared(storage, node))


def _ray_of(config: RunsConfig) -> str:
    address = address_of(config)
    return "the Ray that runs here" if address is None else f"address = {address!r}"


def reason_and_remedy(error: Exception) -> str:
    """Why a node could not be looked at, and what helps, in one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = redact_uri(lines[-1])
    remedy = "install it there, in the same version"
    if "runtime_env file package" in reason:
        # A job that has just ended takes the package along that the next one found there.
        remedy = "Ray has dropped the code that was sent along: give the same command again"
    return f"({reason[:200]}); {remedy}"


def codes_here(train: TrainConfig) -> dict[str, CodeIdentity]:
    """The identities of code of one's own, metrics too, as this process has it."""
    return {name: code_identity(name) for name in own_code(train)}


def look_from_node(
    place: str, device: str, codes: Mapping[str, CodeIdentity], model: ModelConfig
) -> tuple[str, str]:
    """On a node: what the file holds, and why trials can't run there (empty: they can).

    ``codes``: the identities of code of one's own, as the driver has it.
    """
    try:
        resolve_device(device)
        check_stored(model)
    except InputError as error:
        return "", str(error)
    for name, identity in codes.items():
        other = changed_modules(identity, code_identity(name))
        if other:
            return "", (
                f"{name}: {', '.join(other)} is not there, or another one than here, in "
                f"{os.getcwd()}; put the same files there, or into a folder that all nodes share, "
                "and start from it"
            )
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
    """A file in the storage that holds the token; the storage is as before afterwards."""
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
