"""Which Ray a command uses, what a Ray of our own opens, and clusters that are not there."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import ray
from ray._private import services
from ray._private import worker as ray_worker

from study.commands.study import main
from study.config import StudyConfig
from study.tune import connect
from study.tune.address import address_of
from study.tune.connect import ray_kept, ray_session
from tests.support.servers import free_port
from tests.support.study_processes import ROOT, alive, family, listening, wait_until
from trainables.errors import InputError
from trainables.settings import parse_config


def config(**values: Any) -> StudyConfig:
    return parse_config(StudyConfig, values)


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose Ray has its files, its note of the last cluster and its token apart."""
    # The path is short: sockets lie below it.
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        own = {"HOME": str(tmp_path), "RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
        apart = {"RAY_ADDRESS", "RAY_AUTH_MODE"}
        yield {name: text for name, text in os.environ.items() if name not in apart} | own


def test_ray_address_counts_where_no_address_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address_of(config()) is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert address_of(config()) is None
    assert address_of(config(address="auto")) == "auto"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address_of(config()) == "10.0.0.1:6379"
    assert address_of(config(address="auto")) == "10.0.0.1:6379"
    assert address_of(config(address="10.0.0.2:6379")) == "10.0.0.2:6379"
    monkeypatch.setenv("RAY_ADDRESS", "http://me:hush@head:8265")
    with pytest.raises(InputError, match=r"RAY_ADDRESS = 'http://\*\*\*@head:8265'"):
        address_of(config())


@pytest.mark.slow
def test_a_ray_of_ours_listens_on_the_loopback_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_kept():
        with ray_session(config()):
            there, _ = ray.get(ray.remote(lambda: (os.getpid(), 0)).remote())
            assert there in family(os.getpid())
            assert ray_worker._global_node.all_processes.keys() == {"gcs_server", "raylet"}
            found = listening(family(os.getpid()))
            assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
        with ray_session(config()):
            assert there in family(os.getpid())
    assert not ray.is_initialized()
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


def test_auto_leads_to_no_cluster_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ray's note of the last cluster started here outlives a crash of the machine.
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", cache(frozenset))
    gone = f"127.0.0.1:{free_port()}"
    words = ["run", "--storage", str(tmp_path / "s"), "--dataset", "digits", "--address", "auto"]
    assert main(words) == 2
    assert "'auto': no Ray cluster can be used there (Could not find" in capsys.readouterr().err
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(gone)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "'auto': no Ray cluster can be used there (" in error
    assert f"{gone.split(':')[1]}, to which it leads: " in error
    with socket.create_server(("127.0.0.1", 0)) as other:
        # Any other Ray of this machine, such as that of another study, is not what was meant.
        running = frozenset({f"127.0.0.1:{other.getsockname()[1]}"})
        monkeypatch.setattr(services, "find_gcs_addresses", cache(lambda: running))
        assert main(words) == 2
    assert f"{gone.split(':')[1]}, to which it leads: " in capsys.readouterr().err
    (tmp_path / "ray" / "ray_current_cluster").write_text("")
    assert main(words) == 2
    assert "'auto': no Ray cluster can be used there (Invalid address" in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert main(words) == 2
    assert "(RAY_ADDRESS is local, which is no cluster)" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_auto_is_the_cluster_that_was_started_here_with_its_token_until_it_is_gone(
    tmp_path: Path, surroundings: dict[str, str]
) -> None:
    python = [sys.executable, "-m"]
    start = ["ray.scripts.scripts", "start", "--head", "--block", "--num-cpus", "1"]
    start += ["--include-dashboard=false", "--port", str(free_port())]
    note = Path(surroundings["RAY_TMPDIR"]) / "ray" / "ray_current_cluster"
    words = ["study.commands.study", "run", "--storage", str(tmp_path / "s"), "--address", "auto"]
    words += ["--dataset", "synthetic", "--synthetic-train", "100", "--synthetic-test", "50"]
    words += ["--epochs", "4", "--trials", "1", "--baseline-seeds", "1", "--race-seeds", "1"]

    def study(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*python, *words, "--name", name],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )

    # Where Ray has started by itself before, it asks for the token that it has made then.
    made = [*python, "ray.scripts.scripts", "get-auth-token", "--generate"]
    subprocess.run(made, env=surroundings, check=True, capture_output=True)
    head = subprocess.Popen([*python, *start], env=surroundings, stdout=subprocess.DEVNULL)
    try:
        wait_until(note.exists)
        trained = study("there")
        assert trained.returncode == 0, trained.stdout + trained.stderr
    finally:
        # As with the machine: nothing is tidied up.
        processes = family(head.pid)
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        head.wait()
    wait_until(lambda: not alive(processes))
    assert note.exists()
    # Ray itself would take any other that runs on this machine.
    other = [sys.executable, "-c", "import ray; ray.init(); print(1, flush=True); input()"]
    elsewhere = surroundings | {"RAY_TMPDIR": str(note.parent.parent / "o")}
    with subprocess.Popen(
        other, env=elsewhere, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"1\n"
        refused = study("gone")
        running.communicate(b"\n")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert ", to which it leads: " in refused.stderr
    assert not (tmp_path / "s" / "gone").exists()


def test_ray_is_kept_for_the_next_session_unless_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done: list[str] = []
    for name in ("_start_here", "leave_ray", "_start_workers"):
        monkeypatch.setattr(connect, name, lambda *_, name=name: done.append(name))
    with ray_kept():
        with ray_session(config()):
            pass
        assert done == ["_start_here", "_start_workers"]
    assert done == ["_start_here", "_start_workers", "leave_ray"]
    done.clear()
    with ray_kept():
        with pytest.raises(InputError), ray_session(config()):
            raise InputError("no")
        assert done == ["_start_here", "leave_ray"]
    with ray_session(config()):
        pass
    assert done == ["_start_here", "leave_ray"] * 2


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
