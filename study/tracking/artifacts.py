"""Artifacts on their way to MLflow: one that can't be stored now waits, and holds up nothing."""

import json
import logging
from pathlib import Path

from study.tracking.reader import File, Reader, redacted
from study.tracking.runs import MlflowRuns
from study.tracking.types import StoreRefusedError, StoreUnavailableError

log = logging.getLogger(__name__)


class Artifacts:
    """Stores artifacts; ``left`` are those that could not be stored yet, and ``error`` says why.

    Other threads read ``left`` at any moment: nothing leaves it before it is stored.
    """

    def __init__(self, runs: MlflowRuns, folder: Path) -> None:
        """Nothing is read here; relative paths are meant from ``folder``."""
        self.left: list[File] = []
        self.error: str | None = None
        self._runs = runs
        self._folder = folder

    def store(self, file: File, reader: Reader) -> None:
        if not self._is_settled(file, reader):
            self.left.append(file)

    def try_again(self, reader: Reader) -> bool:
        """Try to store those that are left; whether any was stored."""
        waiting = list(self.left)
        still = [file for file in waiting if not self._is_settled(file, reader)]
        self.left[: len(waiting)] = still
        return len(still) != len(waiting)

    def _is_settled(self, file: File, reader: Reader) -> bool:
        """Try to store a file; False if it is to be tried again."""
        try:
            self._send(file, reader)
        except StoreRefusedError as error:
            log.error("MLflow refuses %s of %s: %s", file.path or "config.json", file.key, error)
        except StoreUnavailableError as error:
            self.error = str(error)
            return False
        return True

    def _send(self, file: File, reader: Reader) -> None:
        run_id, store = self._runs.ids.get(file.key), self._runs.store
        if run_id is None:
            return
        if file.path is not None:
            path = self._folder / file.path
            if path.is_file():
                store.log_file(run_id, path, file.folder)
            else:
                log.warning("%s is not there any more and is not stored in MLflow", path)
            return
        known = reader.runs.get(file.key)
        start = known.start if known else reader.study
        assert start is not None
        text = json.dumps(redacted(start.config), indent=2, ensure_ascii=False) + "\n"
        store.log_text(run_id, text, "config.json" if known else "study.json")
