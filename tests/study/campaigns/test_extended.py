"""Seeds added to a finished confirmation: what is said before, a kill in the middle, the end."""

import json
from pathlib import Path

import pytest

from study.campaigns.confirm_plan import confirm_folder
from study.campaigns.confirmation import load_confirmation
from study.commands.study import main
from study.records.events import EpochsEvent
from study.records.folder import StudyFolder
from study.records.ledger import read_chunk
from study.records.ledger_view import read_ledger
from study.records.summary import study_notes
from tests.support.study_processes import check_whole, count, study_process, wait_until
from tests.support.trained_studies import ADAPTIVE, Planned, write_study

NOISY = Planned({**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 2.0})
FIRST = 20_000_000


def confirm(storage: Path, *words: str) -> list[str]:
    return ["confirm", "small", "--storage", str(storage), "--top", "1", *words]


def written(storage: Path) -> StudyFolder:
    # Losses differ on every seed, accuracies need not.
    settings = {"decide_by": "final_test_loss", "margin": 1e-6}
    write_study(storage, "small", trials=(NOISY,), seeds=1, max_concurrent=1, **settings)
    return confirm_folder(StudyFolder.of(storage, "small"))


@pytest.mark.slow
def test_an_extended_confirmation_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = written(tmp_path)
    assert main(confirm(tmp_path, "--seeds", "2", "--extendable")) == 0
    out = capsys.readouterr().out
    begun = load_confirmation(tmp_path, "small")
    assert begun.finished
    # The verdict is printed, and what pairing was worth.
    sentence = begun.verdicts()["trial-0000"].sentence
    assert sentence.startswith("undecided: ")
    assert f"trial-0000 {sentence}" in out
    assert begun.pairing_gain("trial-0000").sentence() in out

    more = confirm(tmp_path, "--seeds", "4")
    with study_process(more) as process:
        wait_until(lambda: count(home.ledger, f'"trial-0000-seed{FIRST + 2}"') >= 6, process)
    killed = load_confirmation(tmp_path, "small")
    assert not killed.finished
    assert (killed.config.seeds, killed.config.planned, killed.config.extendable) == (4, 2, True)
    assert main(more) == 0
    assert "goes on to 4 with the share of the error set aside" in capsys.readouterr().out
    found = load_confirmation(tmp_path, "small")
    assert found.finished
    assert found.verdicts()["trial-0000"].n == 4
    assert "seeds were added" not in found.verdicts()["trial-0000"].short
    # What had ended is not trained again, and no epoch is reported twice.
    before = begun.state.trials
    assert {key: found.state.trials[key] for key in before} == before
    reported = [
        (event.key, row.epoch)
        for event in read_chunk(home.ledger).events
        if isinstance(event, EpochsEvent)
        for row in event.rows
    ]
    assert len(reported) == len(set(reported))
    notes = [note for note in study_notes(found.state) if "set aside" in note]
    assert len(notes) == 1
    register = [json.loads(line) for line in (tmp_path / "register.jsonl").read_text().splitlines()]
    assert [entry["what"] for entry in register] == ["planned", "ended", "extended", "ended"]
    check_whole(tmp_path / "small", confirmation_alone=True)


@pytest.mark.slow
def test_that_a_verdict_will_be_withheld_is_said_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = written(tmp_path)
    assert main(confirm(tmp_path, "--seeds", "2")) == 0
    capsys.readouterr()
    ended = read_ledger(home.ledger).trials
    assert main(confirm(tmp_path, "--seeds", "3")) == 0
    out = capsys.readouterr().out
    said, trained = out.index("its verdict is withheld"), out.index("small-confirm: trial-0000")
    assert said < trained
    found = load_confirmation(tmp_path, "small")
    assert {key: found.state.trials[key] for key in ended} == ended
    judged = found.verdicts()["trial-0000"]
    assert (judged.word, judged.n) == ("undecided", 3)
    assert "seeds were added after the planned end" in judged.sentence
    assert "mean difference" in judged.sentence
    assert f"trial-0000 {judged.sentence}" in out
    state = read_ledger(home.ledger).study
    assert state is not None
    assert state.tags["verdict"].startswith("trial-0000: undecided, seeds were added")
    # To begin as extendable is too late now.
    assert main(confirm(tmp_path, "--seeds", "3", "--extendable")) == 2
    assert "extendable (--extendable): begun without" in capsys.readouterr().err
