"""Each thing of docs/extending.md is added to a copy of the tree, in as few files as said."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATCHES = ROOT / "examples" / "extending"
PACKAGES = ("trainables", "search_spaces", "study", "analysis")
MOST_FILES = {
    "space": 1,
    "sampler": 1,
    "objective": 1,
    "picture": 2,
    "data_set": 2,
    "model": 1,
    "optimizer": 2,
    "learning_rate_schedule": 2,
    "noise_kind": 3,
    "signal": 2,
    "subcommand": 2,
}
"""What can be added → the product files that this takes at most."""


def commands(patch: str) -> list[str]:
    """The commands in the lines above the first difference, which use the new thing."""
    head = patch.split("\ndiff --git ", maxsplit=1)[0]
    return [line.removeprefix("# ") for line in head.splitlines() if line.startswith("# noise-")]


def test_there_is_a_patch_for_everything() -> None:
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(MOST_FILES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_FILES)
def test_added_and_used(name: str, tmp_path: Path) -> None:
    file = PATCHES / f"{name}.patch"
    patch = file.read_text(encoding="utf-8")
    touched = re.findall(r"^diff --git a/(\S+) b/\S+$", patch, re.MULTILINE)
    assert touched
    assert all(path.split("/")[0] in PACKAGES for path in touched)
    assert len(touched) <= MOST_FILES[name]
    tree, work = tmp_path / "tree", tmp_path / "work"
    work.mkdir()
    for package in PACKAGES:
        # With what is compiled, else each process does it anew; not with what is being written.
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    subprocess.run(["git", "apply", str(file)], cwd=tree, check=True)
    wanted = commands(patch)
    assert wanted
    for command in wanted:
        program, *words = shlex.split(command)
        found = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *words],
            cwd=work,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
