"""Ends what a killed driver would leave behind; run as a script, it is what does so.

If the driver is killed, Linux ends the processes that Ray started from it, and its workers end
themselves within seconds. The raylet's own helpers do not: they try for a minute to tell the head,
which is gone, too. Nothing that Ray can be told makes them give up earlier.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROC = Path("/proc")


@contextmanager
def ended_with_this_process(parent: int | None) -> Iterator[None]:
    """Kill the present children of a process once the body, or this process, has ended.

    None, and systems without ``/proc``: nothing is done.
    """
    children = _children(parent) if parent is not None else []
    if not children:
        yield
        return
    # It ends when its input does. It needs nothing but Python itself (-I -S).
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *children]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL):
        yield


def _children(parent: int) -> list[str]:
    found = []
    for folder in _PROC.glob("[0-9]*"):
        fields = _fields(int(folder.name))
        if fields and int(fields[1]) == parent:
            found.append(f"{folder.name}:{_began(fields)}")
    return found


def _fields(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the process's state on; empty if there is none."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _began(fields: list[str]) -> str:
    """When the process began: with its id it says which process it is."""
    return fields[19]


def _main(processes: list[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # They are sent to the whole group, whose driver comes to its end first.
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for process in processes:
        pid, _, began = process.partition(":")
        fields = _fields(int(pid))
        if fields and _began(fields) == began:
            with suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)


if __name__ == "__main__":
    _main(sys.argv[1:])
