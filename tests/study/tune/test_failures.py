"""Which failures another try would end in the same way, and what Tune does then."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial

from study.tune import runner
from study.tune.failures import is_refusal
from study.tune.ray_patches import given_up_if

HEAD = "Failure # 1 (occurred at x)\nray::NoiseTrainable.train() (pid=7)\n"
CHAIN = "\nThe above exception was the direct cause of the following exception:\n\n"
REFUSED = "trainables.errors.InputError: task = 'mine:Task': in train_epoch, it raised"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (f"{HEAD}{REFUSED} a list\n", True),
        (f"{HEAD}  TypeError: a list\n{CHAIN}{REFUSED} TypeError: a list\n", True),
        (f"{HEAD}TypeError: a list\n", False),
        (f"{HEAD}FileNotFoundError: a.png\n{CHAIN}{REFUSED} FileNotFoundError: a.png\n", False),
        (f"{HEAD}ConnectionResetError\n{CHAIN}{REFUSED} it\n", False),
        (f"{HEAD}MemoryError\n{CHAIN}{REFUSED} MemoryError\n", False),
        (
            f"{HEAD}{REFUSED} RuntimeError: DataLoader worker is killed by signal: Bus error\n",
            False,
        ),
        (f"{HEAD}{REFUSED} RuntimeError: CUDA error: misaligned address\n", False),
        (f"{HEAD}The actor died unexpectedly before finishing this task.\n", False),
        # The last failure counts.
        (f"{HEAD}{REFUSED} a list\n{HEAD}TypeError: a list\n", False),
        ("", False),
    ],
)
def test_what_a_check_refused_would_be_refused_again(
    text: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "error.txt"
    file.write_text(text)
    trial: Any = SimpleNamespace(error_file=str(file))
    assert is_refusal(trial) is refused
    for processes, hopeless in (({"raylet": None}, refused), ({}, False)):
        monkeypatch.setattr(runner, "started_processes", lambda found=processes: found)
        assert runner.is_hopeless(trial) is hopeless


def test_tune_gives_up_what_is_hopeless_and_counts_other_failures() -> None:
    trial: Any = SimpleNamespace(run_metadata=SimpleNamespace(num_failures=1), max_failures=2)
    usual = Trial.should_recover
    for hopeless in (True, False):
        with given_up_if(lambda asked, answer=hopeless: asked is trial and answer):
            assert Trial.should_recover(trial) is not hopeless
    assert Trial.should_recover is usual
    trial.run_metadata.num_failures = 3
    with given_up_if(lambda asked: False):
        assert not Trial.should_recover(trial)
