"""What can be watched: a study with its confirmation, a grid, a single run.

Everything is read from the files, so that any process may watch, and nothing that runs knows of it.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.reading import METRICS_FILE, GridView, load_study, read_rows
from analysis.report.grid_report import grid_page
from analysis.report.page import Page
from analysis.report.run_report import begun_page, load_run, run_page, run_settings
from analysis.report.sections import build_page, sections
from study.campaigns.confirm_plan import config_file, confirm_folder, stored_confirmation
from study.campaigns.confirmation import Confirmation
from study.campaigns.counted import confirm_counted, grid_counted, search_counted
from study.campaigns.experiment_grid import ExperimentConfig
from study.campaigns.live import Clock, Counted, headline, progress
from study.config import StudyConfig
from study.formats import duration
from study.records.events import now_ms
from study.records.file_lock import is_held
from study.records.folder import StudyFolder, open_study
from study.records.ledger_view import LedgerState, LedgerView
from study.records.remote_lock import is_alive
from study.records.storage import Storage
from trainables.errors import InputError
from trainables.object_store import ObjectPath

_QUIET_SECONDS = 10.0
"""As long as records have not grown, whether a process still runs is asked for no oftener."""

_FETCH_SECONDS = 30.0
"""How often an object store is asked for newer records."""

_NOT_EVALUATED = (
    "While it is watched, accuracy by class and sharpness are left out: the same command without "
    "--watch has them."
)


@dataclass(frozen=True)
class Status:
    """How far it is, at one moment.

    Attributes:
        state: ``running``, ``finished`` or ``stopped`` (nothing trains it).
        line: what has been trained, in words; ``left``: how long it goes on.
        done, wanted: epochs.
    """

    state: str
    line: str
    left: str
    done: int
    wanted: int


class WatchedRecords(ABC):
    """What is watched. One thread at a time may ask."""

    name: str

    @abstractmethod
    def stamp(self) -> str:
        """A word that changes with the records."""

    @abstractmethod
    def status(self) -> Status: ...

    @abstractmethod
    def page(self) -> Page: ...


def sizes(paths: Iterable[Path]) -> str:
    """The sizes and times of files, in a word."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
            found.append(f"{stat.st_size}.{stat.st_mtime_ns}")
        except OSError:
            found.append("")
    return "-".join(found)


class _Liveness:
    """Whether a process holds a lock; one whose records grow does, and is not asked.

    ``remote``: where an object store has the study, whose lock is there.
    """

    def __init__(self, remote: ObjectPath | None = None) -> None:
        self._remote = remote
        self._pause = _QUIET_SECONDS if remote is None else _FETCH_SECONDS
        self._seen = ""
        self._asked = 0.0
        self._held = True

    def holds(self, lock: Path, stamp: str) -> bool:
        now = time.monotonic()
        if stamp != self._seen:
            first = not self._seen
            self._seen, self._held = stamp, True
            # What was not seen to grow may have ended long ago.
            self._asked = now - self._pause if first else now
        if now - self._asked >= self._pause:
            self._asked = now
            self._held = is_held(lock) or (self._remote is not None and is_alive(self._remote))
        return self._held


class WatchedCampaign(WatchedRecords):
    """What has a ledger: what is common to a study and a grid."""

    def __init__(self, folder: StudyFolder) -> None:
        self.name = folder.path.name
        self._folder = folder
        self._views: dict[Path, LedgerView] = {}
        self._clocks: dict[Path, Clock] = {}
        self._holder = _Liveness(folder.remote)
        self._fetched = time.monotonic()

    def _fetch(self) -> None:
        """Bring what another machine has added, where the study is in an object store."""
        now = time.monotonic()
        if self._folder.remote is not None and now - self._fetched > _FETCH_SECONDS:
            self._fetched = now
            self._folder.fetch()

    def _state(self, folder: StudyFolder) -> LedgerState:
        view = self._views.setdefault(folder.ledger, LedgerView(folder.ledger))
        return view.refresh()

    def _told(self, folder: StudyFolder, counted: Counted, state: LedgerState) -> Status:
        """How far the campaign in a folder is."""
        state = counted.of(state)
        now = progress(counted, state)
        over = state.study is not None and state.study.state == "complete"
        running = not over and self._holder.holds(folder.lock, sizes([folder.ledger]))
        since = state.study.since if state.study else now_ms()
        left = ""
        if running:
            # It remembers how many were trained at once.
            clock = self._clocks.setdefault(folder.ledger, Clock())
            clock.since = since
            elapsed = max(0.0, (now_ms() - since) / 1000)
            left = f"{duration(elapsed)} so far{clock.left(counted, state, elapsed)}"
        word = "finished" if over else "running" if running else "stopped"
        return Status(word, headline(counted, now), left, now.epochs_done, now.epochs_wanted)


class WatchedStudy(WatchedCampaign):
    """A study; its confirmation, as soon as there is one."""

    def __init__(self, where: Storage, name: str) -> None:
        super().__init__(open_study(where, name))
        self._where = where

    def stamp(self) -> str:
        self._fetch()
        folder, home = self._folder, confirm_folder(self._folder)
        return sizes([folder.config, folder.ledger, config_file(folder), home.ledger])

    def status(self) -> Status:
        study, state = self._stored(), self._state(self._folder)
        confirm = stored_confirmation(self._folder)
        if confirm is None or not all(trial in state.trials for trial in confirm.trials):
            return self._told(self._folder, search_counted(study), state)
        home = confirm_folder(self._folder)
        now = self._state(home)
        begun = Confirmation(self._folder, study, state, confirm, now)
        settings = study.model_copy(update={"name": f"{study.name}-confirm"})
        told = self._told(home, confirm_counted(begun, settings), now)
        return replace(told, line=f"confirmation: {told.line}")

    def page(self) -> Page:
        view = load_study(self._where, self.name)
        return build_page(view, sections(view, _NOT_EVALUATED))

    def _stored(self) -> StudyConfig:
        found = self._folder.stored_config()
        if found is None:
            raise InputError(f"name = {self.name!r}: its records are gone")
        return found


class WatchedGrid(WatchedCampaign):
    def __init__(self, view: GridView) -> None:
        super().__init__(view.folder)
        self._config: ExperimentConfig = view.config

    def stamp(self) -> str:
        self._fetch()
        if not self._folder.experiment.exists():
            raise InputError(f"name = {self.name!r}: its records are gone")
        return sizes([self._folder.experiment, self._folder.ledger])

    def status(self) -> Status:
        counted = grid_counted(self._config)
        return self._told(self._folder, counted, self._state(self._folder))

    def page(self) -> Page:
        return grid_page(GridView(self._folder, self._config, self._state(self._folder)))


class WatchedRun(WatchedRecords):
    """A single run, from its configuration on: it need not have a whole epoch yet."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.resolve().name
        self._folder = folder
        self._config = run_settings(folder)
        self._holder = _Liveness()
        self._began: tuple[float, int] | None = None

    def stamp(self) -> str:
        return sizes(self._folder / name for name in ("config.json", METRICS_FILE, _RESULT))

    def status(self) -> Status:
        rows = self._folder / METRICS_FILE
        done = len(read_rows(rows)) if rows.is_file() else 0
        over = (self._folder / _RESULT).exists()
        lock = self._folder.resolve().parent / f".{self.name}.lock"
        running = not over and self._holder.holds(lock, self.stamp())
        word = "finished" if over else "running" if running else "stopped"
        wanted = self._config.epochs
        line = f"{done} of {wanted} epochs"
        return Status(word, line, self._left(done, wanted) if running else "", done, wanted)

    def _left(self, done: int, wanted: int) -> str:
        """By the epochs that were seen to be trained; empty before one was."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, done
        began, before = self._began
        if done <= before:
            return ""
        return f"about {duration((now - began) / (done - before) * (wanted - done))} left"

    def page(self) -> Page:
        rows = self._folder / METRICS_FILE
        if not rows.is_file() or not read_rows(rows):
            return begun_page(self.name, self._config)
        return run_page(load_run(self._folder))


_RESULT = "final_metrics.json"
