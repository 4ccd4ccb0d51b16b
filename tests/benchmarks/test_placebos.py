"""The placebos of recorded trials, judged rule by rule."""

import tarfile
from pathlib import Path

import pytest

from benchmarks import placebos

RECORDED = Path(__file__).parents[1] / "fixtures" / "recorded"


def test_recorded_trials_have_placebos_that_keep_the_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("clocks", "finished"):
        with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
    studies = tmp_path / "studies"
    folders = [studies / "finished", studies / "clocks", studies / "clocks" / "confirm"]
    assert placebos.main([*map(str, folders), "--most", "4"]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if "trial-0" in line]
    assert len(rows) > 5
    assert all(row.endswith("| none |") for row in rows)
    assert "rules broken: 0" in out
    assert "placebos: none" not in out
