"""The exception that ended a trial: as Tune keeps it, in one line, and whether it would recur."""

import builtins
import re
from pathlib import Path

from ray.tune.experiment import Trial

from trainables.errors import InputError

_MAX_REASON = 500
_NO_REASON = "failed; Tune kept no reason"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b:?")
_RAISED = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt))(?::|$)")
_REFUSAL = f"{InputError.__module__}.{InputError.__qualname__}"
_PASSING = (OSError, MemoryError)
_PASSING_WORDS = re.compile(r"killed by signal|out of memory|\bCUDA\b")
"""What code of one's own says where a process that it started, or the GPU, failed it."""


def failure_text(trial: Trial) -> str:
    """A trial's last error with its traceback, empty if there is none; OSError if unreadable."""
    path = trial.error_file
    if path is None:
        return ""
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    # Tune appends each failure under a heading; the last one counts.
    *_, last = re.split(r"^Failure # .*$", text, flags=re.MULTILINE)
    return last


def failure_reason(trial: Trial) -> str:
    """The error that ended a trial, without its traceback: ``ValueError: …``."""
    try:
        text = failure_text(trial)
    except OSError as error:
        return f"failed; the reason can't be read: {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return _NO_REASON
    raised = [number for number, line in enumerate(lines) if _EXCEPTION.match(line)]
    reason = " ".join(lines[raised[-1] :]) if raised else lines[0]
    return reason[:_MAX_REASON]


def is_refusal(trial: Trial) -> bool:
    """Whether bad input ended a trial, which another try would end in the same way.

    Not where memory, a file, a connection or a GPU failed meanwhile: that may pass.
    """
    try:
        text = failure_text(trial)
    except OSError:
        return False
    raised = [match[1] for line in text.splitlines() if (match := _RAISED.match(line.strip()))]
    if raised[-1:] != [_REFUSAL] or _PASSING_WORDS.search(text):
        return False
    return not any(_may_pass(name) for name in raised)


def _may_pass(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, _PASSING)
