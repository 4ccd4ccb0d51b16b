"""Ctrl-C at any moment of a command's life: one line at most, exit code 130, never a traceback."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
WORDS = {
    "noise-study": ["list"],
    "noise-train": ["--help"],
    "noise-test": ["--help"],
    "noise-analysis": ["report", "s"],
}


def script(name: str, before: str = "") -> str:
    """What pip makes of an entry point; ``before`` comes first."""
    module, function = SCRIPTS[name].split(":")
    return f"{before}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())"


def interrupted_after(name: str, module: str) -> tuple[int, str]:
    """Send Ctrl-C to a command as soon as it has imported a module: exit code, what it said."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-c", script(name), *WORDS[name]],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if not line.startswith("import time:"):
            said.append(line)
        elif line.rstrip().endswith(f" {module}"):
            process.send_signal(signal.SIGINT)
    return process.wait(), "".join(said)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("module", ["study.commands.entry", "pydantic_core", "tyro"])
def test_ctrl_c_while_modules_are_imported_is_told_in_a_line(name: str, module: str) -> None:
    code, said = interrupted_after(name, module)
    assert code == 130
    # The last of them is followed closely by the command's own handling, which says its name.
    late = {f"{name}: interrupted\n"} if module == "tyro" else set()
    assert said in {"interrupted\n"} | late


@pytest.mark.parametrize("name", SCRIPTS)
def test_ctrl_c_while_the_process_ends_shows_nothing(name: str, tmp_path: Path) -> None:
    before = "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), 2))"
    ended = subprocess.run(
        [sys.executable, "-c", script(name, before), "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
    assert "usage" in ended.stdout


DROPPED = """
import os, signal, sys, time, types
from study.commands.entry import started

class Interrupted:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

def main():
    from study.commands.options import run_command

    def command(words):
        Interrupted()
        time.sleep(10)
        print("went on")
        return 0

    return run_command("prog", command, [])

sys.modules["made"] = types.SimpleNamespace(main=main)
sys.exit(started("made"))
"""


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ctrl_c_where_python_drops_exceptions_is_not_lost() -> None:
    ended = run_code(DROPPED)
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "prog: interrupted\n"


TURNED = """
import sys
from study.commands.options import run_command

def command(words):
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise ImportError("a module did not begin")

sys.exit(run_command("prog", command, []))
"""


def test_ctrl_c_that_became_another_error_is_still_one() -> None:
    ended = run_code(TURNED)
    assert (ended.returncode, ended.stderr) == (130, "prog: interrupted\n")
