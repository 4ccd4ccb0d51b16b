"""What an earlier version recorded is read as it is, and goes on: see fixtures/recorded/README.md.

The commands run as installed, in processes of their own, on copies of real folders: nothing here
knows how the code is laid out.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from torch.nn import functional as F

ROOT = Path(__file__).parents[1]
RECORDED = Path(__file__).parent / "fixtures" / "recorded"
PLACE = "/tmp/recorded"
"""Where the recordings were made: what MLflow keeps of artifacts is absolute."""

ARITHMETIC = "bbedea2c31318510"
"""``arithmetic()`` where the recordings were made."""

EARLY = (
    *("--flag-min-epochs", "1", "--flag-window-size", "2", "--consecutive-flag-trigger", "1"),
    *("--flag-low-weight-update-thr", "10", "--max-injection-epochs", "2"),
    *("--min-cooldown-epochs", "1"),
)
GRID = (
    *("experiment", "--optimizers", "SGD,Adam", "--seeds", "0", "--epochs", "6"),
    *("--subsets", "0.5", "--max-concurrent", "1", "--signals", "low_weight_update"),
    *EARLY,
    *("--cooldown-extra", "1"),
)
ADAPTIVE = (
    *("--dataset", "synthetic", "--synthetic-classes", "2", "--synthetic-train", "1000"),
    *("--synthetic-test", "200", "--synthetic-noise", "6", "-c", "BabyCNN", "-b", "8", "-e", "8"),
    *("-g", "cpu", "-o", "Adam", "--lr", "0.002", *EARLY),
    *("--signals", "low_weight_update", "val_loss_plateau", "--max-cooldown-epochs", "2"),
    *("--save-as", "adaptive.pth"),
)


# --- the recordings --------------------------------------------------------------------------


TRUST = ("--trust", "tiny_model:Tiny")
"""The recordings come from elsewhere, and name code."""


def without_late_source(notes: Iterable[str]) -> list[str]:
    """Without what is noted of a study whose source was not recorded then."""
    return [note for note in notes if not note.startswith("the source of tiny_model:Tiny is")]


def unpacked(folder: Path, *names: str) -> Path:
    """A copy of recordings, made to look as if they had been made in ``folder``."""
    for name in names:
        with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        for offset in folder.rglob("mlflow.offset"):
            offset.write_text(offset.read_text().replace(PLACE, str(folder)))
        if (folder / "studies" / "mlflow.db").exists():
            _move_store(folder / "studies" / "mlflow.db", folder)
    return folder


def _move_store(path: Path, folder: Path) -> None:
    store = sqlite3.connect(path)
    tables = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (table,) in tables:
        for _, column, kind, *_ in store.execute(f"PRAGMA table_info({table})").fetchall():
            if kind.startswith(("VARCHAR", "TEXT")):
                store.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?) "
                    f"WHERE instr({column}, ?)",
                    (PLACE, str(folder), PLACE),
                )
    store.commit()
    store.close()


def run(folder: Path, command: str, *words: str) -> str:
    """Run an installed command in ``folder`` to its good end; what it said."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [Path(sys.executable).parent / command, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told_by(path: Path) -> list[str]:
    """What a table or a text says, however it is laid out."""
    return [word for word in re.split(r"[\s|]+", path.read_text()) if word.strip("-")]


def with_epochs_from_1(path: Path) -> None:
    """A table of results as it is written now: its last column is an epoch, once from 0."""
    last = re.compile(r"\b(\d+)( \|| \\\\)$", re.MULTILINE)
    path.write_text(last.sub(lambda found: f"{int(found[1]) + 1}{found[2]}", path.read_text()))


def trained(events: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """How many epochs each run has trained."""
    reports = (e for e in events if e["type"] == "epochs" and not e["shared"])
    return Counter(e["trial"] for e in reports for _ in e["rows"])


def histories(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, dict[str, Any]]]:
    """Each run's epochs; no epoch is reported twice."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events:
        if event["type"] == "epochs":
            history = found.setdefault(event["trial"], {})
            for row in event["rows"]:
                assert row["epoch"] not in history
                history[row["epoch"]] = row
    return found


class Grown:
    """A ledger that may only grow: its size now, and later what has come since."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = path.read_bytes()
        self.events = lines(path)
        self.finished = {e["trial"] for e in self.events if e["type"] == "end"}

    def since(self) -> list[dict[str, Any]]:
        """The events that have come, after those there were, of which no byte has changed."""
        assert self.path.read_bytes().startswith(self.before)
        return lines(self.path)[len(self.events) :]


def mlflow_runs(folder: Path, name: str) -> dict[str, Any]:
    """MLflow's runs by trial, its own under ``""``; each has exactly one."""
    client = MlflowClient(f"sqlite:///{folder}/studies/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    found = {run.data.tags.get("trial_id", ""): run for run in runs}
    assert len(found) == len(runs)
    return found


# --- numbers that are trained here -----------------------------------------------------------


@cache
def arithmetic() -> str:
    """A digest of a little training by torch alone: how this machine rounds its sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    images = torch.randn(32, 3, 32, 32, generator=random)
    labels = torch.randint(10, (32,), generator=random)
    shapes = ((8, 3, 3, 3), (10, 2048), (2, 3, 4, 4), (10, 128))
    weights = [(torch.randn(s, generator=random) / 10).requires_grad_() for s in shapes]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(5):
        optimizer.zero_grad()
        large = F.max_pool2d(F.conv2d(images, weights[0], padding=1), 2).relu().flatten(1)
        small = F.conv2d(images, weights[2], stride=4).relu().flatten(1)
        logits = F.linear(large, weights[1]) + F.linear(small, weights[3])
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in weights)).hexdigest()[:16]


def check_same(found: Any, expected: Any) -> None:
    """What was trained here is what was recorded.

    Exactly, where the machine rounds as the recording one did; elsewhere about so: what differs in
    the eighth digit differs by a twentieth some epochs later.
    """
    if arithmetic() == ARITHMETIC:
        assert found == expected
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            check_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0.15, abs=0.05)
    else:
        assert found == expected


def timeless(result: Any) -> Any:
    """A result without MLflow's names of its runs and without times, which no two studies share."""
    if isinstance(result, dict):
        left_out = ("run_id", "seconds")
        return {key: timeless(value) for key, value in result.items() if key not in left_out}
    return [timeless(item) for item in result] if isinstance(result, list) else result


ADDED = {
    *("tail_val_accuracy", "tail_val_loss", "validation_images", "split_seed"),
    *("runs", "n", "mean_difference", "interval", "ranked_by", "stages", "place", "yardstick"),
    *("final_test_accuracy", "final_test_loss", "clean_gap"),
    *("fit", "background", "decoding", "skip_broken", "left_out", "augment", "content"),
    *("image_size", "channels", "stream", "stream_workers"),
    *("nesterov", "lr_schedule", "lr_warmup_epochs", "lr_warmup_fraction", "lr_peak_at"),
    *("lr_step_epochs", "lr_step_factor", "clip_norm", "label_smoothing", "ema", "accumulate"),
    *("tuning", "race_complete", "race_place", "race_seeds", "race_difference_best_val_accuracy"),
}
"""What summaries and tables say beyond what they said when the recordings were made."""


ADDED_TO_CONFIRMATIONS = {"decide_by", "margin", "tail_val_accuracy", "tail_val_loss"}
"""Likewise of ``confirm.json``, which had some of those names before."""


def without_added(result: Any, added: Collection[str] = ADDED) -> Any:
    """A result as it was written then: what was there has the same names and values."""
    if isinstance(result, dict):
        return {key: without_added(v, added) for key, v in result.items() if key not in added}
    return [without_added(item, added) for item in result] if isinstance(result, list) else result


def table_without_added(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [without_added(row) for row in csv.DictReader(file)]


WAYS = ("against_baseline", "placebo_effect", "against_placebo")
"""The comparisons of confirmations without clocks."""

THEN = ("against_baseline", "placebo", "against_placebo")
"""Their names when the recording was made: that of a placebo's figures was that of its effect."""


def without_other_verdicts(confirmed: Any) -> Any:
    """A confirmation as it was written then, but with words for the metric that decides only."""
    for row in (
        row
        for trial in confirmed["trials"]
        for field in THEN
        for metric, row in trial[field].items()
        if metric != confirmed["deciding"]
    ):
        row["verdict"] = row["sentence"] = None
    return confirmed


def as_written_then(confirmed: Any) -> Any:
    """A confirmation with the names that it had then; what answers and clocks added is left out."""
    then = ("study", "deciding", "alpha", "seeds", "looks", "finished", "missing")
    figures = ("trial", "rank", "overrides", "search", "against_baseline", "against_placebo")
    metrics = {name for name in confirmed["baseline"] if name not in ADDED}
    trials = []
    for trial in confirmed["trials"]:
        # The second sentence is what pairing was worth.
        answer, _, *others = trial["sentences"]
        old = {name: trial[name] for name in figures} | {"placebo": trial["placebo_effect"]}
        for field in THEN:
            old[field] = {name: row for name, row in old[field].items() if name in metrics}
        trials.append({**old, "sentences": [answer, *others]})
    _, *notes = confirmed["notes"]
    baseline = {name: confirmed["baseline"][name] for name in metrics}
    return {
        **{name: confirmed[name] for name in then},
        "baseline": baseline,
        "trials": trials,
        "notes": notes[:-4],
    }


def page(path: Path, deciding: str) -> set[str]:
    """A page's lines without those verdicts, and without what explains the tables."""
    found = set()
    for line in path.read_text().splitlines():
        cells = line.split("|")
        if len(cells) == 17 and cells[1].strip() != deciding and "---" not in line:
            cells[-3] = " – "
        if not line.startswith("The verdict rests on"):
            found.add("|".join(cells))
    return found


# --- a finished study ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finished_study_is_listed_reported_exported_and_compared(tmp_path: Path) -> None:
    unpacked(tmp_path, "finished")
    unpacked(tmp_path / "other", "killed")
    folder, expected = tmp_path / "studies" / "finished", tmp_path / "expected"
    summary, ledgers = read(folder / "summary.json"), sorted(folder.rglob("ledger.jsonl"))
    before = {path: path.read_bytes() for path in (*ledgers, folder / "summary.json")}
    (best,) = (trial for trial in summary["trials"] if trial["trial_id"] == summary["best"])

    (line,) = (li for li in run(tmp_path, "noise-study", "list").splitlines() if "5/5" in li)
    assert line.split()[:2] == ["finished", "complete"]
    assert {best["trial_id"], f"{best['paired_difference']:+.4f}", "too"} <= set(line.split())

    run(tmp_path, "noise-analysis", "confirm", "finished", "--out", "confirmed")
    confirmed = read(tmp_path / "confirmed" / "confirm.json")
    registered, *then, earlier, by_best_weights, unmatched, without_clocks = confirmed["notes"]
    assert "is not in the register of its storage: it was begun before there was one" in registered
    assert "begun by an earlier version: it is judged as it was begun" in earlier
    assert "as every study that was begun before --decide-by" in by_best_weights
    assert "begun when placebos were not matched in dose" in unmatched
    assert "begun without clocks: timing was not held against" in without_clocks
    deciding = confirmed["deciding"]
    assert (deciding, confirmed["decide_by"]) == ("test_accuracy", "test_accuracy")
    assert (confirmed["judged"], confirmed["planned"]) == ("as_before", 2)
    before_answers = read(expected / "confirm.json")
    for trial, old in zip(confirmed["trials"], before_answers["trials"], strict=True):
        row = trial["against_baseline"][deciding]
        assert trial["verdict"] == row["verdict"] == old["against_baseline"][deciding]["verdict"]
        assert (trial["n"], trial["mean_difference"]) == (row["n"], row["mean_difference"])
        assert trial["pairing_gain"]["sentence"] in trial["sentences"][1]
        assert trial["placebo"] is None or trial["placebo"]["sentence"] is None
        for metric, row in (pair for field in WAYS for pair in trial[field].items()):
            assert (row["verdict"] is None) == (metric != deciding)
    assert then == before_answers["notes"]
    assert as_written_then(confirmed) == without_other_verdicts(before_answers)
    told = page(tmp_path / "confirmed" / "confirm.md", deciding)
    assert told >= page(expected / "confirm.md", deciding)
    assert told >= {f"- {note}" for note in confirmed["notes"]}

    run(tmp_path, "noise-analysis", "export", "finished", "--out", "exported")
    trials = table_without_added(tmp_path / "exported" / "trials.csv")
    assert trials == table_without_added(expected / "trials.csv")
    for name in ("table.md", "table.tex"):
        with_epochs_from_1(expected / name)
        assert told_by(tmp_path / "exported" / name) == told_by(expected / name)
    config = tmp_path / "exported" / "configs" / f"01_{best['trial_id']}.json"
    assert without_added(read(config)) == read(expected / "best.json")

    run(tmp_path, "noise-analysis", "report", "finished", "--no-pictures", *TRUST)
    report = (folder / "report.html").read_text()
    assert all(trial["trial_id"] in report for trial in summary["trials"])
    # How many images there were is not recorded: two digits of a percent.
    assert f"{100 * best['value']:.2f}" in report
    assert f"{100 * best['paired_difference']:+.2f}".replace("-", "−") in report
    assert "fresh seeds" in report
    # From the weights, and among the artifacts of the study's run, there where it lies now.
    assert len(read(folder / "evaluation.json")) == 4
    (line,) = (tmp_path / "studies" / "register.jsonl").read_text().splitlines()
    reading = json.loads(line)
    assert [reading[name] for name in ("what", "by", "name")] == [
        *("read", "noise-analysis report", "finished")
    ]
    assert len(list((tmp_path / "studies" / "mlartifacts").rglob("report.html"))) == 1

    shutil.move(tmp_path / "other" / "studies" / "killed", tmp_path / "studies")
    said = run(tmp_path, "noise-analysis", "compare", "finished", "killed")
    assert f"{fmean(run['value'] for run in summary['baseline']):.4f} (n = 2 seeds)" in said
    confirmed = read(expected / "confirm.json")["trials"][0]["search"]["confirmed"]
    assert f"{confirmed:+.4f} [" in said
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_a_finished_study_goes_on_without_training_and_is_confirmed_further(
    tmp_path: Path,
) -> None:
    folder = unpacked(tmp_path, "finished") / "studies" / "finished"
    ledger, summary = Grown(folder / "ledger.jsonl"), read(folder / "summary.json")
    runs = {key: run.info.run_id for key, run in mlflow_runs(tmp_path, "finished").items()}
    run(tmp_path, "noise-study", "resume", "finished", *TRUST)
    began, counted, source, note, ended = ledger.since()
    assert (began["type"], ended["type"]) == ("study", "study_end")
    # How many images it validates on was not recorded then.
    assert counted["tags"].keys() == {"validation_images"}
    assert source["tags"].keys() == {"code"}
    assert without_late_source(note["tags"].values()) == []
    now = without_added(read(folder / "summary.json"))
    assert {**now, "notes": without_late_source(now["notes"])} == summary
    found = mlflow_runs(tmp_path, "finished")
    assert {key: run.info.run_id for key, run in found.items()} == runs
    assert {run.info.status for run in found.values()} == {"FINISHED"}

    ledger = Grown(folder / "confirm" / "ledger.jsonl")
    words = ("--top", "1", "--seeds", "3", "--max-concurrent", "1")
    run(tmp_path, "noise-study", "confirm", "finished", *words, *TRUST)
    best = summary["best"]
    fresh = {"baseline-seed4", f"{best}-seed4", f"{best}-placebo-seed4"}
    new = ledger.since()
    assert {e["trial"] for e in new if e["type"] in ("start", "epochs", "end")} == fresh
    assert {e["trial"]: e["state"] for e in new if e["type"] == "end"} == dict.fromkeys(
        fresh, "complete"
    )
    run(tmp_path, "noise-analysis", "confirm", "finished")
    # Begun before there were clocks, it goes on without.
    assert read(folder / "confirm" / "confirm_config.json")["clock"] is False
    confirmed = read(folder / "confirm.json")
    assert confirmed["seeds"] == [2, 3, 4]
    assert confirmed["notes"][-1].startswith("This confirmation was begun without clocks")
    for metric, old in read(tmp_path / "expected" / "confirm.json")["baseline"].items():
        values = confirmed["baseline"][metric]["values"]
        assert {seed: values[seed] for seed in ("2", "3")} == old["values"]


@pytest.mark.slow
def test_a_killed_confirmation_goes_on_with_the_clocks_that_are_missing(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "clocks") / "studies" / "clocks"
    ledger = Grown(folder / "confirm" / "ledger.jsonl")
    begun = {event["trial"] for event in ledger.events if event["type"] == "start"}
    assert begun - ledger.finished == {"trial-0003-clock-seed2"}
    words = ("--top", "2", "--seeds", "2", "--max-concurrent", "1")
    run(tmp_path, "noise-study", "confirm", "clocks", *words, *TRUST)
    new = ledger.since()
    clocks = {f"{trial}-clock-seed{n}" for trial in ("trial-0000", "trial-0003") for n in (2, 3)}
    assert {event["trial"] for event in new if event["type"] == "end"} == clocks
    # From its checkpoint: epochs 2 to 9, of which no one is trained twice.
    assert trained(lines(ledger.path))["trial-0003-clock-seed2"] == 8

    run(tmp_path, "noise-analysis", "confirm", "clocks")
    found, expected = read(folder / "confirm.json"), read(tmp_path / "expected" / "confirm.json")
    for new_trial, old in zip(found["trials"], expected["trials"], strict=True):
        for field in ("against_baseline", "placebo", "against_placebo", "clock", "against_clock"):
            now = f"{field}_effect" if field in ("placebo", "clock") else field
            for metric, row in old[field].items():
                check_same(new_trial[now][metric]["differences"], row["differences"])
        assert new_trial["own_clock"] == old["own_clock"]


# --- one that was killed ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_study_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "killed") / "studies" / "killed"
    ledger, expected = Grown(folder / "ledger.jsonl"), tmp_path / "expected"
    begun = {event["trial"] for event in ledger.events if event["type"] == "start"}
    (unfinished,) = begun - ledger.finished
    assert len(ledger.finished) == 3
    before = trained(ledger.events)
    run_ids = {key: run.info.run_id for key, run in mlflow_runs(tmp_path, "killed").items()}

    run(tmp_path, "noise-study", "resume", "killed", *TRUST)
    new = ledger.since()
    assert not ledger.finished & {e.get("trial") for e in new if e["type"] in ("start", "epochs")}
    # It went on from its checkpoint: what it had reported is not trained again.
    whole = trained(lines(expected / "ledger.jsonl"))
    assert before[unfinished] + trained(new)[unfinished] == whole[unfinished]
    assert trained(lines(ledger.path)) == whole
    check_same(histories(lines(ledger.path)), histories(lines(expected / "ledger.jsonl")))
    summary = read(folder / "summary.json")
    assert [trial["state"] for trial in summary["trials"]] == ["complete"] * 5
    summary["notes"] = without_late_source(summary["notes"])
    check_same(without_added(timeless(summary)), timeless(read(expected / "summary.json")))

    runs = mlflow_runs(tmp_path, "killed")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert {key: runs[key].info.run_id for key in run_ids} == run_ids
    assert {t["trial_id"]: t["run_id"] for t in summary["trials"]} == {
        key: run.info.run_id for key, run in runs.items() if key.startswith("trial")
    }


# --- grids -----------------------------------------------------------------------------------


def test_a_finished_grid_trains_nothing_again(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "grid") / "studies" / "grid"
    ledger, result = Grown(folder / "ledger.jsonl"), read(folder / "experiment.json")
    table = (folder / "experiment.csv").read_text()
    words = ("--name", "grid", "--classifiers", "BabyCNN", "--batch-size", "32")
    assert "complete already" in run(tmp_path, "noise-study", *GRID, *words)
    kinds = {event["type"] for event in ledger.since()}
    # How many images it validates on was not recorded then.
    assert kinds == {"study", "note", "artifact", "study_end"}
    assert without_added(read(folder / "experiment.json"), {"validation_images"}) == result
    assert (folder / "experiment.csv").read_text() == table


@pytest.mark.slow
def test_a_killed_grid_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, "killed-grid") / "studies" / "killed-grid"
    ledger = Grown(folder / "ledger.jsonl")
    words = ("--name", "killed-grid", "--classifiers", "tiny_model:Tiny", "--batch-size", "4")
    run(tmp_path, "noise-study", *GRID, *words)
    new = ledger.since()
    assert len(ledger.finished) == 4
    assert not ledger.finished & {e.get("trial") for e in new if e["type"] in ("start", "epochs")}
    result = read(folder / "experiment.json")
    assert [run["state"] for run in result["runs"]] == ["complete"] * 6
    result["notes"] = without_late_source(result["notes"])
    wanted = read(tmp_path / "expected" / "experiment.json")
    check_same(timeless(without_added(result, {"validation_images"})), timeless(wanted))
    histories(lines(ledger.path))


# --- single runs -----------------------------------------------------------------------------


def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    metrics = unpacked(tmp_path, "adaptive") / "checkpoints" / "metrics" / "adaptive"
    before = lines(metrics / "epoch_metrics.jsonl")
    said = run(tmp_path, "noise-train", *ADAPTIVE, "--resume")
    assert "goes on after epoch" in said
    expected = tmp_path / "expected"
    assert 0 < len(before) < len(lines(expected / "epoch_metrics.jsonl"))
    check_same(lines(metrics / "epoch_metrics.jsonl")[: len(before)], before)
    for name in ("epoch_metrics", "noise", "signals", "optimizer"):
        check_same(lines(metrics / f"{name}.jsonl"), lines(expected / f"{name}.jsonl"))
    for name in ("final_metrics", "test_per_class"):
        found, wanted = (read(place / f"{name}.json") for place in (metrics, expected))
        check_same(without_added(timeless(found)), timeless(wanted))
    assert not (metrics / "last.ckpt").exists()


def test_a_finished_run_is_evaluated_and_its_configuration_repeats_it(tmp_path: Path) -> None:
    metrics = unpacked(tmp_path, "static") / "checkpoints" / "metrics" / "static"
    final = read(metrics / "final_metrics.json")
    weights = ("-c", "checkpoints/static.pth", "--sharpness", "--json")
    found = json.loads(run(tmp_path, "noise-test", *weights))
    check_same([found["accuracy"], found["loss"]], [final["test_accuracy"], final["test_loss"]])
    words = ("--config", str(metrics / "config.json"), "--save-as", "static.pth")
    again = (*words, "--detailed-metrics", "--layer-norms", "--checkpoint-dir", "again")
    run(tmp_path, "noise-train", *again)
    other = tmp_path / "again" / "metrics" / "static"
    for name in ("epoch_metrics", "noise", "signals", "optimizer"):
        check_same(lines(other / f"{name}.jsonl"), lines(metrics / f"{name}.jsonl"))
    again = without_added(timeless(read(other / "final_metrics.json")))
    check_same(again, timeless(final))
