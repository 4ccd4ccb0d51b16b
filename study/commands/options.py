"""Command-line options generated from a typed configuration, read by tyro.

A setting's names, bounds, default and help have one definition, its field in the configuration.
Here each becomes an option that is either given or not. What is given is laid over the rest of the
configuration, and only the result is validated: so presets, files and options combine whatever
their order, and a wrong value gets the same message wherever it came from.

Options that set nothing in the configuration (``--resume``) are dataclasses written by hand.
"""

import dataclasses
import difflib
import io
import os
import shutil
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeVar, get_type_hints

import tyro

from study.commands import INTERRUPTED
from study.commands.settings import Option, SettingOptions, default_text
from study.commands.tyro_parts import described
from study.errors import InterruptedStudyError, StudyFailedError
from trainables.code_trust import only_named
from trainables.errors import InputError

BAD_INPUT = 2
"""Exit code of a user's mistake."""

LIST_OPTIONS = ("--list-options",)
"""The words that docs/options.md is made with: a command answers with ``OptionsListed``."""

VERSION_HELP = "--version, alone, tells the version."

_TOLD = 300
"""Characters that are shown of an error that nobody foresaw."""

Extra = TypeVar("Extra")


class OptionsListed(Exception):  # noqa: N818
    """What a command reads its words as: what ``--help`` says first, and all options in order."""

    def __init__(self, description: str, options: Sequence[Option]) -> None:
        super().__init__(description)
        self.description = description
        self.options = options


@dataclass(frozen=True)
class CommandLine(Generic[Extra]):
    """A command line, read: ``given`` settings by path, and the command's own options ``extra``."""

    given: Mapping[str, Any]
    extra: Extra


def read_command_line(
    arguments: Sequence[str],
    settings: SettingOptions,
    extra: type[Extra],
    *,
    prog: str,
    description: str,
) -> CommandLine[Extra]:
    """Read a command line of generated options and a command's own, as ``read_arguments`` does.

    ``extra`` is a frozen dataclass, readable by tyro, whose fields all have defaults.
    """
    groups = {"command": extra, **settings.groups}
    command = dataclasses.make_dataclass(
        "Command",
        [
            (title, group, dataclasses.field(default_factory=group))
            for title, group in groups.items()
        ],
        frozen=True,
    )
    parsed: Any = read_arguments(command, arguments, prog=prog, description=description)
    return CommandLine(settings.given(parsed), parsed.command)


def read_arguments(
    command: type[Extra], arguments: Sequence[str], *, prog: str, description: str
) -> Extra:
    """Read ``arguments`` as a dataclass for tyro, with this project's answer to unknown options.

    ``prog`` is the command as typed, e.g. ``noise-study run``. SystemExit comes after ``--help``
    (0), or if an option's value is missing (2).
    """
    if tuple(arguments) == LIST_OPTIONS:
        raise OptionsListed(description, written_options(command))
    parsed, unknown = tyro.cli(
        command,
        prog=prog,
        # Of a command with subcommands their list says it.
        description=_wrapped(description if " " in prog else f"{description} {VERSION_HELP}"),
        args=list(arguments),
        return_unknown_args=True,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
    )
    if unknown:
        options = written_options(command)
        names = ["--help", *(name for o in options for name in (o.long, o.short) if name)]
        raise InputError(_unknown(unknown[0], names, prog))
    return parsed


def _wrapped(text: str) -> str:
    """A description in lines as wide as the terminal, which tyro does not break.

    It joins lines that begin with a letter: so they begin with a space.
    """
    return textwrap.fill(
        text, shutil.get_terminal_size().columns, initial_indent=" ", subsequent_indent=" "
    )


def run_command(prog: str, command: Callable[[Sequence[str]], int], arguments: Any) -> int:
    """Run a command and turn its end into an exit code.

    That is 2 for bad input, 130 for Ctrl-C, and 1 for a study that could not give a result, and for
    any other error: it is told in a line, its traceback lies in a file.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can't show a character is no reason to end.
            stream.reconfigure(errors="replace")
    if words == ["--version"]:
        print(f"{prog} {version('noise-study')}")
        return 0
    try:
        with only_named(words):
            return _ended(prog, command, words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except OptionsListed:
        raise
    except Exception as error:
        if _came_of_an_interrupt(error):
            print(f"{prog}: interrupted", file=sys.stderr)
            return INTERRUPTED
        print(f"{prog}: {_unexpected(error)}", file=sys.stderr)
        return 1


def _ended(prog: str, command: Callable[[Sequence[str]], int], words: Sequence[str]) -> int:
    """How a command ends in a way that it knows."""
    try:
        return command(words)
    except (InputError, StudyFailedError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, InputError) else 1
    except InterruptedStudyError as stopped:
        print(stopped)
        return INTERRUPTED
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output (``| head``) has enough; Python shall not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _came_of_an_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C led to the error: a module that is being imported makes another of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unexpected(error: Exception) -> str:
    """A line about an error that nobody foresaw; its traceback goes to a file."""
    text = next(iter(str(error).splitlines()), "")
    told = f"unexpected error, {type(error).__name__}: {text[:_TOLD]}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="noise-study-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
    except (OSError, UnicodeError):
        return f"{told} (no room for its traceback)"
    return f"{told}. What led to it is in {file.name}"


def written_options(command: type) -> list[Option]:
    """The options of a dataclass for tyro, or of the groups that it consists of."""
    hints = get_type_hints(command, include_extras=True)
    options: list[Option] = []
    for field in dataclasses.fields(command):
        annotation = hints[field.name]
        if dataclasses.is_dataclass(annotation):
            options += written_options(annotation)  # type: ignore[arg-type]
            continue
        options.append(described(annotation, default_text(field.default)))
    return options


def _unknown(word: str, names: Collection[str], prog: str) -> str:
    name = word.split("=", maxsplit=1)[0]
    if not name.startswith("-"):
        return f"{word!r}: expected an option here ({prog} --help lists them)"
    close = difflib.get_close_matches(name.replace("_", "-"), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{name}: no such option; {hint}({prog} --help lists them)"
