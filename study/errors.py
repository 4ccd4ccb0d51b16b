"""How a study, an experiment or a confirmation can end without its result."""


class StudyFailedError(RuntimeError):
    """The study could not give a result; the message says why. Nothing finished is lost.

    The commands print its message alone and exit with code 1.
    """


class InterruptedStudyError(RuntimeError):
    """The study was interrupted; the message says how to go on.

    The commands print it and exit with code 130.
    """
