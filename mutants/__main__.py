"""``python -m mutants``: mutants of the deciding modules against each module's own fast tests.

A mutant is compiled from memory in a forked process, so that no file changes and nothing heavy is
imported twice. mutmut leaves out decorated functions and constants of modules, and takes one
selection of tests for all; cosmic-ray changes the files and starts a Python for every mutant.

``equivalent.toml`` lists mutants that no test can notice, each with the reason; they are not run.
"""

import argparse
import importlib
import os
import random
import signal
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import Phase, settings

from mutants.mutate import Mutant, mutants_of, mutated

ROOT = Path(__file__).parents[1]
MODULES = {
    "trainables/noise/controller.py": ["tests/trainables/noise/test_controller.py"],
    "trainables/noise/decay.py": ["tests/trainables/noise/test_controller.py"],
    "trainables/noise/signals.py": ["tests/trainables/noise/test_signals.py"],
    "trainables/noise/perturbations.py": ["tests/trainables/noise/test_perturbations.py"],
    "trainables/lr_schedule.py": ["tests/trainables/test_lr_schedule.py"],
    "search_spaces/thresholds.py": [
        "tests/search_spaces/test_thresholds.py",
        "tests/search_spaces/test_calibration.py",
    ],
    "study/statistics/paired.py": ["tests/study/statistics/test_paired.py"],
    "study/statistics/estimate.py": ["tests/study/statistics/test_estimate.py"],
    "study/statistics/comparison.py": ["tests/study/statistics/test_comparison.py"],
    "study/statistics/sequential.py": ["tests/study/statistics/test_sequential.py"],
    "study/statistics/answers.py": ["tests/study/statistics/test_answers.py"],
    "study/statistics/looks.py": ["tests/study/statistics/test_looks.py"],
    "study/statistics/design.py": ["tests/study/statistics/test_design.py"],
    "study/statistics/sign_flip.py": ["tests/study/statistics/test_sign_flip.py"],
    "study/statistics/equivalence.py": ["tests/study/statistics/test_equivalence.py"],
    "study/statistics/futility.py": ["tests/study/statistics/test_futility.py"],
    "study/statistics/anytime.py": ["tests/study/statistics/test_anytime.py"],
    "study/statistics/collapse.py": ["tests/study/statistics/test_collapse.py"],
    "study/statistics/pairing_gain.py": ["tests/study/statistics/test_pairing_gain.py"],
    "study/statistics/seeds_range.py": ["tests/study/statistics/test_seeds_range.py"],
    "study/tune/early_stopping.py": ["tests/study/tune/test_early_stopping.py"],
    "study/tune/paired_stopping.py": ["tests/study/tune/test_paired_stopping.py"],
    "study/campaigns/placebo.py": ["tests/study/campaigns/test_placebo.py"],
    "study/records/checked_line.py": ["tests/study/records/test_ledger.py"],
    "study/campaigns/dose.py": ["tests/study/campaigns/test_dose.py"],
    "study/campaigns/matched_placebo.py": ["tests/study/campaigns/test_matched_placebo.py"],
    "study/records/ledger.py": ["tests/study/records/test_ledger.py"],
    "study/records/summary.py": ["tests/study/records/test_summary.py"],
}
"""A module, and the tests beside it."""

MAX_SURVIVING = 0.05
"""Share of the mutants that are not equivalent."""

_PROJECT = ("trainables", "search_spaces", "study", "analysis", "tests", "mutants", "conftest")


class _Loader(SourceLoader):
    def __init__(self, path: str, mutant: Mutant | None) -> None:
        self.path = path
        self.mutant = mutant

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text()
        tree = mutated(source, self.mutant) if self.mutant else source
        return compile(tree, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Imports one module with a mutant in it."""

    def __init__(self, module: str, mutant: Mutant | None) -> None:
        self.name = module.removesuffix(".py").replace("/", ".")
        self.loader = _Loader(str(ROOT / module), mutant)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return spec_from_file_location(fullname, self.loader.path, loader=self.loader)


class _Quick:
    """Hypothesis without chance and without looking for the smallest example."""

    def pytest_collection(self) -> None:
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutants", settings.default, phases=phases, derandomize=True, database=None
        )
        settings.load_profile("mutants")


def _tested(module: str, mutant: Mutant | None, log: Path) -> int:
    """Start the tests of a module in a process of its own; returns its number."""
    if pid := os.fork():
        return pid
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 1
    try:
        sys.meta_path.insert(0, _Finder(module, mutant))
        words = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *MODULES[module]]
        code = int(pytest.main(words, plugins=[_Quick()]))
        if mutant is None:
            names = [name for name in sys.modules if name.partition(".")[0] not in _PROJECT]
            log.write_text("\n".join(names) if code == 0 else log.read_text())
    finally:
        os._exit(code)


def _outcomes(
    module: str, mutants: Sequence[Mutant], jobs: int, seconds: float, folder: Path
) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant and whether it survived; one that takes too long counts as killed."""
    waiting = list(reversed(mutants))
    running: dict[int, tuple[Mutant, float]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            pid = _tested(module, mutant, folder / f"mutant-{mutant.node}-{mutant.choice}.log")
            running[pid] = (mutant, time.monotonic() + seconds)
        time.sleep(0.02)
        for pid, (mutant, end) in list(running.items()):
            if time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del running[pid]
                yield mutant, status == 0


def _clean(module: str, log: Path) -> float:
    """Run the tests without a mutant, and import what they import; returns the seconds taken."""
    for _ in range(2):  # the second time with everything imported
        began = time.monotonic()
        _, status = os.waitpid(_tested(module, None, log), 0)
        if status:
            sys.exit(f"{module}: its tests fail without a mutant:\n{log.read_text()}")
        for name in log.read_text().splitlines():
            if name not in sys.modules:
                try:
                    importlib.import_module(name)
                except Exception:  # not a module that can be imported by name
                    continue
    return time.monotonic() - began


def main() -> int:
    """Run the mutants that are asked for; 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="default: all")
    parser.add_argument("--sample", type=int, help="at most so many mutants of a module")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--match", default="", help="only mutants whose name contains this")
    parser.add_argument("--logs", type=Path, default=Path("/tmp/mutants"), help="pytest's output")
    words = parser.parse_args()
    words.logs.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    equivalent = tomllib.loads((ROOT / "mutants/equivalent.toml").read_text())
    lines, failed = [], False
    for module in words.modules:
        began = time.monotonic()
        every = mutants_of((ROOT / module).read_text())
        known = equivalent.get(module, {})
        for name in known.keys() - {mutant.name for mutant in every}:
            print(f"{module}: equivalent.toml lists a mutant that is gone: {name}")
        chosen = [m for m in every if words.match in m.name]
        if words.sample and words.sample < len(chosen):
            chosen = random.Random(words.seed).sample(chosen, words.sample)
        to_run = [mutant for mutant in chosen if mutant.name not in known]
        seconds = 10 + 5 * _clean(module, words.logs / "clean.log")
        survived = 0
        for mutant, alive in _outcomes(module, to_run, words.jobs, seconds, words.logs):
            if alive:
                survived += 1
                print(f"SURVIVES {module}:{mutant.line}\n    {mutant.name}", flush=True)
        failed |= survived > MAX_SURVIVING * len(to_run)
        took = time.monotonic() - began
        killed, same = len(to_run) - survived, len(chosen) - len(to_run)
        lines.append((module, len(chosen), killed, survived, same, f"{took:.0f}"))
        print(*lines[-1], flush=True)
    print(f"\n{'module':36} mutants  killed  survived  equivalent  seconds")
    for name, *counts in lines:
        print(f"{name:36} " + "  ".join(f"{count:>8}" for count in counts))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
