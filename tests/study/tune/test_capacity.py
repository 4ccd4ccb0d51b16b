"""How many trials fit on a cluster, node by node."""

from typing import Any

import pytest

from study.checks import check_study
from study.config import StudyConfig
from study.tune import capacity as capacity_module
from study.tune.capacity import Node, capacity, packing, reserved_cores
from study.tune.cores import trials_here
from trainables.errors import InputError
from trainables.settings import parse_config


def nodes(*sizes: tuple[float, float]) -> list[Node]:
    return [Node(f"{i:032x}", f"10.0.0.{i}", *size) for i, size in enumerate(sizes)]


def config(**values: Any) -> StudyConfig:
    return parse_config(StudyConfig, values)


@pytest.mark.parametrize(
    ("sizes", "cpus", "gpus", "fits"),
    [
        ([(8, 1), (8, 1)], 1, 0.25, 8),
        ([(8, 1), (8, 1)], 1, 0.3, 6),
        ([(8, 1), (8, 1)], 1, 0.4, 4),
        ([(8, 1), (8, 1)], 1, 0.6, 2),
        # Half of each node's cores is of no use to the other's GPU.
        ([(2, 4), (30, 1)], 1, 0.25, 6),
        ([(8, 1), (8, 1)], 1, 1, 2),
        # Two GPUs, but not on one node.
        ([(8, 1), (8, 1)], 1, 2, 0),
        ([(8, 3), (8, 2)], 1, 2, 2),
        # Three cores, but not on one node.
        ([(2, 0), (1, 0)], 3, 0, 0),
        ([(3, 0), (2, 0), (0, 0)], 2, 0, 2),
        # Not six and a tenth: 0.1 is no binary number.
        ([(1, 0)], 0.1, 0, 10),
    ],
)
def test_trials_fit_node_by_node(
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[tuple[float, float]],
    cpus: float,
    gpus: float,
    fits: int,
) -> None:
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes(*sizes))
    wanted = config(cpus_per_trial=cpus, gpus_per_trial=gpus)
    if fits:
        assert capacity(wanted).concurrent == fits
        assert capacity(wanted.model_copy(update={"max_concurrent": 1})).concurrent == 1
    else:
        with pytest.raises(InputError, match=rf"{sizes[0][0]:g} cores and {sizes[0][1]:g} GPUs"):
            capacity(wanted)


def test_the_line_at_the_start_counts_the_nodes_that_can_run_trials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes((4, 0), (8, 1), (8, 1)))
    wanted = config(gpus_per_trial=0.3)
    assert capacity(wanted).describe(wanted) == (
        "6 trials at once: 16 cores on 2 nodes, 1 a trial, 2 GPUs (3 trials share a GPU, 0.1 of "
        "it is left over)"
    )


STREAMED = {"dataset": "mine:data", "decoding": 2, "fit": "crop", "stream": True}


@pytest.mark.parametrize(
    ("sizes", "asked", "fits", "reserved"),
    [
        ([8], (1, 0), 8, 1),
        ([8], (1, 1), 4, 2),
        ([8], (1, 3), 2, 4),
        ([8], (2, 2), 2, 4),
        ([8, 4], (1, 3), 3, 4),
        # One at least, where its own cores are there.
        ([2], (1, 3), 1, 2),
        ([8, 2], (1, 3), 3, 2),
        ([8, 1], (2, 3), 1, 5),
    ],
)
def test_processes_that_read_ahead_have_a_core_each(
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[float],
    asked: tuple[int, int],
    fits: int,
    reserved: float,
) -> None:
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes(*((s, 0) for s in sizes)))
    cpus, workers = asked
    data = {**STREAMED, "stream_workers": workers}
    wanted = config(cpus_per_trial=cpus, train={"data": data})
    room = capacity(wanted)
    assert room.concurrent == fits
    assert reserved_cores(wanted) == reserved
    said = f" and {workers} for its --stream-workers" if workers else ""
    assert room.describe(wanted).endswith(f" cores{_on(room.nodes)}, {cpus} a trial{said}")


def _on(nodes: int) -> str:
    return f" on {nodes} nodes" if nodes > 1 else ""


def test_a_trial_that_asks_for_no_core_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "alive_nodes", lambda: nodes((2, 0)))
    data = {**STREAMED, "stream_workers": 3}
    wanted = config(cpus_per_trial=0, max_concurrent=7, train={"data": data})
    assert capacity(wanted).concurrent == 7
    assert reserved_cores(wanted) == 0


def test_packing_says_what_is_left_over() -> None:
    assert packing(0.25) == "4 trials share a GPU"
    assert packing(0.4) == "2 trials share a GPU, 0.2 of it is left over"
    assert packing(0.7) == "one trial a GPU, 0.3 of it is left over"
    assert packing(2) == "2 GPUs each"


def test_logical_gpus_need_a_cluster() -> None:
    wanted = config(gpus_per_trial=0.5, train={"device": "cpu", "data": {"dataset": "digits"}})
    with pytest.raises(InputError, match="add --device cuda"):
        check_study(wanted)
    check_study(wanted.model_copy(update={"address": "10.0.0.1:6379"}))


@pytest.mark.parametrize(
    ("settings", "fits"),
    [
        ({}, 6),
        ({"cpus_per_trial": 4}, 1),
        ({"cpus_per_trial": 7}, 1),
        ({"max_concurrent": 2}, 2),
        ({"max_concurrent": 9}, 6),
        ({"cpus_per_trial": 0}, 1),
        ({"cpus_per_trial": 0, "max_concurrent": 9}, 9),
    ],
)
def test_trials_at_once_here_follow_from_the_cores(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], fits: int
) -> None:
    monkeypatch.setattr("study.tune.cores.cores_here", lambda: 6)
    assert trials_here(config(**settings)) == fits
