"""Command-line options generated from a typed configuration, read by tyro.

A setting's names, bounds, default and help have one definition, its field in the configuration.
Here each becomes an option that is either given or not. What is given is laid over the rest of the
configuration, and only the result is validated: so presets, files and options combine whatever
their order, and a wrong value gets the same message wherever it came from.

Options that are no settings (``--resume``) are hand-written dataclasses that stand beside them.
"""

import dataclasses
import difflib
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from study.errors import InterruptedStudyError, StudyFailedError
from trainables.config import setting_paths
from trainables.errors import InputError

BAD_INPUT = 2
"""Exit code of a user's mistake."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

Extra = TypeVar("Extra")


@dataclass(frozen=True)
class Option:
    """One generated option, as the help and the README's table show it.

    Attributes:
        path: the setting it sets, e.g. ``noise/patience``.
        long: the long name with its dashes.
        short: the short name with its dash, or None.
        value: what stands for its value (``INT``), empty for a switch.
        default: the default as text.
        help: one sentence.
    """

    path: str
    long: str
    short: str | None
    value: str
    default: str
    help: str


class SettingOptions:
    """The options of a configuration class.

    Args:
        kind: the configuration class; its fields made by ``setting(option=…)`` become options.
        defaults: a configuration whose values the help shows as defaults.
        only: paths (or groups, ``"data"``) to offer; None: all.
        omit: paths (or groups) not to offer.
        short: whether to offer short names.
        title: heading of the settings that belong to no group.
    """

    def __init__(
        self,
        kind: type[BaseModel],
        defaults: BaseModel,
        *,
        only: Collection[str] | None = None,
        omit: Collection[str] = (),
        short: bool = True,
        title: str = "run",
    ) -> None:
        self.kind = kind
        self._title = title
        self._fields: dict[str, FieldInfo] = {
            path: field
            for path, field in setting_paths(kind).items()
            if _extra(field).get("option")
            and (only is None or _within(path, only))
            and not _within(path, omit)
        }
        self.options: dict[str, Option] = {
            path: _option(path, field, value_at(defaults, path), short)
            for path, field in self._fields.items()
        }

    @property
    def long_names(self) -> dict[str, str]:
        """Setting path → long option, for messages."""
        return {path: option.long for path, option in self.options.items()}

    def names_of(self, given: Collection[str]) -> dict[str, str]:
        """Setting path → long option, of the settings that a command line gave."""
        return {path: long for path, long in self.long_names.items() if path in given}

    @cached_property
    def groups(self) -> dict[str, type]:
        """Heading → a dataclass for tyro, one field an option, nothing given by default."""
        by_title: dict[str, list[tuple[str, Any, Any]]] = {}
        for path, option in self.options.items():
            *parents, _ = path.split("/")
            title = parents[-1] if parents else self._title
            by_title.setdefault(title, []).append(_tyro_field(option, self._fields[path]))
        return {
            title: dataclasses.make_dataclass(title, fields, frozen=True)
            for title, fields in by_title.items()
        }

    def given(self, parsed: object) -> dict[str, Any]:
        """The settings that the command line gave, by path, as text still to be validated.

        Args:
            parsed: the parsed command, with one attribute for each of ``groups``.
        """
        values = {
            name: value
            for title in self.groups
            for name, value in vars(getattr(parsed, title)).items()
            if value not in (None, ())
        }
        return {
            path: _plain(self._fields[path], option.long, values[_attribute(path)])
            for path, option in self.options.items()
            if _attribute(path) in values
        }


@dataclass(frozen=True)
class CommandLine(Generic[Extra]):
    """A command line, read: ``given`` settings by path, and the command's own options."""

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
    """Read a command line of generated options and a command's own.

    Args:
        arguments: the words after the command's name.
        settings: the generated options.
        extra: a frozen dataclass, readable by tyro, whose fields all have defaults.
        prog: the command as typed, e.g. ``noise-study run``.
        description: what ``--help`` says first.

    Raises:
        InputError: for an option that does not exist, with the nearest one.
        SystemExit: after ``--help`` (0), or if an option's value is missing (2).
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

    Raises:
        InputError: for an option that does not exist, with the nearest one.
        SystemExit: after ``--help`` (0), or if an option's value is missing (2).
    """
    parsed, unknown = tyro.cli(
        command,
        prog=prog,
        description=_wrapped(description),
        args=list(arguments),
        return_unknown_args=True,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
    )
    if unknown:
        raise InputError(_unknown(unknown[0], _names(command), prog))
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

    That is 2 for bad input, 130 for Ctrl-C, and 1 for a study that could not give a result. Any
    other exception passes through: Python prints it and exits with 1.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
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
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def option(*names: str, help: str, value: str | None = None, default: str | None = None) -> Any:
    """Names and help of a hand-written option: ``Annotated[str, option("--gpu", "-g", …)]``.

    Args:
        names: the long name first, then any others, with their dashes.
        help: one sentence.
        value: what stands for the value.
        default: the default as the help shall show it, if not the field's own.
    """
    long, *others = names
    return tyro.conf.arg(
        name=long.removeprefix("--"),
        aliases=others,
        help=help,
        metavar=value,
        help_behavior_hint=None if default is None else f"(default: {default})",
    )


def value_at(config: BaseModel, path: str) -> Any:
    """The value of the setting at ``path`` (``"noise/patience"``)."""
    value: Any = config
    for part in path.split("/"):
        value = getattr(value, part)
    return value


def default_text(value: object) -> str:
    """A default as the help and the README show it."""
    if isinstance(value, (tuple, list)):
        return "+".join(str(item) for item in value) or "none"
    return str(value)


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def _within(path: str, choices: Collection[str]) -> bool:
    return any(path == choice or path.startswith(f"{choice}/") for choice in choices)


def _attribute(path: str) -> str:
    return path.replace("/", "__")


def _option(path: str, field: FieldInfo, default: object, short: bool) -> Option:
    extra = _extra(field)
    return Option(
        path=path,
        long=str(extra["option"]),
        short=str(extra["short"]) if short and "short" in extra else None,
        value=_value_name(path, field.annotation),
        default=default_text(default),
        help=field.description or "",
    )


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a union other than None; the annotation itself if it is none."""
    if get_origin(annotation) in (None, Literal, tuple):
        return (annotation,)
    return tuple(kind for kind in get_args(annotation) if kind is not NoneType)


def _value_name(path: str, annotation: Any) -> str:
    (kind, *_) = _kinds(annotation)
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) is tuple:
        return "NAME …"
    if kind in (int, float):
        return "INT" if kind is int else "FLOAT"
    return re.split(r"[/_]", path)[-1].upper()


def _tyro_field(option: Option, field: FieldInfo) -> tuple[str, Any, Any]:
    described = tyro.conf.arg(
        name=option.long.removeprefix("--"),
        aliases=[option.short] if option.short else [],
        metavar=option.value or None,
        help=option.help,
        help_behavior_hint=f"(default: {option.default})",
    )
    name = _attribute(option.path)
    (kind, *_) = _kinds(field.annotation)
    if kind is bool:
        return name, Annotated[bool | None, described], None
    if get_origin(kind) is tuple:
        repeated = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
        return name, Annotated[repeated, described], ()
    return name, Annotated[str | None, described], None


def _plain(field: FieldInfo, long: str, value: Any) -> Any:
    """What a command line gave, as the configuration reads it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        words = [word for words in value for word in words]
        items = [item for word in words for item in re.split(r"[,+]", word) if item]
        if not items:
            raise InputError(f"{long}: give at least one name after it")
        return items
    optional = NoneType in get_args(field.annotation)
    return None if optional and value.lower() == "none" else value


def written_options(command: type) -> list[Option]:
    """The hand-written options of a dataclass for tyro, those of its base classes included."""
    hints = get_type_hints(command, include_extras=True)
    defaults = {field.name: field.default for field in dataclasses.fields(command)}
    options = []
    for name, annotation in hints.items():
        if name not in defaults:
            continue
        # What option() put there; tyro's own markers have no name.
        described = next(
            (item for item in getattr(annotation, "__metadata__", ()) if hasattr(item, "aliases")),
            None,
        )
        names = getattr(described, "aliases", None) or ()
        hint = getattr(described, "help_behavior_hint", None)
        options.append(
            Option(
                path="",
                long="--" + (getattr(described, "name", None) or name.replace("_", "-")),
                short=next((alias for alias in names if not alias.startswith("--")), None),
                value=getattr(described, "metavar", None) or "",
                default=(
                    hint.removeprefix("(default: ").removesuffix(")")
                    if isinstance(hint, str)
                    else default_text(defaults[name])
                ),
                help=getattr(described, "help", None) or "",
            )
        )
    return options


def options_table(options: Iterable[Option]) -> str:
    """Options as a Markdown table."""
    lines = ["| option | short | default | |", "|---|---|---|---|"]
    for option in options:
        name = f"`{option.long} {option.value}`".replace(" `", "`")
        short = f"`{option.short}`" if option.short else ""
        cells = [name, short, option.default, option.help]
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _escaped(cell: str) -> str:
    """A table's cell; names in backquotes are taken as they are but for the separator."""
    cell = cell.replace("|", "\\|")
    return cell if cell.startswith("`") else cell.replace("<", "\\<")


def _names(command: type) -> list[str]:
    """All option names of a tyro dataclass and its groups, for suggestions."""
    names = ["--help"]
    for annotation in get_type_hints(command).values():
        if dataclasses.is_dataclass(annotation):
            names += _names(annotation)  # type: ignore[arg-type]
    for option in written_options(command):
        names += [option.long, *([option.short] if option.short else [])]
    return names


def _unknown(word: str, names: Collection[str], prog: str) -> str:
    name = word.split("=", maxsplit=1)[0]
    if not name.startswith("-"):
        return f"{word!r}: expected an option here ({prog} --help lists them)"
    close = difflib.get_close_matches(name.replace("_", "-"), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{name}: no such option; {hint}({prog} --help lists them)"
