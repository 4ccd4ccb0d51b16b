"""Running a notebook as a person does, cell by cell."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

_CELL_SECONDS = 600


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells give when they are run in ``folder``; the first error."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    # Sockets in a folder, whose path must be short: ports are drawn long before the kernel binds
    # them, and others may get them meanwhile.
    with TemporaryDirectory(prefix="kernel-") as sockets:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/s"}})
        client = NotebookClient(notebook, timeout=_CELL_SECONDS, resources=resources, config=config)
        return client.execute()
