"""``noise-study ui``: where MLflow's pages are is said before they are served."""

from pathlib import Path
from typing import Any

import pytest

from study.commands.study import main


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ([], "http://127.0.0.1:5000"),
        (["--port", "5001"], "http://127.0.0.1:5001"),
        (["mine"], "http://127.0.0.1:5000/#/pages/of/mine"),
    ],
)
def test_the_address_is_printed_and_opened(
    words: list[str],
    address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    def served(uri: str, storage: Path, **more: Any) -> int:
        assert capsys.readouterr().out.splitlines()[-1] == f"  {address}"
        assert opened == [address]
        return 7

    monkeypatch.setattr("study.tracking.ui.serve_ui", served)
    monkeypatch.setattr("study.tracking.ui.open_when_ready", opened.append)
    monkeypatch.setattr("study.tracking.ui.pages_of", lambda _, name: f"#/pages/of/{name}")
    assert main(["ui", *words, "--storage", str(tmp_path)]) == 7
