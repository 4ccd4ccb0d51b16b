"""Paths in an object store behave like a folder's; a trial's checkpoints lie in either."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import ObjectStore
from trainables.checkpoint import load_state
from trainables.errors import CheckpointError
from trainables.files import write_atomically
from trainables.object_store import Location, ObjectPath, location
from trainables.trial_checkpoints import TrialCheckpoints


@pytest.fixture(params=["folder", "file", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty place of each kind."""
    if request.param == "s3":
        found: ObjectStore = request.getfixturevalue("store")
        return location(found.uri(f"bucket/{tmp_path.name}"))
    folder = tmp_path / "root"
    return location(folder.as_uri() if request.param == "file" else str(folder))


def test_it_behaves_as_a_folder_does(root: Location) -> None:
    path: Any = root / "a" / "b.bin"
    assert not path.exists()
    write_atomically(path, b"one")
    write_atomically(path, b"three")
    assert path.read_bytes() == b"three"
    assert (path.exists(), path.name, path.stem, path.stat().st_size) == (True, "b.bin", "b", 5)
    assert [p.name for p in root.glob("*/*")] == ["b.bin"]
    assert [(p.name, p.is_dir()) for p in root.iterdir()] == [("a", True)]
    path.replace(root / "a" / "c.bin")
    assert [p.name for p in (root / "a").glob("*")] == ["c.bin"]
    (root / "a" / "c.bin").unlink()
    (root / "a" / "c.bin").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        (root / "a" / "c.bin").read_bytes()
    (root / "a").rmdir()
    assert list(root.glob("*/*")) == []


def test_a_large_object_is_read_in_one_request(
    store: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    path = location(store.uri("bucket/large.bin"))
    content = bytes(range(256)) * 2**14
    path.write_bytes(content)
    with caplog.at_level(logging.INFO, logger="werkzeug"):
        assert path.read_bytes() == content
    asked = [line for line in caplog.messages if "GET /bucket/large.bin" in line]
    assert len(asked) == 1, asked


def test_a_trial_keeps_its_checkpoints_in_either(
    root: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.trial_checkpoints._SHARE_OF_TIME", 1e9)
    trial = TrialCheckpoints(root, "trial-0001")
    assert list(trial.own()) == []
    assert list(trial.of_baseline("d", 5)) == []
    for epoch in (1, 2, 3):
        trial.save_if_due({"epoch": epoch})
    assert [load_state(path)["epoch"] for path in trial.own()] == [3, 2]
    write_atomically(next(trial.own()), b"damaged")
    with pytest.raises(CheckpointError):
        load_state(next(trial.own()))
    trial.save_final({"epoch": 4})
    assert [path.name for path in trial.own()] == ["final.ckpt"]
    for done in (3, 4):
        trial.save_for_forks({"e": done}, "d", done=done, epochs=6, first=3, budget=10**9)
    assert [path.name for path in trial.of_baseline("d", 4)] == [
        "epoch-00004.ckpt",
        "epoch-00003.ckpt",
    ]


def test_a_store_that_is_away_costs_a_trial_its_checkpoints_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    trial = TrialCheckpoints(location((tmp_path / "file").as_uri()), "t")
    trial.save_if_due({"epoch": 1})
    trial.save_final({"epoch": 2})
    assert list(trial.own()) == []


def test_what_is_shown_holds_no_secret() -> None:
    path = ObjectPath("s3://me:hush@bucket/x?secret_key=hush&region=r") / "a"
    assert str(path) == "s3://***@bucket/x/a"
    assert "hush" not in repr(path)
    assert path.uri == "s3://me:hush@bucket/x/a?secret_key=hush&region=r"
