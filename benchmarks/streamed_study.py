"""A study of images that are made when a batch needs them: what it takes in time and in memory.

``python -m benchmarks.streamed_study`` streams 200 MB of them through a baseline and two trials of
three epochs, two runs at a time; ``--in-memory`` reads them first, as without ``--stream``.
``--dataset benchmarks.streamed_study:ten_gigabytes`` is the same for other commands, and
``python -m benchmarks.streamed_study noise-study run …`` measures another study.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory_rows import proportional_set_size

SIZE = 224
_BYTES = SIZE * SIZE * 3
_SECONDS = 0.5
"""Between two looks at the memory."""

_TRAINS = "Trainable"
"""In the title of a process that trains, by Ray."""


class Generated:
    """As many images as one likes, each made from its place alone, brighter with its label."""

    classes = tuple(f"brightness {label}" for label in range(10))

    def __init__(self, first: int, length: int) -> None:
        self.first = first
        self.targets = [place % 10 for place in range(length)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[NDArray[np.uint8], int]:
        label = self.targets[place]
        drawn = np.random.default_rng(self.first + place)
        image = drawn.integers(0, 40, (SIZE, SIZE, 3), np.uint8)
        return image + np.uint8(20 * label), label


def _of(size: float) -> tuple[Generated, Generated]:
    """As many as are ``size`` bytes, a tenth of them for testing."""
    images = int(size / _BYTES) // 100 * 100
    return Generated(0, images * 9 // 10), Generated(10**9, images // 10)


def two_hundred_megabytes() -> tuple[Generated, Generated]:
    return _of(200e6)


def ten_gigabytes() -> tuple[Generated, Generated]:
    return _of(10e9)


def command(storage: str, *, stream: bool) -> list[str]:
    study = "from study.commands.study import main; import sys; sys.exit(main())"
    run = [sys.executable, "-c", study, "run", "--storage", storage, "--name", "streamed"]
    data = "benchmarks.streamed_study:two_hundred_megabytes"
    run += ["--dataset", data, "--image-size", str(SIZE), "--augment", "none", "--batch-size", "64"]
    run += ["--lr", "0.0001", "--epochs", "3", "--space", "static_noise", "--trials", "2"]
    run += ["--baseline-seeds", "1", "--race-seeds", "1", "--max-concurrent", "2"]
    return [*run, "--stream"] if stream else run


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, and itself: pid → its command line's first word."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue
    found, new = set[int](), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new}
    return {each: _title(each) for each in found}


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]
    except OSError:
        return ""


def seconds_of(pid: int) -> float:
    """Of CPU, the system's included, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(words: list[str]) -> str:
    """Run a command and look at its processes; what ended between two looks counts for less."""
    began, trial, whole = time.monotonic(), 0.0, 0.0
    cpu: dict[int, float] = {}
    running = subprocess.Popen(words)
    while running.poll() is None:
        sizes = {}
        for pid, title in descendants(running.pid).items():
            try:
                sizes[pid] = (proportional_set_size(pid), title)
                cpu[pid] = seconds_of(pid)
            except (OSError, AssertionError):  # It ended meanwhile.
                continue
        trial = max([trial, *(size for size, title in sizes.values() if _TRAINS in title)])
        whole = max(whole, sum(size for size, _ in sizes.values()))
        time.sleep(_SECONDS)
    took = f"{time.monotonic() - began:.0f} s, {sum(cpu.values()):.0f} s of CPU"
    held = f"{trial:.0f} MB of a process that trains, {whole:.0f} MB of all together"
    return f"exit code {running.returncode}, {took}; at most {held}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streamed_study")
    parser.add_argument("--in-memory", action="store_true", help="without --stream")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="another study to measure")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as storage:
        print(measured(given.command or command(storage, stream=not given.in_memory)))


if __name__ == "__main__":
    main()
