"""Rewrites the README's generated parts: the tables of options and of files (``make docs``).

A part stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``. A test compares the README with what
this file would write, so that the tables stay true.
"""

import ast
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from study.commands.experiment import EXPERIMENT_OPTIONS, ExperimentOptions
from study.commands.option_tables import options_table
from study.commands.options import written_options
from study.commands.reference_options import RUN_SETTINGS
from study.commands.run import STUDY_OPTIONS, SearchOptions
from study.commands.settings import Option
from study.commands.test import TestOptions
from study.commands.train import TrainOptions
from study.formats import markdown_table

ROOT = Path(__file__).parents[2]
PACKAGES = ("trainables", "search_spaces", "study", "analysis")


def _options(generated: Iterable[Option], written: type) -> str:
    return options_table([*generated, *written_options(written)])


def files_table(package: str) -> str:
    """A line for each file of a package: the first line of its docstring."""
    rows = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name == "__init__.py":
            continue
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.relative_to(ROOT / package).as_posix()
        rows.append([f"`{package}/{name}`", text.split("\n\n")[0].replace("\n", " ")])
    return markdown_table(["file", ""], rows)


PARTS: dict[str, Callable[[], str]] = {
    "options of noise-train": lambda: _options(RUN_SETTINGS.options.values(), TrainOptions),
    "options of noise-test": lambda: _options((), TestOptions),
    "options of noise-study run": lambda: _options(STUDY_OPTIONS.options.values(), SearchOptions),
    "options of noise-study experiment": lambda: _options(
        EXPERIMENT_OPTIONS.options.values(), ExperimentOptions
    ),
} | {f"files of {package}": partial(files_table, package) for package in PACKAGES}


def rewritten(text: str) -> str:
    """The README with its generated parts as they should be."""
    for name, make in PARTS.items():
        part = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        text = part.sub(f"{make()}\n".replace("\\", r"\\"), text)
    return text


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(rewritten(readme.read_text(encoding="utf-8")), encoding="utf-8")
