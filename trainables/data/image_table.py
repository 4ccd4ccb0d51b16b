"""The image files that a CSV table lists, with their labels: ``path,label`` and maybe ``split``."""

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainables.data.image_listing import FolderListing, some
from trainables.data.stratified import counts, drawn, held_out
from trainables.errors import InputError
from trainables.paths import check_regular, given_path

_SPLITS = ("train", "test")
_TEST_SHARE = 0.2
_TEST_SEED = 20_261_126


@dataclass(frozen=True)
class TableListing(FolderListing):
    """``train`` and ``test`` hold, for each class, its files relative to the table's folder."""

    table: Path = Path()
    digest: str = ""

    @property
    def place(self) -> Path:
        return self.table

    @property
    def mark(self) -> str:
        # The same files may be given other labels.
        return f"; table {self.digest}"

    @property
    def names(self) -> list[str]:
        return [name for part in (self.train, self.test) for files in part for name in files]


def list_table(data_dir: str | Path) -> TableListing:
    """List the files of a table without opening one.

    Columns: ``path`` (relative to the table's folder, or absolute), ``label``, and ``split``, each
    ``train`` or ``test``. Without ``split`` a stratified fifth is test, always the same. Classes
    are the labels, sorted; those that are all whole numbers by their value.

    Raises:
        InputError: it can't be read, a column is missing, or a row is not as it must be.
    """
    path = given_path(data_dir, "data.data_dir (--data-dir)")
    given = f"data.data_dir = {str(data_dir)!r}"
    try:
        check_regular(path)
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{given}: can't be read as a table ({error}); give a .csv file in UTF-8 with the "
            "columns path and label"
        ) from None
    rows = _rows(given, text)
    labels = _classes({row["label"] for row in rows})
    if len(labels) < 2:
        raise InputError(f"{given}: one class only ({some(labels)}); at least two are needed")
    splits = _splits(given, rows, labels)
    found: dict[tuple[str, str], list[str]] = {}
    for row, split in zip(rows, splits, strict=True):
        found.setdefault((split, row["label"]), []).append(row["path"])
    parts = {
        split: tuple(tuple(found.get((split, label), ())) for label in labels) for split in _SPLITS
    }
    for split, by_class in parts.items():
        empty = [name for name, files in zip(labels, by_class, strict=True) if not files]
        if empty:
            raise InputError(f"{given}: no {split} image of {some(empty)}; each class needs some")
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return TableListing(
        path.parent, labels, parts["train"], parts["test"], (), table=path, digest=digest
    )


def _rows(given: str, text: str) -> list[Mapping[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = reader.fieldnames or []
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise InputError(
            f"{given}: no column {' and no column '.join(missing)}; it has "
            f"{', '.join(columns) or 'none'}. The first line names the columns: path, label "
            "and, if it is divided, split"
        )
    rows: list[Mapping[str, str]] = []
    seen: set[str] = set()
    try:
        for row in reader:
            name = os.path.normpath(row["path"] or "")
            if not row["path"] or not row["label"]:
                raise InputError(f"{given}: line {reader.line_num}: a path and a label are needed")
            if name in seen:
                raise InputError(f"{given}: line {reader.line_num}: {name!r} is listed twice")
            if "split" in columns and row["split"] not in _SPLITS:
                raise InputError(
                    f"{given}: line {reader.line_num}: split = {row['split']!r}; allowed: "
                    "train, test"
                )
            seen.add(name)
            rows.append({**row, "path": name})
    except csv.Error as error:
        raise InputError(f"{given}: line {reader.line_num}: {error}") from None
    return rows


def _classes(labels: set[str]) -> tuple[str, ...]:
    whole = all(label.isascii() and label.isdigit() for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if whole else 0, label)))


def _splits(given: str, rows: list[Mapping[str, str]], labels: tuple[str, ...]) -> list[str]:
    if rows and "split" in rows[0]:
        return [row["split"] for row in rows]
    number = {label: index for index, label in enumerate(labels)}
    own = np.array([number[row["label"]] for row in rows], np.int64)
    test = drawn(own, [held_out(count, _TEST_SHARE) for count in counts(own)], _TEST_SEED)
    return ["test" if held else "train" for held in test]
