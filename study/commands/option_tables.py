"""Tables of options in Markdown, generated from the configurations."""

from collections.abc import Iterable

from study.commands.settings import Option


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
