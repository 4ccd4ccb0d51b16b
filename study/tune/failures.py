"""The exception that ended a trial: as Tune keeps it, and in one line."""

import re
from pathlib import Path

from ray.tune.experiment import Trial

_MAX_REASON = 500
_NO_REASON = "failed; Tune kept no reason"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b:?")


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
