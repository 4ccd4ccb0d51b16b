"""The register: nothing is lost or rewritten, whoever writes at once, dies, or finds no room."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.records.register import (
    Register,
    RegisterEntry,
    RegisterError,
    new_entry,
    note_reading,
)
from study.records.storage import Storage
from tests.support.servers import ObjectStore
from trainables.data.dataset import KnownImages
from trainables.object_store import ObjectPath

IMAGES = KnownImages("ab" * 16, 450)


def read_by(name: str, *same: object, **values: Any) -> RegisterEntry:
    return new_entry(IMAGES, *same, what="read", by="noise-test", name=name, **values)


def names(register: Register) -> list[str]:
    return [entry.name for entry in register.read().entries]


@pytest.fixture(params=["folder", "file", "s3"])
def register(request: pytest.FixtureRequest, tmp_path: Path) -> Register:
    """An empty register in a folder, and in two kinds of object stores."""
    if request.param == "folder":
        return Register(tmp_path / "studies")
    if request.param == "file":
        return Register(tmp_path / "work", ObjectPath((tmp_path / "store").as_uri()))
    found: ObjectStore = request.getfixturevalue("store")
    return Register(tmp_path / "work", ObjectPath(found.uri(f"bucket/{tmp_path.name}")))


def test_what_is_added_is_read_in_order_and_an_equal_entry_once(register: Register) -> None:
    assert register.read().entries == ()
    plan = new_entry(
        IMAGES, "uid", what="planned", by="noise-study confirm", name="s", uid="uid",
        trials=("trial-0001",), seeds=(5, 6), verdict={"trial-0001": "better"},
    )  # fmt: skip
    register.add(plan)
    register.add(read_by("a"))
    again = new_entry(IMAGES, "uid", what="planned", by="noise-study confirm", name="s")
    assert (again.id, again.what) == (plan.id, "planned")
    register.add(again, read_by("a"), read_by("b", "same"), read_by("b", "same"))
    found = register.read()
    assert found.damage == ()
    assert found.entries[0] == plan
    assert [entry.name for entry in found.entries] == ["s", "a", "a", "b"]
    assert {(e.test_set, e.images) for e in found.entries} == {IMAGES}


def test_another_test_set_or_another_word_is_another_entry() -> None:
    ids = {
        new_entry(images, "uid", what=what, by="x", name="s").id
        for images in (IMAGES, KnownImages("cd" * 16, 450))
        for what in ("planned", "ended")
    }
    assert len(ids) == 4


def test_in_an_object_store_each_entry_is_an_object_that_is_never_rewritten(
    store: ObjectStore, tmp_path: Path
) -> None:
    place = ObjectPath(store.uri(f"bucket/{tmp_path.name}"))
    register = Register(tmp_path, place)
    entry = read_by("a", "once")
    register.add(entry)
    (first,) = (place / "register").files()
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}\.\d{{6}}Z-{entry.id}\.json", first.name)
    before = first.read_bytes()
    register.add(read_by("changed", "once"), read_by("b"))
    assert len(list((place / "register").files())) == 2
    assert first.read_bytes() == before
    assert json.loads(before)["name"] == "a"
    # What else lies there, as of a study that was called so, is no entry.
    (place / "register" / "ledger.jsonl").write_bytes(b"")
    (place / "register" / "study.json").write_bytes(b"{}")
    (place / "register" / "20260101T000000.000Z-00.json").write_bytes(b'{"crc":"')
    found = register.read()
    assert [e.name for e in found.entries] == ["a", "b"]
    assert [line.rpartition("/")[2] for line in found.damage] == [
        "20260101T000000.000Z-00.json: cut short or damaged"
    ]


_ADD = """
import sys
from pathlib import Path
from study.records.register import Register, new_entry
from trainables.data.dataset import KnownImages
register = Register(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}-{number}"
    register.add(new_entry(KnownImages("ab", 1), what="read", by="test", name=name))
    print(name, flush=True)
"""


def adding(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _ADD, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_add_at_once_lose_and_tear_nothing(tmp_path: Path) -> None:
    both = [adding(tmp_path, name, 60) for name in ("one", "other")]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    found = Register(tmp_path).read()
    assert found.damage == ()
    for name in ("one", "other"):
        own = [e.name for e in found.entries if e.name.startswith(f"{name}-")]
        assert own == [f"{name}-{number}" for number in range(60)]
    assert len(found.entries) == 120
    lines = Register(tmp_path).path.read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [e.name for e in found.entries]


def test_what_a_killed_process_had_added_stays_and_its_lock_is_free(tmp_path: Path) -> None:
    said: list[str] = []
    for kill in range(3):
        with adding(tmp_path, f"killed{kill}", 10_000) as process:
            assert process.stdout is not None
            said += [process.stdout.readline().strip() for _ in range(3 + kill)]
            process.send_signal(signal.SIGKILL)
    register = Register(tmp_path)
    register.add(read_by("last"))
    found = names(register)
    assert set(said) <= set(found)
    assert found[-1] == "last"


@pytest.mark.parametrize("left", [1, 20, -1])
def test_a_line_that_was_cut_short_is_said_and_costs_no_other(tmp_path: Path, left: int) -> None:
    register = Register(tmp_path)
    register.add(read_by("a"), read_by("b"))
    content = register.path.read_bytes()
    last = content.index(b"\n") + 1
    # To its first byte, to its twentieth, or all but its end, which makes it a whole one.
    torn = content[: last + left] if left > 0 else content[:-1]
    register.path.write_bytes(torn)
    cut = left > 0
    for later in ((), ("c",), ("c", "d")):
        if later:
            register.add(read_by(later[-1]))
        found = register.read()
        assert [e.name for e in found.entries] == ["a", *([] if cut else ["b"]), *later]
        damage = (f"{register.path}, line 2: cut short or damaged",) if cut else ()
        assert found.damage == damage
    # Nothing that was there is changed.
    assert register.path.read_bytes().startswith(torn)


def test_a_changed_line_and_one_of_a_later_version(tmp_path: Path) -> None:
    from study.records.checked_line import sealed

    register = Register(tmp_path)
    register.add(read_by("a"), read_by("b"))
    content = register.path.read_bytes().replace(b'"images": 450', b'"images": 451', 1)
    later = {**read_by("c").model_dump(mode="json"), "new": 1}
    unknown = {**later, "what": "burnt"}
    lines = [sealed(json.dumps(values).encode()) for values in (later, unknown)]
    register.path.write_bytes(content + b"".join(lines))
    found = register.read()
    assert [e.name for e in found.entries] == ["b", "c"]
    assert [line.rpartition(", ")[2] for line in found.damage] == [
        "line 1: cut short or damaged",
        "line 4: of another version",
    ]


_FULL = """
import resource, signal, sys
from pathlib import Path
from study.records.register import Register, RegisterError, new_entry
from trainables.data.dataset import KnownImages
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
register = Register(Path(sys.argv[1]))
size = register.path.stat().st_size + 100
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    register.add(new_entry(KnownImages("ab", 1), what="read", by="test", name="late"))
except RegisterError as error:
    print(error)
"""


def test_without_room_nothing_is_added_and_nothing_torn(tmp_path: Path) -> None:
    register = Register(tmp_path)
    register.add(read_by("a"))
    before = register.path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "can't be written (File too large)" in done.stdout
    assert register.path.read_bytes() == before
    register.add(read_by("b"))
    assert names(register) == ["a", "b"]


def test_what_can_not_be_written_or_read_is_said(tmp_path: Path) -> None:
    register = Register(tmp_path)
    register.check_writable()
    assert not register.path.exists()
    register.path.mkdir()  # Root may write to what is read-only, but not to this.
    for act in (register.check_writable, lambda: register.add(read_by("a")), register.read):
        with pytest.raises(RegisterError, match=r"register\.jsonl can't be .*Is a directory"):
            act()
    said: list[str] = []
    note_reading(register, read_by("a"), said.append)
    assert len(said) == 1
    assert said[0].startswith("this reading of the test set is not registered: the register ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what is read-only")
def test_a_read_only_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    register = Register(tmp_path)
    register.add(read_by("a"))
    register.path.chmod(0o444)
    for act in (register.check_writable, lambda: register.add(read_by("b"))):
        with pytest.raises(RegisterError, match="Permission denied"):
            act()
    assert names(register) == ["a"]


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    register = Register(tmp_path, ObjectPath((tmp_path / "store").as_uri()))
    with pytest.raises(RegisterError, match="can't be written"):
        register.add(read_by("a"))


def test_the_register_of_a_folder_is_its_storages_if_it_belongs_to_a_study(tmp_path: Path) -> None:
    storage = tmp_path / "studies"
    deep = storage / "s" / "confirm" / "checkpoints"
    deep.mkdir(parents=True)
    assert Register.near(deep) == Register(deep)
    (storage / "s" / "study.json").write_text("{}")
    assert Register.near(deep) == Register.near(storage / "s") == Register(storage)
    assert Register.near(storage) == Register(storage)
    assert Register.near(tmp_path / "checkpoints") == Register(tmp_path / "checkpoints")
    assert Register(Storage.of(storage).folder).path == storage / "register.jsonl"
