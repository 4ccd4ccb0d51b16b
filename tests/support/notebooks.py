"""Running a notebook as a person does, cell by cell."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

_CELL_SECONDS = 600


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells give when they are run in ``folder``; the first error."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=_CELL_SECONDS, resources=resources)
    return client.execute()
