"""Which files of one's own travel to a cluster."""

import json
from pathlib import Path

import pytest

from study.tune.shipped_code import shipped_code, with_own_code
from trainables.config import TrainConfig


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "ship_net.py": "import json\nfrom ship_parts.inner import small\nimport torch\n",
        "ship_parts/__init__.py": "",
        "ship_parts/inner/small.py": "",
        "ship_parts/weights.pt": "no module",
        "ship_metric.py": "",
        "ship_other.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(**model: str) -> TrainConfig:
    measured = [{"name": "cost", "function": "ship_metric:cost"}]
    return TrainConfig.model_validate({"model": model, "measured": measured})


def test_modules_and_what_they_import_from_beside_them_are_copied() -> None:
    with shipped_code(config(classifier="ship_net:net")) as paths:
        assert [Path(path).name for path in paths] == [
            "ship_metric.py",
            "ship_net.py",
            "ship_parts",
        ]
        package = Path(paths[-1])
        assert sorted(str(p.relative_to(package)) for p in package.rglob("*.py")) == [
            "__init__.py",
            "inner/small.py",
        ]
        assert not (package / "weights.pt").exists()
    assert not any(Path(path).exists() for path in paths)


def test_what_is_installed_or_the_projects_own_does_not_travel() -> None:
    for name in ("BabyCNN", "torchvision.models:resnet18"):
        with shipped_code(TrainConfig.model_validate({"model": {"classifier": name}})) as paths:
            assert paths == []


@pytest.mark.parametrize(("modules", "count"), [(["there"], 0), ([], 3), (None, 3)])
def test_a_job_that_brings_modules_keeps_them(
    monkeypatch: pytest.MonkeyPatch, modules: list[str] | None, count: int
) -> None:
    job = {"runtime_env": {"working_dir": "gcs://x", "py_modules": modules}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    with shipped_code(config(classifier="ship_net:net")) as paths:
        assert len(paths) == count


def test_workers_here_look_where_this_process_found_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook may have put a folder on its own path of modules, which no worker has."""
    monkeypatch.setenv("PYTHONPATH", "/before")
    own = config(classifier="ship_net:net")
    assert with_own_code(own) == {}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path)
    assert with_own_code(own) == {"PYTHONPATH": f"/before:{tmp_path}"}
    assert with_own_code(TrainConfig()) == {}
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert with_own_code(own) == {}
