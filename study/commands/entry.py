"""Where the commands begin: what a Ctrl-C does before a command's own code has been imported.

Python imports for a second or more. A KeyboardInterrupt in the middle of that ends in a traceback,
or is turned into another error by whatever is being imported. So this module imports nothing heavy,
and from its import until a command's own handling takes over, an interrupt ends the process itself.
Nothing but the commands' entry points imports it.
"""

import gc
import os
import signal
import sys
import threading
from importlib import import_module
from types import FrameType
from typing import Any

from study.commands import INTERRUPTED

_SOON = 0.05


def _on_interrupt(handler: Any) -> Any:
    """Set the handler of Ctrl-C, unless it is ignored (a shell's job in the background)."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
    return before


def _end(number: int, frame: FrameType | None) -> None:
    # Not print(): the signal may have come in the middle of one.
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


_usual = _on_interrupt(_end)


def noise_study() -> int:
    return started("study.commands.study")


def noise_train() -> int:
    return started("study.commands.train")


def noise_test() -> int:
    return started("study.commands.test")


def started(module: str) -> int:
    """Import the module of a command, run its ``main``; how the process is to end."""
    # While Python imports there is no garbage to look for.
    gc.disable()
    try:
        main = import_module(module).main
    finally:
        gc.enable()
    sys.unraisablehook = _raised_again
    _on_interrupt(_usual)
    try:
        code: int = main()
    finally:
        # Nothing is left but Python's own end, which would show a traceback.
        _on_interrupt(lambda number, frame: os._exit(INTERRUPTED))
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    return code


def _raised_again(problem: "sys.UnraisableHookArgs") -> None:
    """Where Python drops exceptions (``__del__``), an interrupt is not lost, and not shown."""
    if problem.exc_type is not None and issubclass(problem.exc_type, KeyboardInterrupt):
        # Here it would be dropped once more.
        threading.Timer(_SOON, os.kill, (os.getpid(), signal.SIGINT)).start()
        return
    sys.__unraisablehook__(problem)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        # The reader is gone, or the stream closed; Python says so itself where it matters.
        return
