"""Kills at random moments: ``python -m tests.rehearse_kills`` kills real studies until enough died.

Studies of several mixes (search, race, tuned baseline, early stopping, confirmation, grid) run to
their ends undisturbed, and again, killed at moments that a seeded generator draws: when the ledgers
have so many lines, or so many seconds after the start. The signal is SIGKILL, to the whole process
group. After each kill the same command goes on. The records are verified after each kill and at
the end, where they are compared with those of the undisturbed run, too. It takes long, so it is no
test; its figures are in docs/faults.md. Exit code 1 if anything is lost, there twice, or different.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.campaigns.verify import Verified, verify_study
from study.records.ledger_view import read_ledger
from tests.support.servers import make_empty_database
from tests.support.study_processes import alive, family, study_process, wait_until

EPOCHS = 6
EAGER = {
    "noise/policy": "on_stagnation",
    "noise/window": 2,
    "noise/trigger_epochs": 1,
    "noise/grad_plateau_threshold": 10.0,
}
GIVEN = (
    {**EAGER, "noise/warmup_epochs": 3, "noise/magnitude_min": 0.5},
    {"noise/policy": "always", "noise/kind": "weight", "noise/magnitude": 0.6},
    {**EAGER, "noise/warmup_epochs": 2, "noise/magnitude_min": 0.1},
    {"noise/policy": "always", "noise/kind": "label", "noise/magnitude": 0.3},
)
DATA = (
    *("--dataset", "synthetic", "--synthetic-train", "800", "--synthetic-test", "100"),
    *("--synthetic-noise", "6", "--batch-size", "32", "--epochs", str(EPOCHS)),
)
SEARCH = (*DATA, "--lr", "0.02", "--baseline-seeds", "1", "--objective", "tail_val_accuracy")
TWO = ("--max-concurrent", "2", "--no-early-stopping")
# Which trials are stopped early depends on their order: one at a time.
ASHA = ("--max-concurrent", "1", "--early-stopping", "--grace-epochs", "2")
GRID_NOISE = {path.removeprefix("noise/"): value for path, value in EAGER.items()}
GRID = {"train": {"noise": {**GRID_NOISE, "warmup_epochs": 2, "magnitude_min": 0.5}}}
RATES = ("--lrs", "0.02,0.05", "--seeds", "0,1", "--max-concurrent", "2")
MIXES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "search, race, confirmation": (
        ("run", *SEARCH, *TWO, "--race-seeds", "4"),
        ("confirm", "--top", "1", "--seeds", "2"),
    ),
    "tuned baseline, search, race": (
        ("run", *SEARCH, *TWO, "--race-seeds", "3", "--tune-baseline", "6"),
    ),
    "early stopping, confirmation": (
        ("run", *SEARCH, *ASHA, "--reduction-factor", "2", "--race-seeds", "1"),
        ("confirm", "--top", "2", "--seeds", "2"),
    ),
    "grid": (("experiment", *DATA, *RATES),),
}
"""What runs, command by command; where, and under which name, is added."""

MOST_SECONDS = 12.0
"""Moments by seconds are this late after a start, at most."""


@dataclass(frozen=True)
class Place:
    """Where one study lives, and the commands that bring it to its end."""

    storage: Path
    mix: str

    @property
    def folder(self) -> Path:
        return self.storage / "s"

    def commands(self) -> Iterator[list[str]]:
        where = ["--storage", str(self.storage)]
        for verb, *words in MIXES[self.mix]:
            if verb == "confirm":
                yield [verb, "s", *where, *words]
                continue
            option = "--configs" if verb == "run" else "--config"
            given = [option, str(self.storage / f"{option[2:]}.json")]
            yield [verb, "--name", "s", *where, *given, *words]

    def ledgers(self) -> Iterator[Path]:
        yield self.folder / "ledger.jsonl"
        yield self.folder / "confirm" / "ledger.jsonl"

    def lines(self) -> list[str]:
        """The lines of both ledgers that say that something of a run has happened."""
        text = "".join(path.read_text() for path in self.ledgers() if path.exists())
        kinds = ('"type":"start"', '"type":"epochs"', '"type":"end"')
        return [line for line in text.splitlines() if any(kind in line for kind in kinds)]

    def phase(self) -> str:
        """What the last line is about: a role of runs."""
        where = "confirmation: " if (self.folder / "confirm").exists() else ""
        path = [path for path in self.ledgers() if path.exists()]
        records = read_ledger(path[-1]).trials.values() if path else ()
        latest = max(records, key=lambda r: r.started, default=None)
        return f"{where}{latest.role if latest else 'start'}"


def made(folder: Path, mix: str, database: Path) -> Place:
    folder.mkdir(parents=True)
    (folder / "configs.json").write_text(json.dumps(GIVEN))
    (folder / "config.json").write_text(json.dumps(GRID))
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    return Place(folder, mix)


def recorded_runs(place: Place) -> dict[str, Any]:
    """Each run as it should be, whatever has happened, by key."""
    found: dict[str, Any] = {}
    for ledger in place.ledgers():
        for key, record in read_ledger(ledger).trials.items():
            found[f"{ledger.parent.name}/{key}"] = {
                "state": (record.state, record.reason, record.seed, dict(record.overrides)),
                "epochs": [row.to_dict() for row in record.history],
                "values": dict(record.values),
                "differences": dict(record.paired_difference),
            }
    return found


def unequal(calm: Mapping[str, Any], killed: Mapping[str, Any]) -> list[str]:
    """The runs that one has alone, or that differ."""
    return sorted(key for key in calm.keys() | killed.keys() if calm.get(key) != killed.get(key))


def undisturbed(place: Place) -> None:
    for words in place.commands():
        with study_process(words) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{place.mix}: {' '.join(words)} ended so:\n{output}")


@dataclass(frozen=True)
class Moment:
    """When a kill is due: lines in the ledgers, or seconds after the start."""

    lines: int | None
    seconds: float

    def __str__(self) -> str:
        at = "start" if self.lines is None else f"line {self.lines}"
        return f"{at} + {self.seconds:.2f} s"

    def wait(self, place: Place) -> Iterator[None]:
        """Yields until it is there."""
        while self.lines is not None and len(place.lines()) < self.lines:
            yield
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            yield


def drawn(draws: random.Random, lines: int, count: int) -> list[Moment]:
    by_line = [Moment(draws.randrange(1, lines), draws.uniform(0, 0.5)) for _ in range(count)]
    by_line.sort(key=lambda moment: moment.lines or 0)
    early = draws.randrange(2 * count)
    if early < count:
        by_line[early] = Moment(None, draws.uniform(0, MOST_SECONDS))
    return by_line


def killed_at(place: Place, moment: Moment) -> bool:
    """Go on with a study until it is killed; False if it came to its end before."""
    due = moment.wait(place)
    for words in place.commands():
        with study_process(words) as process:
            for _ in due:
                if process.poll() is not None:
                    break
                time.sleep(0.01)
            else:
                everyone = family(process.pid)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                wait_until(lambda: not alive(everyone))  # noqa: B023
                return True
            output, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"{place.mix}: {' '.join(words)} ended so:\n{output}")
    return False


def row(cells: Sequence[object]) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def counts(found: Verified) -> tuple[int, int, int]:
    """What is lost, there twice, different or damaged."""
    kinds = Counter(finding.kind for finding in found.findings)
    for finding in found.findings:
        print(f"  {finding}")
    return kinds["missing"], kinds["doubled"], kinds["different"] + kinds["damaged"]


def rehearse(root: Path, wanted: int, seed: int, each: int) -> bool:
    """Kill until ``wanted`` have died, ``each`` times a study; whether all was well."""
    draws, kills, well, round_ = random.Random(seed), 0, True, 0
    database = root / "empty.db"
    make_empty_database(database)
    calm: dict[str, tuple[dict[str, Any], int]] = {}
    row(["kill", "study", "moment", "during", "lost", "twice", "different", "equal at its end"])
    row(["---"] * 8)
    while kills < wanted:
        mix = list(MIXES)[round_ % len(MIXES)]
        if mix not in calm:
            place = made(root / f"calm-{len(calm)}", mix, database)
            undisturbed(place)
            calm[mix] = recorded_runs(place), len(place.lines())
            well &= counts(verify_study(place.storage, "s")) == (0, 0, 0)
        wished, lines = calm[mix]
        place = made(root / f"killed-{round_}", mix, database)
        for moment in drawn(draws, lines, min(each, wanted - kills)):
            if not killed_at(place, moment):
                break
            kills += 1
            begun = (place.folder / "ledger.jsonl").exists()
            found = counts(verify_study(place.storage, "s")) if begun else (0, 0, 0)
            well &= found == (0, 0, 0)
            row([kills, mix, moment, place.phase(), *found, ""])
        undisturbed(place)
        found, different = (
            counts(verify_study(place.storage, "s")),
            unequal(wished, recorded_runs(place)),
        )
        well &= found == (0, 0, 0) and not different
        row(["", mix, "its end", f"{len(wished)} runs", *found, "no" if different else "yes"])
        for key in different:
            print(f"  differs: {key}")
        round_ += 1
    print(f"{kills} kills, seed {seed}: {'all' if well else 'NOT all'} as without them")
    return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=4, help="kills of one study")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rehearse-kills-") as root:
        return 0 if rehearse(Path(root), options.kills, options.seed, options.each) else 1


if __name__ == "__main__":
    raise SystemExit(main())
