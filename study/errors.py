"""How a study, an experiment or a confirmation can end without its result."""

from pathlib import Path


class StudyFailedError(RuntimeError):
    """The study could not give a result; the message says why. Nothing finished is lost.

    The commands print its message alone and exit with code 1.
    """


class RecordsRemovedError(StudyFailedError):
    """Somebody removed the ledger, or its folder, while the study ran."""

    def __init__(self, ledger: Path) -> None:
        super().__init__(
            f"{ledger}: was removed or replaced while the study ran, which ends here; what it had "
            "recorded is lost. Put the folder back and go on with resume, or run the study again"
        )


class RayLostError(StudyFailedError):
    """Ray died under the study: it goes on, as after a kill, once there is one again."""


class InterruptedStudyError(RuntimeError):
    """The study was interrupted; the message says how to go on.

    The commands print it and exit with code 130.
    """
