"""The files in ``cluster/``: what Ray's own schema and the project's own option parser accept."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import ray.autoscaler
import yaml
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from study.commands.run import study_config
from study.commands.study import main as noise_study
from study.config import StudyConfig
from trainables.uris import is_uri

ROOT = Path(__file__).parents[1]
SCHEMA = Path(ray.autoscaler.__file__).parent / "ray-schema.json"


def loaded(name: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "cluster" / name).read_text())
    assert isinstance(content, dict)
    return content


LAUNCHER = loaded("ray-cluster.yaml")
JOB = loaded("kuberay-job.yaml")
DOCKERFILE = (ROOT / "cluster" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("trainables", "search_spaces", "study", "analysis")
COMMANDS = {"ray-cluster.yaml": LAUNCHER["metadata"]["command"], "kuberay-job.yaml":
            JOB["spec"]["entrypoint"]}  # fmt: skip


def pinned(package: str) -> str:
    """The version of a package in ``constraints.txt``."""
    found = re.search(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_is_a_study_on_a_cluster(name: str) -> None:
    program, command, *words = shlex.split(COMMANDS[name])
    assert (program, command) == ("noise-study", "run")
    config = study_config(words)
    assert isinstance(config, StudyConfig)
    assert config.address == "auto"
    assert is_uri(config.storage)
    assert config.work_dir is not None
    assert config.tracking_uri is not None
    assert config.tracking_uri.startswith("http://")
    assert config.train.device == "cuda"
    assert 0 < config.gpus_per_trial < 1


def test_the_launcher_file_fits_rays_schema() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(LAUNCHER, schema)
    wrong = {**LAUNCHER, "max_wrokers": 4}
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        jsonschema.validate(wrong, schema)


def test_the_launcher_starts_what_the_command_uses() -> None:
    types = LAUNCHER["available_node_types"]
    head, workers = types[LAUNCHER["head_node_type"]], types["gpu-spot"]
    # A head that may be taken away ends the study; one with resources would train, too.
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert workers["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert workers["min_workers"] == workers["max_workers"] == LAUNCHER["max_workers"]
    started = " ".join(LAUNCHER["head_start_ray_commands"])
    config = study_config(shlex.split(COMMANDS["ray-cluster.yaml"])[2:])
    assert config.tracking_uri is not None
    host, port = config.tracking_uri.removeprefix("http://").split(":")
    assert f"--host {host} --port {port}" in started
    assert host == "127.0.0.1"
    assert "--dashboard-host=127.0.0.1" in started
    assert "0.0.0.0" not in json.dumps(LAUNCHER)


def test_the_versions_are_those_that_were_tested() -> None:
    image = f"rayproject/ray:{pinned('ray')}-py311-gpu"
    assert LAUNCHER["docker"]["image"] == image
    assert f"FROM {image}\n" in DOCKERFILE
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11")
    cluster = JOB["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned("ray")
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [c for group in groups for c in group["template"]["spec"]["containers"]]
    assert len(containers) == 2
    assert {c["image"].split("/")[-1] for c in containers} == {f"noise-study:{PROJECT['version']}"}


def test_the_job_has_what_the_operator_requires() -> None:
    """KubeRay's definition does not ship with Ray: the fields of ``ray.io/v1`` that must be."""
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    spec = JOB["spec"]
    known = {"entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
             "rayClusterSpec"}  # fmt: skip
    assert spec.keys() == known
    # A time to live is allowed only where the cluster is shut down.
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    # Ray's parameters are texts there.
    assert all(isinstance(value, str) for value in head["rayStartParams"].values())
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    assert isinstance(workers["rayStartParams"], dict)
    for group in (head, workers):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"]
        for container in pod["containers"]:
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", container["name"])
            assert {"image", "resources"} <= container.keys()
    # An extended resource is requested as it is limited.
    resources = workers["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("name", ["ray-cluster.yaml", "kuberay-job.yaml", "Dockerfile"])
def test_no_secret_lies_in_a_file(name: str) -> None:
    text = (ROOT / "cluster" / name).read_text()
    assert not re.search(r"AKIA|aws_secret|password|://[^/\s]*:[^/\s]*@", text, re.IGNORECASE)


def test_every_option_that_the_page_names_exists() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    runs = [line for line in lines if "noise-study run" in line]
    assert len(runs) >= 2
    for line in runs:
        words = shlex.split(line.partition("noise-study run")[2], comments=True)
        if not line.startswith("noise-study slurm"):
            assert study_config(words).address is not None


def test_the_batch_script_is_what_the_command_of_the_page_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^noise-study slurm .*-- +run .*$", page, re.MULTILINE)
    assert noise_study([*shlex.split(line)[1:2], "--print", *shlex.split(line)[2:]]) == 0
    printed = re.sub(r"^export PATH=.*?:", "export PATH=CHANGE/.venv/bin:", capsys.readouterr().out,
                     flags=re.MULTILINE)  # fmt: skip
    assert (ROOT / "cluster" / "slurm" / "study.sbatch").read_text() == printed


# --- the image, as far as it can be made without a registry ------------------------------------


def sources() -> set[str]:
    """The files of the packages, by their paths in the repository."""
    return {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


LEFT_BEHIND = (
    ".git/config", ".venv/bin/python", "data/cifar10/batch", "studies/mine/ledger.jsonl",
    "controls/a", "checkpoints/a.pth", "mlruns/0/meta.yaml", "mlartifacts/a", "mlflow.db",
    "noise_study.egg-info/PKG-INFO", ".mypy_cache/a", ".ruff_cache/a", ".hypothesis/a",
    "study/__pycache__/api.cpython-311.pyc", "__pycache__/a.pyc",
)  # fmt: skip


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``COPY . .`` copies out of a folder that was worked in, by docker's own matching."""
    worked_in, image = (tmp_path_factory.mktemp(name) for name in ("worked_in", "image"))
    top = ("pyproject.toml", "README.md", "LICENSE", "constraints.txt")
    for name in (*top, *sources()):
        (worked_in / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, worked_in / name)
    for name in LEFT_BEHIND:
        (worked_in / name).parent.mkdir(parents=True, exist_ok=True)
        (worked_in / name).write_text("")
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for name in exclude_paths(str(worked_in), patterns):
        if (worked_in / name).is_file():
            (image / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(worked_in / name, image / name)
    return image


def test_the_image_has_the_project_and_nothing_that_was_left_beside_it(copied: Path) -> None:
    assert "COPY --chown=ray:users . .\n" in DOCKERFILE
    found = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    top = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert found - {".dockerignore"} == sources() | top
    assert PROJECT["readme"] in found
    assert set(PROJECT["license-files"]) <= found


def test_what_is_installed_from_the_image_s_files_is_whole_and_runs(
    copied: Path, tmp_path: Path
) -> None:
    (line,) = re.findall(r"^RUN (pip install .+)$", DOCKERFILE, re.MULTILINE)
    assert shlex.split(line)[2:] == [
        "--no-cache-dir", "--constraint", "constraints.txt", "--editable", ".${EXTRAS}",
    ]  # fmt: skip
    # Without a registry: what it needs is here.
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
    pip = [sys.executable, "-m", "pip", "install", *offline, "--target", str(tmp_path), "."]
    subprocess.run(pip, cwd=copied, check=True)
    there = {
        str(path.relative_to(tmp_path))
        for package in PACKAGES
        for path in (tmp_path / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert there == sources()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert {path.name for path in (tmp_path / "bin").iterdir()} == PROJECT["scripts"].keys()
    targets = [target.split(":") for target in PROJECT["scripts"].values()]
    imported = "; ".join(f"from {module} import {function}" for module, function in targets)
    for words in (["-c", imported], [str(tmp_path / "bin" / "noise-study"), "--help"]):
        subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, check=True, capture_output=True
        )


def test_everything_that_is_installed_has_its_version_pinned() -> None:
    """Of the project, its extras and all that they need: a version that the ranges allow."""
    lines = (ROOT / "constraints.txt").read_text()
    found = re.findall(r"^([\w.-]+)==(\S+)$", lines, re.MULTILINE)
    pins = {canonicalize_name(name): version for name, version in found}
    waiting = [Requirement(each) for each in PROJECT["dependencies"]]
    for name, needed in PROJECT["optional-dependencies"].items():
        waiting += [Requirement(each) for each in needed if name != "dev"]
    asked: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if str(wanted) in asked:
            continue
        asked.add(str(wanted))
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{wanted}: no version in constraints.txt"
        assert wanted.specifier.contains(pins[name], prereleases=True), f"{wanted}: {pins[name]}"
        for text in requires(name) or ():
            next_one = Requirement(text)
            extras = ["", *wanted.extras]
            marker = next_one.marker
            if marker is None or any(marker.evaluate({"extra": each}) for each in extras):
                waiting.append(next_one)


def test_an_extra_that_a_command_needs_is_in_the_image_or_said_to_be_none() -> None:
    extras = PROJECT["optional-dependencies"]
    (told,) = re.findall(r"--build-arg EXTRAS=\[(.+)\]", DOCKERFILE)
    assert set(told.split(",")) <= extras.keys()
    assert 'ARG EXTRAS=""\n' in DOCKERFILE
    for command in COMMANDS.values():
        config = study_config(shlex.split(command)[2:])
        assert not config.train.model.classifier.startswith("timm:")
        assert config.train.data.dataset != "huggingface"
        assert config.train.model.weights is None
