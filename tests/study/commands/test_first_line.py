"""The first line of a command that trains comes before anything is imported that takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.trained_studies import TRIALS, write_study

HEAVY = ("torch", "ray", "mlflow", "pandas", "sklearn", "scipy.stats", "matplotlib")

CODE = """
import sys
from study.commands import first_line
import study.commands.experiment, study.commands.confirm, study.commands.run
def told(console, name, what):
    print(name, "|", what, "|", *(m for m in sys.argv[1].split(",") if m in sys.modules))
    raise SystemExit(7)
for module in (study.commands.experiment, study.commands.confirm, study.commands.run):
    module.say_starting = told
from study.commands.study import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    write_study(folder, "known", trials=TRIALS[:1], seeds=1)
    return folder


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("run", "--name", "new", "--trials", "7"), "new | 7 trials of "),
        (("resume", "known"), "known | 1 trials of BabyCNN on digits"),
        (("experiment", "--name", "grid"), "grid | 2 groups"),
        (("confirm", "known", "--top", "1"), "known | its best 1 on 6 fresh seeds"),
    ],
)
def test_it_comes_before_what_is_heavy(words: tuple[str, ...], line: str, storage: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, ",".join(HEAVY), *words, "--storage", str(storage)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith(line)
    assert done.stdout.split("|")[2].split() == []


def test_bad_input_is_one_message_and_no_first_line(storage: Path) -> None:
    words = ("run", "--name", "new", "--lr", "-1", "--storage", str(storage))
    command = [sys.executable, "-m", "study.commands.study", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("noise-study: ") == 1


def test_ray_starts_before_what_no_training_waits_for() -> None:
    heavy = (
        "torchvision",
        "torch._dynamo",
        "sklearn",
        "scipy.stats",
        "pandas",
        "mlflow",
        "ray.tune",
    )
    code = (
        "import sys\n"
        "import study.tune.connect\n"
        "from study.api import run_study\n"
        "from study.campaigns.images import study_images\n"
        "from study.checks import check_runs\n"
        "from study.presets import quickstart\n"
        "check_runs(quickstart())\n"
        "study_images(quickstart().train, None)\n"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
