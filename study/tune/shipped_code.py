"""Code of one's own travels to the nodes of a cluster with the connection to it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.code_identity import source_files
from trainables.config import TrainConfig

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""In the driver of a job: what it was submitted with."""


@contextmanager
def shipped_code(config: TrainConfig) -> Iterator[list[str]]:
    """Copies of the modules of one's own that a run consists of, as Ray's ``py_modules``.

    They are the modules by which code is known (``code_identity``), without files that are no
    modules. Empty where there are none, and in a job that brings modules itself: of two lists Ray
    takes neither.
    """
    files = {place: path for name in own_code(config) for place, path in source_files(name).items()}
    if not files or _brings_modules():
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="noise-study-code-") as folder:
        for place, path in files.items():
            copy = Path(folder) / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        yield sorted(str(path) for path in Path(folder).iterdir())


def with_own_code(config: TrainConfig) -> dict[str, str]:
    """The path of modules for workers on this machine: with the folders of code of one's own.

    A notebook or a script may have put them on its own path alone. Empty where nothing is to be
    added.
    """
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    known = {os.path.realpath(folder) for folder in (*given, os.getcwd())}
    files = [item for name in own_code(config) for item in source_files(name).items()]
    folders = {os.path.realpath(path.parents[len(place.parts) - 1]) for place, path in files}
    # A folder with a colon in its name can't be on that path.
    more = sorted(folder for folder in folders - known if os.pathsep not in folder)
    return {"PYTHONPATH": os.pathsep.join([*given, *more])} if more else {}


def own_code(config: TrainConfig) -> set[str]:
    """The names of all code of one's own that a run's workers import."""
    measured = {each.function for each in config.measured if each.function is not None}
    return {*config.own_names.values(), *measured}


def _brings_modules() -> bool:
    try:
        environment = json.loads(os.environ.get(_JOB, "{}")).get("runtime_env") or {}
    except (ValueError, AttributeError):
        return False
    return bool(environment.get("py_modules"))
