"""Which failures are forgiven: those of the node, as long as the trial gets on in between."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.lost_nodes import ForgiveLostNodes

NODE = """Failure # 1 (occurred at x)
The actor died unexpectedly before finishing this task.
\tclass_name: NoiseTrainable
The actor died because its node has died. Node Id: 4bad
\tthe actor's node was terminated unexpectedly: health check failed
"""
WORKER = """Failure # 1 (occurred at x)
The actor died unexpectedly before finishing this task.
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""


@pytest.mark.parametrize(
    ("failures", "counted"),
    [
        # Epochs done when it failed, and how.
        ([(3, NODE)], 0),
        ([(3, NODE), (5, NODE), (9, NODE)], 0),
        ([(0, NODE)], 0),
        ([(3, NODE), (3, NODE)], 1),
        ([(0, NODE), (0, NODE), (0, NODE)], 2),
        ([(3, WORKER)], 1),
        ([(3, NODE), (4, WORKER), (5, NODE)], 1),
    ],
)
def test_failures_that_count(tmp_path: Path, failures: list[tuple[int, str]], counted: int) -> None:
    callback, file = ForgiveLostNodes(), tmp_path / "error.txt"
    trial: Any = SimpleNamespace(
        trial_id="a",
        error_file=str(file),
        last_result=None,
        run_metadata=SimpleNamespace(num_failures=0),
    )
    for done, text in failures:
        trial.last_result = {"training_iteration": done} if done else None
        # As Tune does.
        trial.run_metadata.num_failures += 1
        with file.open("a") as errors:
            errors.write(text)
        callback.on_trial_recover(iteration=1, trials=[trial], trial=trial)
    assert trial.run_metadata.num_failures == counted
