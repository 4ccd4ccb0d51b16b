"""A study that is killed and goes on is the one that was never forked nor disturbed."""

import os
import signal
from pathlib import Path

from study.commands.study import main as noise_study
from study.records.folder import StudyFolder
from study.records.ledger_view import read_ledger
from tests.support.study_processes import ROOT, check_whole, count, study_process, wait_until


def check_killed_equals_whole(
    tmp_path: Path, words: list[str], *whole_too: str, epochs: int, after: str = '"type":"epochs"'
) -> Path:
    """Run ``whole`` without forks, kill and resume ``killed``; they must agree in every metric.

    Args:
        tmp_path: is on the path of modules; ``studies`` in it becomes the storage, returned.
        words: of the command, without name and storage; ``whole_too``: more for ``whole``.
        after: what two lines of the ledger hold when it is killed.
    """
    storage = tmp_path / "studies"
    where = ["--storage", str(storage)]
    whole_words = ["run", "--name", "whole", *where, *words, *whole_too, "--fork", "never"]
    assert noise_study(whole_words) == 0
    ledgers = {name: StudyFolder.of(storage, name).ledger for name in ("whole", "killed")}
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with study_process(["run", "--name", "killed", *where, *words], environment) as process:
        wait_until(lambda: count(ledgers["killed"], after) > 1, process)
        os.killpg(process.pid, signal.SIGKILL)
    # Between two runs all that have begun have ended: what counts is that some of it is left.
    whole, killed = (read_ledger(ledger).trials for ledger in ledgers.values())
    assert sum(record.finished for record in killed.values()) < len(whole)
    assert noise_study(["resume", "killed", *where]) == 0

    killed = read_ledger(ledgers["killed"]).trials
    assert killed["trial-0000"].fork_epoch == 2
    assert whole["trial-0000"].fork_epoch is None
    assert whole.keys() == killed.keys()
    for key, record in killed.items():
        assert str(record.history) == str(whole[key].history)
        assert len(record.history) == epochs
    check_whole(storage / "killed")
    return storage
