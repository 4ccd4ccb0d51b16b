"""The skeleton of everything that runs many trainings: a search, a grid, a confirmation.

What every campaign does stands here, in its order; what a kind of campaign decides is what
``Campaign`` leaves open: what is missing, who is the baseline, what is written at the end.
"""

import errno
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from study.campaigns.images import left_out_note
from study.campaigns.live import Counted, live_view
from study.campaigns.live_requests import LiveRequests, to_be_stopped
from study.campaigns.phase import Phase
from study.campaigns.session import Session, connected
from study.config import RunsConfig
from study.errors import InterruptedStudyError, RayLostError, StudyFailedError
from study.records.events import StudyState
from study.records.folder import StudyFolder, storage_of
from study.tune.interrupts import interruptible
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset

if TYPE_CHECKING:  # Ray and MLflow are imported once all that can be refused is refused.
    from study.campaigns.wave import Wave
    from study.tracking.projector import LedgerProjector
    from study.tune.capacity import Capacity
    from study.tune.limits import Limits

FLUSH_SECONDS = 60.0
"""How long a campaign that ends waits for MLflow; what is left is sent later."""

FLUSH_SECONDS_AWAY = 10.0
"""The same where MLflow does not answer at the moment."""

SAME_COMMAND = "the same command"

Config = TypeVar("Config", bound=RunsConfig)
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Campaign(ABC, Generic[Config, Result]):
    """One process's part of a campaign, from the lock to the result.

    Attributes:
        images: each data set, with a run that trains on it; a task of one's own has none.
        objectives: what its tables show first.
        asked: what it asks, in a sentence.
        policy: the noise policy of the runs that set none themselves.
        again: the command that goes on with it.
        sends: the command that sends to MLflow what it lacks.
        stopped: keys of runs that a person ends.
    """

    config: Config
    session: Session
    images: Sequence[tuple[TrainConfig, Dataset]]
    objectives: tuple[str, ...]
    asked: str
    policy: str
    again: str = SAME_COMMAND
    sends: str = SAME_COMMAND
    stopped: set[str] = field(default_factory=set, init=False)
    _wave: "Wave | None" = field(default=None, init=False)
    _requests: LiveRequests = field(init=False)

    def __post_init__(self) -> None:
        self._requests = LiveRequests(self)

    # What each kind of campaign says.

    @abstractmethod
    def store(self) -> None:
        """Store the configuration."""

    @abstractmethod
    def counted(self) -> Counted:
        """What the live view counts."""

    @abstractmethod
    def is_complete(self) -> bool:
        """Whether nothing is left to train."""

    @abstractmethod
    def phases(self, room: "Capacity") -> Iterator[Phase]:
        """What is missing, in the order of training; each phase is asked for after the last."""

    @abstractmethod
    def write_end(self, ended: StudyState, projector: "LedgerProjector") -> Result:
        """Write the result, and that the campaign is over; wait for MLflow (``flush``)."""

    def kept(self) -> Result | None:
        """The result of a finished one in which nothing is to be looked at; None otherwise."""
        return None

    def import_ahead(self) -> None:
        """Import what its phases need, before MLflow is imported in its thread."""

    def all_told(self) -> None:
        """It is complete, and MLflow should have everything."""

    def put_in_order(self) -> None:
        """Repair what an earlier process left, and note what the reader must know."""
        self.session.put_in_order()
        for line in {left_out_note(dataset): None for _, dataset in self.images}:
            if line:
                self.session.note(line)

    def opening(self, room: "Capacity") -> str:
        return room.describe(self.config)

    def closing(self) -> None:
        """Note what the reader must know once all is trained."""

    def refusal(self, setting: str, limits: "Limits") -> str:
        """Why a setting can't be changed now, while it runs; empty if it can."""
        return "" if setting == "max_concurrent" else "it changes nothing in what runs now"

    def reconfigure(self, config: Config, limits: "Limits") -> None:
        """Go on with another configuration, in settings that can be changed now."""
        from study.tune.capacity import capacity

        limits.concurrent = capacity(config).concurrent
        self.config = config

    # What every campaign does.

    @property
    def folder(self) -> StudyFolder:
        return self.session.folder

    def to_the_end(self) -> Result:
        """Train what is missing, then write the result, however the training ended."""
        before = self.kept()
        if before is not None:
            self._say_complete()
            return before
        session = self.session
        self.store()
        session.begin(objectives=self.objectives, asked=self.asked)
        ended: StudyState = "failed"
        self.stopped |= to_be_stopped(session.state())
        with session.mirrored() as projector, self._requests.attended():
            try:
                self.put_in_order()
                with live_view(session.console, self.counted, self.folder.ledger):
                    self._train(projector)
                self.closing()
                ended = "complete"
            except KeyboardInterrupt:
                ended = "interrupted"
            except RayLostError:
                ended = "interrupted"
                raise
            finally:
                session.check_kept()
                result = self.write_end(ended, projector)
        if ended == "complete":
            self.all_told()
        if ended == "interrupted":
            raise InterruptedStudyError(
                f"{self.config.name}: interrupted; what is finished is kept. "
                f"Go on with: {self.again}"
            )
        return result

    def _train(self, projector: "LedgerProjector") -> None:
        config, say = self.config, self.session.say
        if self.is_complete():
            self._say_complete()
            return
        from study.tune.lost_ray import watched_ray

        with watched_ray(config, self.folder.ray_log, self.again):
            # Beside the workers, which take longer with what they import.
            from study.campaigns.wave import Wave
            from study.tune.capacity import capacity
            from study.tune.runner import put_datasets

            self.import_ahead()
            projector.begin_soon()
            room = capacity(config)
            say(self.opening(room))
            datasets = put_datasets(self.images, say)
            began = projector.begin
            self._wave = Wave(self, self.phases(room), self._requests.attend, datasets, began)
            self._wave.train()

    def _say_complete(self) -> None:
        self.session.say(f"{self.config.name}: complete already, nothing is left to run")

    def fail_unrecorded(self, what: str) -> NoReturn:
        """End the campaign because trainings have ended of which the ledger does not know."""
        error = self._wave.error if self._wave is not None else None
        why = f" ({type(error).__name__}: {error})" if error else ""
        raise StudyFailedError(
            f"{self.config.name}: {what}{why}. What is finished is kept; go on with: {self.again}"
        )

    def flush(self, projector: "LedgerProjector") -> bool:
        """Wait until MLflow has everything, and no longer than makes sense; whether it has."""
        away = projector.status.error is not None
        return projector.flush(timeout=FLUSH_SECONDS_AWAY if away else FLUSH_SECONDS)

    def say_unsent(self) -> None:
        self.session.say(
            f"MLflow does not have everything yet; it is kept, and sent by: {self.sends}"
        )


@contextmanager
def held(
    config: RunsConfig,
    folder: StudyFolder,
    images: Sequence[Dataset],
    again: str = SAME_COMMAND,
) -> Iterator[None]:
    """Hold what a campaign needs: the cluster, the folder's lock, the handling of interrupts.

    ``images``: its data sets, which are looked for on the nodes of a cluster where they stream.
    """
    stopping = interruptible(
        f"{config.name}: stopping; what is finished is kept. Once more ends it at once"
    )
    with _no_space_left(config, again), connected(config, images), folder.locked(), stopping:
        yield


@contextmanager
def _no_space_left(config: RunsConfig, again: str) -> Iterator[None]:
    """Turn a full disk into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StudyFailedError(
            f"{config.name}: no space left on the disk "
            f"({error.filename or storage_of(config).folder}). What is finished is kept; make "
            f"room, then go on with: {again}"
        ) from error


def command(verb: str, config: RunsConfig) -> str:
    return shlex.join(["noise-study", verb, config.name, *storage_of(config).words])
