"""Which failures are forgiven: those of the node, as long as the trial gets on in between."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.tune.lost_nodes import ForgiveLostNodes

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
CONNECTION = """Failure # 1 (occurred at x)
The actor 13c3 is unavailable: RpcError: Socket closed rpc_code: 14.
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
    callback, trial = ForgiveLostNodes(list), begun(tmp_path)
    for done, text in failures:
        fail(callback, trial, text, done)
    assert trial.run_metadata.num_failures == counted


def begun(folder: Path) -> Any:
    """What the callback knows of one of Tune's trials."""
    return SimpleNamespace(
        trial_id="a",
        error_file=str(folder / "error.txt"),
        last_result=None,
        run_metadata=SimpleNamespace(num_failures=0),
    )


def fail(callback: ForgiveLostNodes, trial: Any, text: str, done: int, node: str = "") -> None:
    """A failure after some epochs, as Tune handles it."""
    trial.last_result = {"training_iteration": done, "node": node} if done else None
    trial.run_metadata.num_failures += 1
    with Path(trial.error_file).open("a") as errors:
        errors.write(text)
    callback.on_trial_recover(iteration=1, trials=[trial], trial=trial)


def test_an_error_that_came_before_the_nodes_death_was_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("study.tune.lost_nodes.time.monotonic", lambda: float(next(clock)))
    dead: list[str] = []
    callback, trial = ForgiveLostNodes(lambda: dead), begun(tmp_path)

    def steps(count: int) -> int:
        for _ in range(count):
            callback.on_step_begin(iteration=1, trials=[trial])
        return int(trial.run_metadata.num_failures)

    fail(callback, trial, CONNECTION, done=3, node="10.0.0.7 4bad12cd")
    assert steps(3) == 1
    dead += ["ffff0000", "4bad12cd99"]
    assert steps(2) == 0
    # A worker that dies on a node which lives on has failed for itself.
    fail(callback, trial, CONNECTION, done=5, node="10.0.0.8 77777777")
    assert steps(20) == 1
    dead.append("7777777700")
    assert steps(3) == 1
