"""Ctrl-C once: the runs come to a clean end. Twice: the process ends at once.

SIGTERM, which cluster managers and ``ray job stop`` send, counts as Ctrl-C.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_EXIT_CODE = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Interrupts:
    """The interrupts that this process has received; signals belong to the whole process."""

    def __init__(self, first: str) -> None:
        self.received = False
        self.tune_runs = False
        self.broken_off = False
        self._first = first

    def take_over(self) -> dict[int, Any]:
        return {number: signal.signal(number, self._handle) for number in _SIGNALS}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.broken_off:
            self.broken_off = False
            raise KeyboardInterrupt
        if self.received:
            _end_at_once()
        self.received = True
        # Not print(): the signal may have come in the middle of one.
        os.write(2, f"\n{self._first}\n".encode())
        if self.tune_runs:
            # At SIGUSR1 Tune starts nothing more, stops its trials and returns.
            signal.raise_signal(signal.SIGUSR1)
        else:
            raise KeyboardInterrupt


_current: _Interrupts | None = None


@contextmanager
def interruptible(first: str) -> Iterator[None]:
    """Inside, the first interrupt says ``first`` and raises KeyboardInterrupt; the second ends all.

    It does nothing outside the main thread, the only one in which Python handles signals.
    """
    global _current  # noqa: PLW0603
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = _Interrupts(first)
    before = _current.take_over()
    try:
        yield
    finally:
        _current = None
        _restore(before)


def interrupt() -> bool:
    """End the runs as one Ctrl-C does; call it in the main thread, while Tune runs.

    False where nothing here handles interrupts: the process is another program's. A second call
    does nothing.
    """
    if _current is None:
        return False
    if not _current.received:
        signal.raise_signal(signal.SIGINT)
    return True


def break_off() -> None:
    """Raise KeyboardInterrupt in the main thread, whatever it does, Tune included.

    For other threads. It does nothing where nothing here handles interrupts.
    """
    if _current is not None:
        _current.broken_off = True
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@contextmanager
def handed_to_tune() -> Iterator[None]:
    """Around ``Tuner.fit``: an interrupt ends it in Tune's own way; KeyboardInterrupt follows."""
    interrupts = _current
    if interrupts is None:
        yield
        return
    # Ray took SIGTERM over when it started.
    interrupts.take_over()
    # Until Tune has put its own handler there, SIGUSR1 would end the process.
    before: dict[int, Any] = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, _raise_interrupt)}
    interrupts.tune_runs = True
    try:
        yield
    finally:
        interrupts.tune_runs = False
        _restore(before)
    if interrupts.received:
        raise KeyboardInterrupt


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _end_at_once() -> None:
    if sys.stdout.isatty():
        # The live view hides the cursor.
        os.write(1, b"\x1b[?25h\n")
    os._exit(_EXIT_CODE)
