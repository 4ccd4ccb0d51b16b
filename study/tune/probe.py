"""Whether every node of a cluster sees the storage and has the device, the code and the data."""

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
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
from trainables.code_identity import TIMM, CodeIdentity, changed_modules, code_identity
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset
from trainables.data.streamed import StreamedImages
from trainables.device import resolve_device
from trainables.errors import InputError
from trainables.models.pretrained import check_stored
from trainables.object_store import location
from trainables.own_import import import_own
from trainables.uris import redact_uri

_PROBE_SECONDS = 120.0
_STREAMED_SECONDS = 600.0
"""Where the node opens a data set, which may have a million files to list."""


@contextmanager
def joined(config: RunsConfig) -> Iterator[list[Node]]:
    """Stay connected to the cluster, after refusing one on which no run fits. Yields its nodes."""
    with ray_session(config):
        capacity(config)
        yield alive_nodes()


def probe_nodes(config: RunsConfig, nodes: list[Node], images: Sequence[Dataset] = ()) -> None:
    """Let each node that trains read a file in the storage, and find all that its runs need.

    Args:
        images: the data sets of the runs; what is streamed of them, each node must have.

    Raises:
        InputError: one can't. Nothing has been written by then.
    """
    token, storage = uuid.uuid4().hex, storage_of(config)
    nodes = [node for node in nodes if trials_on(node, config) != 0]
    codes, streamed = codes_here(config.train), streamed_of(images)
    seconds = _STREAMED_SECONDS if streamed else _PROBE_SECONDS
    with _token_file(storage, token) as place:
        # Its process ends with it: trials that another study of this driver starts in the same
        # one would find the code as it was imported here.
        read = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(look_from_node)
        answers = [
            read.options(
                num_gpus=config.gpus_per_trial,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            ).remote(place, codes, config.train, streamed)
            for node in nodes
        ]
        for node, answer in zip(nodes, answers, strict=True):
            try:
                content, problem = ray.get(answer, timeout=seconds)
            except ray.exceptions.GetTimeoutError:
                raise InputError(
                    f"{_ray_of(config)}: node {node.name} had no room for a look "
                    f"within {seconds:.0f} s: its GPUs are in use, or it hangs; try later"
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


def streamed_of(images: Sequence[Dataset]) -> list[StreamedImages]:
    """The data sets that each process reads itself, each by one of its parts."""
    return [each.train_images for each in images if isinstance(each.train_images, StreamedImages)]


def look_from_node(
    place: str,
    codes: Mapping[str, CodeIdentity],
    train: TrainConfig,
    streamed: Sequence[StreamedImages] = (),
) -> tuple[str, str]:
    """On a node: what the file holds, and why trials can't run there (empty: they can).

    ``codes``: the identities of code of one's own, as the driver has it.
    """
    try:
        resolve_device(train.device)
        check_stored(train.model)
        if train.model.classifier.startswith(TIMM):
            from trainables.models.timm_models import check_timm_name

            check_timm_name(train.model.classifier)
        for name, identity in codes.items():
            _check_same(name, identity)
        for name, setting in _imported(train).items():
            import_own(setting, name, "what the driver has")
        for images in streamed:
            images.check_here()
    except InputError as error:
        return "", str(error)
    try:
        return location(place).read_bytes().decode(), ""
    except OSError:
        return "", ""


def _check_same(name: str, identity: CodeIdentity) -> None:
    other = changed_modules(identity, code_identity(name))
    if other:
        raise InputError(
            f"{name}: {', '.join(other)} is not there, or another one than here, in "
            f"{os.getcwd()}; put the same files there, or into a folder that all nodes share, "
            "and start from it"
        )


def _imported(train: TrainConfig) -> dict[str, str]:
    """The names of code of one's own that workers import, each with the setting that names it.

    Data that are held in memory come from the driver, which alone imports what gives them.
    """
    settings = {name: setting for setting, name in train.own_names.items()}
    named = {name: settings.get(name, "metric") for name in own_code(train)}
    return {n: setting for n, setting in named.items() if setting != "dataset" or train.data.stream}


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
