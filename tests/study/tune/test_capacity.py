"""How many trials fit on a cluster, node by node; and what a Ray of our own opens."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import ray

from study.checks import check_study
from study.commands.study import main
from study.config import StudyConfig
from study.tune import capacity as capacity_module
from study.tune import connect
from study.tune.address import address_of
from study.tune.capacity import Node, capacity, packing
from study.tune.connect import ray_session
from tests.support.servers import free_port
from tests.support.study_processes import family, listening
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


def test_packing_says_what_is_left_over() -> None:
    assert packing(0.25) == "4 trials share a GPU"
    assert packing(0.4) == "2 trials share a GPU, 0.2 of it is left over"
    assert packing(0.7) == "one trial a GPU, 0.3 of it is left over"
    assert packing(2) == "2 GPUs each"


def test_ray_address_counts_where_no_address_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of(config()) is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert address_of(config()) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address_of(config()) == "10.0.0.1:6379"
    assert address_of(config(address="auto")) == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "http://me:hush@head:8265")
    with pytest.raises(InputError, match=r"RAY_ADDRESS = 'http://\*\*\*@head:8265'"):
        address_of(config())


@pytest.mark.slow
def test_a_ray_of_ours_listens_on_the_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_session(config()):
        there, _ = ray.get(ray.remote(lambda: (os.getpid(), 0)).remote())
        assert there in family(os.getpid())
        found = listening(family(os.getpid()))
        assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
    loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    assert found
    assert found <= set(loopback)


@pytest.mark.parametrize("kind", ["", "ray://"])
def test_an_address_where_no_cluster_is_is_refused_before_anything_is_written(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connect, "_CONNECT_SECONDS", 1.0)
    words = ["run", "--storage", str(tmp_path / "s"), "--dataset", "digits", "--address"]
    assert main([*words, f"{kind}127.0.0.1:{free_port()}"]) == 2
    error = capsys.readouterr().err
    assert "no Ray cluster can be used there" in error
    assert "refused" in error
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main([*words, f"{kind}127.0.0.1:{silent.getsockname()[1]}"]) == 2
    assert "something else answers" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_client_server_that_does_not_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures, tried = iter(range(2)), []
    said = "Initialization failure from server:\nTraceback\nthe fork died"

    def fails_at_first(**options: object) -> None:
        tried.append(options["address"])
        if next(failures, None) is not None:
            raise ConnectionAbortedError(said)

    monkeypatch.setattr(ray, "init", fails_at_first)
    monkeypatch.setattr(connect, "_knock", lambda address: None)
    wanted = config(address="ray://127.0.0.1:10001")
    with ray_session(wanted):
        assert tried == ["ray://127.0.0.1:10001"] * 3
    failures = iter(range(9))
    with (
        pytest.raises(InputError, match="Initialization failure from server: … the fork died"),
        ray_session(wanted),
    ):
        pass
    assert len(tried) == 6


def test_logical_gpus_need_a_cluster() -> None:
    wanted = config(gpus_per_trial=0.5, train={"device": "cpu", "data": {"dataset": "digits"}})
    with pytest.raises(InputError, match="add --device cuda"):
        check_study(wanted)
    check_study(wanted.model_copy(update={"address": "10.0.0.1:6379"}))
