"""An output of a notebook's cell that is replaced in place, where a bar would need a terminal."""

import io
import sys
import uuid

from rich.console import Console, RenderableType
from rich.jupyter import JUPYTER_HTML_FORMAT

_WIDTH = 100
"""Characters of a line."""


def in_notebook(console: Console) -> bool:
    """Whether what a console shows is shown below a notebook's cell."""
    # IPython is no dependency: where a kernel runs, it is imported.
    return console.is_jupyter and "IPython" in sys.modules


class CellOutput:
    """Appears below the cell that runs when it is first drawn; then it is replaced."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._shown: dict[str, str] = {}

    def draw(self, what: RenderableType) -> None:
        from IPython.display import publish_display_data

        data = _as_text(what)
        if data == self._shown:
            return
        known = bool(self._shown)
        self._shown = data
        publish_display_data(data, transient={"display_id": self._id}, update=known)


def _as_text(what: RenderableType) -> dict[str, str]:
    """By MIME type."""
    paper = Console(
        file=io.StringIO(),
        width=_WIDTH,
        record=True,
        force_jupyter=False,
        force_terminal=True,
        color_system="truecolor",
    )
    paper.print(what)
    html = paper.export_html(inline_styles=True, code_format=JUPYTER_HTML_FORMAT, clear=False)
    return {"text/html": html, "text/plain": paper.export_text()}
