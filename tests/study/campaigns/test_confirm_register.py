"""Confirmations in the register: planned, extended and ended once each, and counted by images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main as analyse
from study.campaigns.confirm_plan import ConfirmConfig, confirm_folder
from study.campaigns.confirm_register import (
    RegisterStanding,
    ordinal,
    register_end,
    register_plan,
    standing,
)
from study.campaigns.confirmation import Confirmation
from study.campaigns.housekeeping import clean_study
from study.commands.study import main
from study.records.folder import StudyFolder
from study.records.register import Register, RegisterEntry, new_entry
from tests.support.confirmations import confirmation, runs
from tests.support.data_sets import loaded
from tests.support.study_processes import count, study_process, wait_until
from tests.support.trained_studies import Planned, write_confirmation, write_study
from trainables.data.dataset import KnownImages

ONE, OTHER = KnownImages("aa", 450), KnownImages("bb", 450)
CONFIG = ConfirmConfig(seeds=2, trials=("trial-0001",), first_seed=5)


class Known:
    """What of a ledger says which confirmation it is."""

    def __init__(self, uid: str) -> None:
        self.uid = uid


def begun(storage: Path, uid: str, config: ConfirmConfig = CONFIG) -> Confirmation:
    """A confirmation of two seeds, of which it has used the first."""
    made = confirmation(config, *runs("", "baseline", {5: 0.5}))
    known: Any = Known(uid)
    state = replace(made.state, study=known)
    return replace(made, folder=StudyFolder(storage / uid), state=state)


def entries(storage: Path) -> list[RegisterEntry]:
    found = Register(storage).read()
    assert found.damage == ()
    return list(found.entries)


def test_a_plan_an_extension_and_an_end_are_registered_once(tmp_path: Path) -> None:
    first = begun(tmp_path, "u")
    for _ in range(2):  # Interrupted, and gone on with.
        register_plan(first, ONE, None)
        register_plan(first, ONE, CONFIG)
        register_end(first, ONE, {"trial-0001": "better"})
    grown = CONFIG.model_copy(update={"seeds": 3})
    for _ in range(2):
        # Also where the process died after the new configuration was stored.
        register_plan(begun(tmp_path, "u", grown), ONE, grown)
    found = entries(tmp_path)
    assert [(e.what, e.seeds) for e in found] == [
        ("planned", (5, 6)),
        ("ended", (5,)),
        ("extended", (5, 6, 7)),
    ]
    assert {(e.uid, e.name, e.trials, e.test_set, e.images) for e in found} == {
        ("u", "s", ("trial-0001",), "aa", 450)
    }
    assert [e.verdict for e in found] == [{}, {"trial-0001": "better"}, {}]


def test_what_an_earlier_version_began_is_registered_as_it_was_and_as_it_goes_on(
    tmp_path: Path,
) -> None:
    grown = CONFIG.model_copy(update={"seeds": 3})
    old = begun(tmp_path, "u", grown)
    place, sentence = standing(old)
    assert place is None
    assert "is not in the register" in sentence
    register_plan(old, ONE, CONFIG)
    assert [(e.what, e.seeds) for e in entries(tmp_path)] == [
        ("planned", (5, 6)),
        ("extended", (5, 6, 7)),
    ]


def test_confirmations_and_readings_are_counted_by_the_images(tmp_path: Path) -> None:
    both = [begun(tmp_path, uid) for uid in ("u", "v")]
    elsewhere = begun(tmp_path, "w")
    register_plan(both[0], ONE, None)
    register_plan(elsewhere, OTHER, None)
    register_end(both[0], ONE, {})
    register_plan(both[1], ONE, None)
    reading = {"what": "read", "by": "noise-test", "name": "x.pth"}
    Register(tmp_path).add(new_entry(ONE, **reading), new_entry(OTHER, **reading))
    Register(tmp_path).add(new_entry(OTHER, **reading))
    # For a report on runs of a confirmation, which has read them itself.
    report = reading | {"by": "noise-analysis report", "trials": ("trial-0000",)}
    Register(tmp_path).add(new_entry(ONE, **report))

    def of(found: Confirmation) -> tuple[RegisterStanding | None, str]:
        place, sentence = standing(found)
        return place, sentence.partition(" (")[0]

    assert of(both[0]) == (
        RegisterStanding(confirmations=2, readings=1, ordinal=1, images=450),
        "This is the first confirmation on these 450 test images, 1 was planned after it; "
        "besides, they were read once",
    )
    assert of(both[1]) == (
        RegisterStanding(confirmations=2, readings=1, ordinal=2, images=450),
        "This is the second confirmation on these 450 test images; besides, they were read once",
    )
    assert of(elsewhere)[1].endswith("besides, they were read 2 times")
    # A new confirmation of the same study is another one, though its plan is the same.
    register_plan(replace(both[0], state=begun(tmp_path, "again").state), ONE, None)
    assert of(both[0])[0] == RegisterStanding(confirmations=3, readings=1, ordinal=1, images=450)


def test_damage_is_said_where_it_is_counted(tmp_path: Path) -> None:
    register_plan(begun(tmp_path, "u"), ONE, None)
    path = Register(tmp_path).path
    path.write_bytes(path.read_bytes() + b'{"crc":"12')
    assert standing(begun(tmp_path, "u"))[1].endswith(
        f"Not counted is what is damaged: {path}, line 2: cut short or damaged."
    )
    path.unlink()
    path.mkdir()
    place, sentence = standing(begun(tmp_path, "u"))
    assert place is None
    assert "is not known: the register" in sentence


@pytest.mark.parametrize(
    ("number", "word"),
    [
        *((1, "first"), (3, "third"), (12, "twelfth"), (13, "13th"), (20, "20th"), (21, "21st")),
        *(
            (22, "22nd"),
            (33, "33rd"),
            (44, "44th"),
            (101, "101st"),
            (112, "112th"),
            (1213, "1213th"),
        ),
    ],
)
def test_ordinals(number: int, word: str) -> None:
    assert ordinal(number) == word


STATIC = Planned({"noise/policy": "always", "noise/kind": "gradient", "noise/magnitude": 0.1})
"""It can have no controls: a confirmation of it is soon complete."""


def write_complete(storage: Path, *names: str) -> None:
    """Studies whose confirmations are trained, as a version without a register left them."""
    for name in names:
        write_study(storage, name, trials=(STATIC,), seeds=1)
        write_confirmation(StudyFolder.of(storage, name), "trial-0000", (100, 101), (0.1, 0.2))


def confirm(storage: Path, name: str) -> int:
    words = ["confirm", name, "--top", "1", "--seeds", "2", "--max-concurrent", "1"]
    return main([*words, "--storage", str(storage)])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_two_confirmations_in_one_storage_say_first_and_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_complete(tmp_path, "one", "other")
    assert confirm(tmp_path, "one") == 0
    assert "the first confirmation on these 451 test images; besides, they were not" in told(capsys)
    assert confirm(tmp_path, "other") == 0
    assert "the second confirmation on these 451 test images" in told(capsys)
    before = Register(tmp_path).path.read_bytes()
    assert confirm(tmp_path, "one") == 0  # It is complete: nothing new is registered.
    assert "the first confirmation on these 451 test images, 1 was planned after" in told(capsys)
    clean_study(tmp_path, "one")
    assert main(["list", "--storage", str(tmp_path)]) == 0
    assert Register(tmp_path).path.read_bytes() == before
    found = entries(tmp_path)
    assert [(e.what, e.name, e.seeds) for e in found] == [
        (what, name, (100, 101)) for name in ("one", "other") for what in ("planned", "ended")
    ]
    assert {e.test_set for e in found} == {loaded().test_digest}
    assert set(found[-1].verdict) == set(found[-1].trials) == {"trial-0000"}
    assert all(found[-1].verdict.values())

    assert analyse(["confirm", "other", "--storage", str(tmp_path)]) == 0
    values = json.loads((tmp_path / "other" / "confirm.json").read_text())
    expected = {"confirmations": 2, "readings": 0, "ordinal": 2, "images": 451}
    assert values["register"] == expected
    page = (tmp_path / "other" / "confirm.md").read_text()
    assert "- This is the second confirmation on these 451 test images; besides" in page


def test_in_an_object_store_each_is_registered_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place, work = (tmp_path / "store").as_uri(), tmp_path / "work"
    write_complete(work, "one", "other")
    where = ["--storage", place, "--work-dir", str(work)]
    for name, word in (("one", "first"), ("other", "second")):
        assert main(["confirm", name, "--top", "1", "--seeds", "2", *where]) == 0
        assert f"the {word} confirmation on these 451 test images" in told(capsys)
    objects = sorted((tmp_path / "store" / "register").iterdir())
    assert [json.loads(path.read_text())["what"] for path in objects] == ["planned", "ended"] * 2
    assert not (work / "register.jsonl").exists()
    assert main(["list", *where]) == 0
    assert "register" not in told(capsys).replace("test_in_an_object_store_each_is_register", "")


def test_without_a_register_no_confirmation_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_complete(tmp_path, "one")
    register = Register(tmp_path)
    home = confirm_folder(StudyFolder.of(tmp_path, "one"))
    before = home.ledger.read_bytes()
    register.path.mkdir()
    assert confirm(tmp_path, "one") == 2
    assert "register.jsonl can't be written" in capsys.readouterr().err
    assert home.ledger.read_bytes() == before
    # What breaks after the check: nothing is trained.
    with monkeypatch.context() as patched:
        patched.setattr(Register, "check_writable", lambda self: None)
        assert confirm(tmp_path, "one") == 1
    assert "Nothing is trained" in capsys.readouterr().err
    register.path.rmdir()
    # At the end, what is finished is kept, and registered later.
    add = Register.add
    with monkeypatch.context() as patched:
        patched.setattr(Register, "add", lambda self, *new: _only_plans(add, self, new))
        assert confirm(tmp_path, "one") == 0
    assert "the end of one-confirm is not registered" in told(capsys)
    assert [e.what for e in entries(tmp_path)] == ["planned"]
    assert confirm(tmp_path, "one") == 0
    assert [e.what for e in entries(tmp_path)] == ["planned", "ended"]


def _only_plans(add: Any, register: Register, new: tuple[RegisterEntry, ...]) -> None:
    """Adds plans, and finds the register gone for anything else."""
    if any(entry.what == "ended" for entry in new):
        register = Register(register.path)  # A file is in the place of the folder.
    add(register, *new)


@pytest.mark.slow
def test_a_real_confirmation_is_registered_before_it_trains_and_its_report_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, "one", trials=(STATIC,), seeds=1)
    words = ["confirm", "one", "--top", "1", "--seeds", "2", "--storage", str(tmp_path)]
    home = confirm_folder(StudyFolder.of(tmp_path, "one"))
    with study_process(words) as process:
        wait_until(lambda: count(home.ledger, '"type":"epochs"') >= 1, process)
    assert [e.what for e in entries(tmp_path)] == ["planned"]  # It is killed here.
    assert main(words) == 0
    assert "the first confirmation on these 451 test images" in told(capsys)
    for _ in range(2):  # What a report keeps it does not read again.
        assert analyse(["report", "one", "--storage", str(tmp_path)]) == 0
    found = entries(tmp_path)
    assert [(e.what, e.by) for e in found] == [
        *(("planned", "noise-study confirm"), ("ended", "noise-study confirm")),
        ("read", "noise-analysis report"),
    ]
    assert {(e.name, e.trials, len(e.seeds)) for e in found} == {("one", ("trial-0000",), 2)}
    assert {e.test_set for e in found} == {loaded().test_digest}
