"""The README's example runs as it stands, and its claims about files are true."""

import re
import subprocess
import sys
from pathlib import Path

from study.commands.readme import PARTS, rewritten

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"<!-- example: .*?-->\n```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text(example)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("trial-")]
    assert len(lines) == 4
    assert (tmp_path / "studies" / "from-python" / "summary.json").exists()


def test_the_generated_tables_are_up_to_date() -> None:
    assert rewritten(README) == README, "run make docs"
    for name in PARTS:
        assert f"<!-- {name} -->\n| " in README


def test_every_picture_is_there() -> None:
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
