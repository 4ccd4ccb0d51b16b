"""Makes docs/options.md, and the list of files in docs/map.md (``make docs``).

The commands are those that pyproject.toml installs; each is asked for its options as ``--help``
would be. A test compares the documents with what is made here.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

from study.commands.options import LIST_OPTIONS, OptionsListed
from study.commands.settings import Option
from study.formats import markdown_table

ROOT = Path(__file__).parents[2]
OPTIONS = ROOT / "docs" / "options.md"
MAP = ROOT / "docs" / "map.md"
PACKAGES = ("trainables", "search_spaces", "study", "analysis")

_HEAD = """# Options of all commands

Made by `make docs`; not to be edited. `COMMAND --help` says the same. A switch, an option without a
value, is turned off by `no-` before its name, as in `--no-calibrate`. `noise-study --version`, and
likewise of the other three commands, tells the version.
"""


def options_document() -> str:
    parts = [_HEAD]
    for command, listed in commands().items():
        parts.append(f"## {command}\n\n{listed.description}\n\n{options_table(listed.options)}\n")
    return "\n".join(parts)


def commands() -> dict[str, OptionsListed]:
    """What each command, as it is typed, says of itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {}
    for command, place in project["scripts"].items():
        # What the entry point imports lies beside it: train.py is noise-train.
        package = place.split(":")[0].rpartition(".")[0]
        module = importlib.import_module(f"{package}.{command.removeprefix('noise-')}")
        for name in getattr(module, "COMMANDS", [""]):
            words = [name] if name else []
            found[" ".join([command, *words])] = _listed(module.main, words)
    return found


def _listed(main: Callable[[list[str]], int], words: list[str]) -> OptionsListed:
    try:
        main([*words, *LIST_OPTIONS])
    except OptionsListed as listed:
        return listed
    raise RuntimeError(f"{words}: no options were listed")


def options_table(options: Iterable[Option]) -> str:
    rows = []
    for option in options:
        name = f"`{option.long} {option.value}`".replace(" `", "`")
        short = f"`{option.short}`" if option.short else ""
        rows.append([name, short, _escaped(option.default), _escaped(option.help)])
    return markdown_table(["option", "short", "default", ""], rows)


def _escaped(cell: str) -> str:
    return cell if cell.startswith("`") else cell.replace("<", "\\<")


def map_document() -> str:
    """docs/map.md, with the list between its two markers as it should be."""
    text = MAP.read_text(encoding="utf-8")
    files = "\n".join(_folder(folder) for folder in _folders())
    return re.sub(
        r"(?<=<!-- files -->\n).*?(?=<!-- /files -->)", lambda _: files, text, flags=re.DOTALL
    )


def _folders() -> list[Path]:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted({path.parent for path in files})


def _folder(folder: Path) -> str:
    """A folder's files, with the first line of each docstring."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if path.name != "__init__.py":
            rows.append([f"`{path.name}`", text.split("\n\n")[0].replace("\n", " ")])
    return f"`{folder.relative_to(ROOT).as_posix()}/`\n\n{markdown_table(['', ''], rows)}\n"


if __name__ == "__main__":
    for document, text in ((OPTIONS, options_document()), (MAP, map_document())):
        document.write_text(text, encoding="utf-8")
