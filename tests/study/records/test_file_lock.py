"""The lock: one process holds it, the system frees it, and a refusal names the holder."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from study.records.file_lock import LockHeldError, is_held, take

_HOLD = """
import sys
from pathlib import Path
from study.records.file_lock import take
lock = take(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_dead_process_gives_the_lock_back_and_a_living_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        for _ in range(2):  # The first refusal leaves the holder's name there.
            with pytest.raises(LockHeldError) as refused:
                take(path)
            assert str(refused.value) == f"process {process.pid} on {socket.gethostname()}"
        assert is_held(path)
        process.send_signal(signal.SIGKILL)
    assert not is_held(path)
    lock = take(path)
    assert str(os.getpid()) in path.read_text()
    with pytest.raises(LockHeldError):
        take(path)
    lock.release()
    take(path).release()


def test_a_lock_file_of_an_earlier_version_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("process 7 on elsewhere")
    assert not is_held(path)
    assert path.read_text() == "process 7 on elsewhere"
    take(path).release()
    # Earlier versions lock the same file by the same call.
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        assert is_held(path)
        with pytest.raises(LockHeldError, match="another process"):
            take(path)


def test_no_file_is_no_lock(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "lock")
    assert list(tmp_path.iterdir()) == []
