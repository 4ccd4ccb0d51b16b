"""Which subcommand the words of a command line mean."""

from collections.abc import Callable, Sequence

from trainables.errors import InputError, nearest

PROG = "noise-study"


def dispatch(
    prog: str, commands: dict[str, tuple[Callable[[Sequence[str]], int], str]], words: Sequence[str]
) -> int:
    if not words or words[0] in {"-h", "--help"}:
        width = max(map(len, commands))
        lines = [f"  {name:{width}}  {text}" for name, (_, text) in commands.items()]
        print(f"usage: {prog} COMMAND [OPTIONS]\n\n" + "\n".join(lines))
        print(f"\n{prog} COMMAND --help explains a command.")
        return 0 if words else 2
    if words[0] not in commands:
        raise InputError(f"{words[0]!r}: no such command; {nearest(words[0], commands)}")
    return commands[words[0]][0](words[1:])
