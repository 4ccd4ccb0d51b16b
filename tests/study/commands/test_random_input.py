"""Random configuration files: each is accepted or answered with a message, never with a traceback.

In-process: the command itself, up to where it would start or write something.
"""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.commands.study import main
from study.config import StudyConfig
from study.presets import quickstart
from tests.support.hostile_input import put
from trainables.config import setting_paths

PATHS = sorted(setting_paths(StudyConfig))
GROUPS = ["train", "train/data", "train/model", "train/optimizer", "train/noise"]

NUMBERS = st.one_of(
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -1, 1, 2, 10**30, -(10**400), 1e308, 5e-324]),
)
WORDS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "none", "auto", "cuda", "always", "off", "digits", "a\x00b", "\ud800",
                     "../..", "a:b", ":", "resnet18", "best_val_accuracy,best_val_accuracy"]),
)  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
PATH = st.one_of(st.sampled_from(PATHS), st.sampled_from(GROUPS), WORDS)


@st.composite
def changed_files(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A whole configuration in which some settings are something else, or a part of one."""
    values = quickstart().model_dump(mode="json") if draw(st.booleans()) else {}
    for path, value in draw(st.lists(st.tuples(PATH, VALUES), max_size=4)):
        put(values, path, value)
    return json.dumps(values)


@st.composite
def damaged_files(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A configuration that is cut short, or has a stretch replaced by something else."""
    text: str = draw(changed_files())
    start: int = draw(st.integers(0, len(text)))
    end: int = draw(st.integers(start, len(text)))
    middle: str = draw(st.text(max_size=5))
    return text[:start] + middle + (text[end:] if draw(st.booleans()) else "")


@st.composite
def lists_of_overrides(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A file of given configurations, with wrong paths and values."""
    path = st.one_of(st.sampled_from([p.removeprefix("train/") for p in PATHS]), WORDS)
    entry = st.one_of(st.dictionaries(path, VALUES, max_size=3), VALUES)
    return json.dumps(draw(st.lists(entry, max_size=3)))


FILES = st.one_of(
    changed_files(),
    damaged_files(),
    VALUES.map(json.dumps),
    st.text(max_size=60),
    st.integers(1, 3000).map(lambda depth: "[" * depth),
)
# Three tests of so many: more than five hundred files.
EACH = settings(
    max_examples=170,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Accepted(BaseException):
    """Raised where the study would begin; no error, so the command does not answer it."""


def answer(words: list[str], storage: Path) -> str:
    """The message that the command answers with; empty if it would run. Nothing else is raised."""
    before = sorted(storage.rglob("*"))
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        patch.setattr("study.api.run_study", _accept)
        try:
            code = main(["run", *words, "--storage", str(storage)])
        except Accepted:
            return ""
        finally:
            assert sorted(storage.rglob("*")) == before
    message = errors.getvalue()
    assert code == 2, message
    assert message.startswith("noise-study: ")
    assert message.removeprefix("noise-study: ").strip()
    assert "Traceback" not in message + output.getvalue()
    return message


def _accept(config: StudyConfig, **options: Any) -> None:
    raise Accepted


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_files_written_at_random(ending: str, tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    storage.mkdir()
    path = tmp_path / f"config.{ending}"
    messages: list[str] = []

    @EACH
    @given(FILES)
    def try_one(text: str) -> None:
        path.write_bytes(text.encode(errors="surrogatepass"))
        messages.append(answer(["--config", str(path)], storage))

    try_one()
    assert len(messages) >= 170
    assert any(messages)
    assert not all(messages)


@pytest.mark.slow
def test_configurations_written_at_random(tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    storage.mkdir()
    path = tmp_path / "configs.json"
    messages: list[str] = []

    @EACH
    @given(st.one_of(lists_of_overrides(), VALUES.map(json.dumps), st.text(max_size=40)))
    def try_one(text: str) -> None:
        path.write_bytes(text.encode(errors="surrogatepass"))
        messages.append(answer(["--configs", str(path)], storage))

    try_one()
    assert len(messages) >= 170


@pytest.mark.slow
def test_options_written_at_random(tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    storage.mkdir()
    names = ["--epochs", "--lr", "--trials", "--space", "--objective", "--noise-layer", "--signals",
             "--device", "--name", "--time-budget", "--classifier", "--dataset", "--data-dir",
             "--tracking-uri", "--seed"]  # fmt: skip

    @settings(EACH, max_examples=100)
    @given(st.lists(st.tuples(st.sampled_from(names), SCALARS.map(str)), min_size=1, max_size=3))
    def try_one(pairs: list[tuple[str, str]]) -> None:
        answer([f"{name}={value}" for name, value in pairs], storage)

    try_one()


@pytest.mark.parametrize("content", ["{", '{"trials": []}', "[]", '{"train": 3}', '{"no": 1}'])
def test_the_exit_code_is_two(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    assert main(["run", "--config", str(path), "--storage", str(tmp_path / "studies")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("noise-study: ")
    assert "Traceback" not in captured.err
    assert not (tmp_path / "studies").exists()
