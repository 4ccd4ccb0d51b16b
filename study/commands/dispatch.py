"""Which subcommand the words of a command line mean, and how a function becomes one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from study.commands.options import VERSION_HELP, read_arguments
from trainables.errors import InputError, nearest

NOISE_STUDY = "noise-study"

Options = TypeVar("Options")


def dispatch(
    prog: str, commands: dict[str, tuple[Callable[[Sequence[str]], int], str]], words: Sequence[str]
) -> int:
    if not words or words[0] in {"-h", "--help"}:
        width = max(map(len, commands))
        lines = [f"  {name:{width}}  {text}" for name, (_, text) in commands.items()]
        print(f"usage: {prog} COMMAND [OPTIONS]\n\n" + "\n".join(lines))
        print(f"\n{prog} COMMAND --help explains a command. {VERSION_HELP}")
        return 0 if words else 2
    if words[0] not in commands:
        raise InputError(f"{words[0]!r}: no such command; {nearest(words[0], commands)}")
    return commands[words[0]][0](words[1:])


def subcommand(
    prog: str, kind: type[Options]
) -> Callable[[Callable[[Options], int]], Callable[[Sequence[str]], int]]:
    """Make a function of options the subcommand ``prog``; ``--help`` says its docstring."""

    def reading(run: Callable[[Options], int]) -> Callable[[Sequence[str]], int]:
        def command(words: Sequence[str]) -> int:
            about = " ".join((run.__doc__ or "").split())
            return run(read_arguments(kind, words, prog=prog, description=about))

        return command

    return reading
