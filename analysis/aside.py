"""Work that a copy of this process does while this one goes on."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
Say = Callable[[str], None]


def can_be_copied() -> bool:
    """Whether this process can: a copy of one with threads may wait for ever for what they held."""
    alone = threading.active_count() == 1
    return alone and "fork" in multiprocessing.get_all_start_methods()


def leave_interrupts() -> None:
    """A Ctrl-C is for the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def aside(work: Callable[[Say], T], say: Say, *, copied: bool) -> Iterator[Callable[[], T]]:
    """Begin ``work``; what is yielded waits for its result. The block's end ends the work.

    Args:
        say: called in this process, with what the work says.
        copied: else the work is done here, when its result is asked for.
    """
    if not copied:
        yield lambda: work(say)
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield lambda: _received(receiver, work, say)
    finally:
        process.terminate()
        process.join()
        receiver.close()


def _send(work: Callable[[Say], Any], sender: Connection) -> None:
    leave_interrupts()
    try:
        result = work(lambda line: sender.send((line, None)))
    except Exception:
        # The other process meets it, too, and can raise it.
        return
    sender.send((None, result))


def _received(receiver: Connection, work: Callable[[Say], T], say: Say) -> T:
    while True:
        try:
            line, result = receiver.recv()
        except EOFError:
            return work(say)
        if line is None:
            return result
        say(line)
