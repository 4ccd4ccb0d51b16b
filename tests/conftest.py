"""Fixtures shared by all tests: small real data, small real runs."""

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.servers import ObjectStore

# One thread a test: sums differ between thread counts, and two test processes share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Ray reads once in a process whether to use tokens, and other processes may have left one in the
# home folder: here every Ray, local or a cluster of several nodes, listens to nobody else.
os.environ["RAY_AUTH_MODE"] = "disabled"
# Ray starts workers, and the drivers of jobs, at niceness 15: beside other test processes they
# would wait until Ray loses patience.
os.environ.setdefault("RAY_worker_niceness", "0")

# What tests trust and keep is no business of whoever runs them.
for _home in ("CONFIG", "CACHE"):
    os.environ[f"XDG_{_home}_HOME"] = tempfile.mkdtemp(prefix=f"noise-tests-{_home.lower()}-")

# A loaded machine is slow; that is no failure of a property.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False)
# Each run draws the same: what fails is the change. --hypothesis-profile=explore draws anew.
settings.register_profile("explore", _patient)
settings.register_profile("noise", _patient, derandomize=True)
settings.load_profile("noise")

# A shell's background job ignores Ctrl-C, and what it starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests first: at the end no process waits long for another."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module")
def store() -> "Iterator[ObjectStore]":
    # Only now: what is set above holds for all that it imports.
    from tests.support.servers import object_store

    with object_store("bucket") as found:
        yield found
