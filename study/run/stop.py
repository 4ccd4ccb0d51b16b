"""Stopping a single run after its epoch, by a signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopNow(BaseException):
    """Leaves the training loop between two steps."""


class StopRequest:
    """Turns SIGINT and SIGTERM into a stop after the step under way; a second one stops at once."""

    def __init__(self) -> None:
        self.signal = 0

    def check(self) -> None:
        """Leave the loop by ``StopNow`` if a stop was asked for."""
        if self.signal:
            raise StopNow

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
