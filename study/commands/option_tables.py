"""Tables of options in Markdown, generated from the configurations."""

from collections.abc import Iterable

from study.commands.settings import Option
from study.formats import markdown_table


def options_table(options: Iterable[Option]) -> str:
    """Options as a Markdown table."""
    rows = []
    for option in options:
        name = f"`{option.long} {option.value}`".replace(" `", "`")
        short = f"`{option.short}`" if option.short else ""
        rows.append([_escaped(cell) for cell in (name, short, option.default, option.help)])
    return markdown_table(["option", "short", "default", ""], rows)


def _escaped(cell: str) -> str:
    """A table's cell; names in backquotes are taken as they are."""
    return cell if cell.startswith("`") else cell.replace("<", "\\<")
