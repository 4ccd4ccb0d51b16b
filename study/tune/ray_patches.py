"""Everything that touches Ray's private parts, each with its reason."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import ray.train._internal.storage as tune_storage
from ray import tune
from ray._private import ray_constants
from ray._private.node import Node as RayNode
from ray.tune.impl.tuner_internal import TunerInternal

_SERVERS = ("start_monitor", "start_api_server")


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that is started inside listen on 127.0.0.1 alone, as it does on a Mac.

    Otherwise each of its processes listens on all of the machine's interfaces, and whoever reaches
    one of them runs code here. The variable is for the processes that Ray starts.
    """
    usual, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        with environment({ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}):
            yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual


@contextmanager
def without_servers() -> Iterator[None]:
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
