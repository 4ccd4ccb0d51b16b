"""Commands that must be refused: one message, exit code 2, nothing written."""

from pathlib import Path

import pytest

from study.commands.study import main


def refused_run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    """The message with which ``noise-study run`` refuses these; ``folder`` stays as it is."""
    before = sorted(folder.rglob("*"))
    code = main(["run", "--storage", str(folder / "studies"), *arguments])
    message = capsys.readouterr().err
    assert code == 2, message
    assert "Traceback" not in message
    assert sorted(folder.rglob("*")) == before
    return message
