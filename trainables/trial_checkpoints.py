"""Where a trial keeps and finds checkpoints: its own newest two, and its baseline's for forking.

The root is a folder that all workers see, or a place in an object store.

``ROOT/<key>/last.ckpt`` and ``previous.ckpt`` are what a retry or a resumed study goes on from;
``ROOT/<key>/final.ckpt`` holds the finished run with its best weights;
``ROOT/baseline-<digest>/epoch-00012.ckpt`` is a baseline after twelve epochs.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainables.checkpoint import encode, save_state
from trainables.files import write_atomically
from trainables.noise.fork import kept_epochs
from trainables.object_store import Location

log = logging.getLogger(__name__)

_SHARE_OF_TIME = 0.02
"""A trial spends at most this share of its time on checkpoints that only a failure would read."""


class TrialCheckpoints:
    """``problem``: why the first checkpoint that was not written was not; empty if all were."""

    def __init__(self, root: Location, key: str) -> None:
        self._root = root
        self._folder = root / key
        self._last_written = time.monotonic()
        self._cost = 0.0
        self.problem = ""

    def own(self) -> Iterator[Location]:
        """The trial's own checkpoints that exist, newest first."""
        for name in ("final.ckpt", "last.ckpt", "previous.ckpt"):
            path = self._folder / name
            if _exists(path):
                yield path

    def of_baseline(self, digest: str, latest: int) -> Iterator[Location]:
        """The baseline's checkpoints at or before epoch ``latest``, newest first."""
        folder = baseline_folder(self._root, digest)
        try:
            found: list[Location] = [*folder.glob("epoch-*")]
        except OSError as error:
            log.warning("%s: can't be read, nothing is forked from it: %s", folder, error)
            return
        by_epoch = {int(path.stem.removeprefix("epoch-")): path for path in found}
        for epoch in sorted(by_epoch, reverse=True):
            if epoch <= latest:
                yield by_epoch[epoch]

    def save_if_due(self, state: dict[str, Any]) -> None:
        """Write the newest state, unless that would take more than a small share of the time.

        A full disk is logged and survived: the previous checkpoint stays whole.
        """
        started = time.monotonic()
        if self._cost and started - self._last_written < self._cost / _SHARE_OF_TIME:
            return
        last = self._folder / "last.ckpt"
        with self._survived(last):
            content = encode(state)
            if last.exists():
                # The two are of one kind, which only the types don't say.
                last.replace(self._folder / "previous.ckpt")  # type: ignore[arg-type]
            write_atomically(last, content)
        self._last_written = time.monotonic()
        self._cost = self._last_written - started

    def save_final(self, state: dict[str, Any]) -> None:
        """Write the finished run and drop what a failure would have needed."""
        with self._survived(self._folder / "final.ckpt"):
            save_state(self._folder / "final.ckpt", state)
            for name in ("last.ckpt", "previous.ckpt"):
                _remove(self._folder / name)

    def save_for_forks(
        self, state: dict[str, Any], digest: str, *, done: int, epochs: int, first: int, budget: int
    ) -> None:
        """Keep the baseline's state after ``done`` epochs if trials are to fork from it."""
        if done < max(1, first) or done >= epochs:
            return
        path = baseline_folder(self._root, digest) / f"epoch-{done:05d}.ckpt"
        if _exists(path):
            return
        content = encode(state)
        if done not in kept_epochs(first, epochs, len(content), budget):
            return
        with self._survived(path):
            write_atomically(path, content)

    @contextmanager
    def _survived(self, path: Location) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("%s: not written, training goes on without it: %s", path, error)
            lines = (error.strerror or str(error)).splitlines() or [type(error).__name__]
            # The first one tells; more of them would say the same in other words.
            problem = f"{path.name} not written ({lines[0]}): trained on without"
            self.problem = self.problem or problem


def baseline_folder(root: Location, digest: str) -> Location:
    return root / f"baseline-{digest}"


def _exists(path: Location) -> bool:
    """Whether a file is there; one in an object store that does not answer is not."""
    try:
        return path.exists()
    except OSError as error:
        log.warning("%s: can't be looked for: %s", path, error)
        return False


def _remove(path: Location) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: not removed: %s", path, error)
