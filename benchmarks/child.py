"""Measurements in processes of their own, started with the environment that they are about.

glibc reads its thresholds when a process starts, and threads are best counted there, too.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from study.tune.connect import WORKER_ENVIRONMENT

_MARK = "RESULT "
NOISE_STUDY = "from study.commands.entry import noise_study; raise SystemExit(noise_study())"
"""The command, as its script runs it."""

_OURS = (*WORKER_ENVIRONMENT, "OMP_NUM_THREADS")


def environment(ours: bool, threads: int) -> dict[str, str]:
    """The environment of a worker of ours, or of a user who has set nothing but the threads."""
    values = {key: value for key, value in os.environ.items() if key not in _OURS}
    values["OMP_NUM_THREADS"] = str(threads)
    values["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return values | (dict(WORKER_ENVIRONMENT) if ours else {})


class Child:
    """A process that runs ``module:function(**arguments)`` and hands its JSON result back.

    A function that prepares something first calls ``wait_for_start`` when it is ready; ``start``
    lets it go on, so that several processes are timed together and without their start-up.
    """

    def __init__(
        self, target: str, arguments: Mapping[str, Any], *, ours: bool = True, threads: int = 1
    ) -> None:
        # Stock Tune warns at every report that its callback is slow; only errors matter here.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", target, json.dumps(arguments)],
            env=environment(ours, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def wait_until_ready(self) -> None:
        self._line("READY")

    def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("GO\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        result = json.loads(self._line(_MARK)[len(_MARK) :])
        self._process.communicate()
        return result

    def _line(self, beginning: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        code = self._process.wait()
        self._errors.seek(0)
        said = "".join(self._errors.readlines()[-30:])
        raise RuntimeError(f"a measuring process ended with exit code {code}:\n{said}")


def call(target: str, *, ours: bool = True, threads: int = 1, **arguments: Any) -> Any:
    return Child(target, arguments, ours=ours, threads=threads).result()


def together(children: Sequence[Child]) -> list[Any]:
    """The results of processes that start at once."""
    for child in children:
        child.wait_until_ready()
    for child in children:
        child.start()
    return [child.result() for child in children]


def wait_for_start() -> None:
    """In a child: say that everything is prepared, and wait for ``Child.start``."""
    print("READY", flush=True)
    sys.stdin.readline()


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
    print(f"\n{_MARK}{json.dumps(result)}", flush=True)
    # Ray's and MLflow's threads may take seconds to end; nothing is left to be written.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
