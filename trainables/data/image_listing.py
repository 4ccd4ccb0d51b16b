"""The image files of a folder ``train/<class>/**`` and ``test/<class>/**``, by name."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trainables.errors import InputError
from trainables.paths import given_path

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File names that count as images; other files in a class folder are left alone."""

MOST_NAMED = 10
"""Broken files that a message names."""

_PARTS = ("train", "training", "test", "testing", "val", "valid", "validation")
"""Folders within a class that can't be meant as a part of the class."""

_LAYOUT = "images belong in train/<class>/ and test/<class>/"


@dataclass(frozen=True)
class FolderListing:
    """The image files of a folder, by name; nothing is opened.

    ``train`` and ``test`` hold, for each class in ``classes``, its files in order, relative to the
    class's folder; ``others`` the files that lie among them and have no image's ending; ``within``
    the folders inside of classes (read, or not, as ``nested`` says); ``hidden`` the folders whose
    names begin with a dot, which are never read.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]
    others: tuple[str, ...]
    within: tuple[str, ...] = ()
    nested: bool = False
    hidden: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """By what its cache is known."""
        return self.root

    @property
    def mark(self) -> str:
        """What else than its files decides the images and labels, for the cache; here nothing."""
        return ""

    @property
    def names(self) -> list[str]:
        """All files relative to ``root``: those of train, then those of test."""
        return [
            os.path.join(part, name, file)
            for part, by_class in (("train", self.train), ("test", self.test))
            for name, files in zip(self.classes, by_class, strict=True)
            for file in files
        ]


def list_folder(data_dir: str | Path, *, nested: bool = True) -> FolderListing:
    """List a folder's classes and images without opening one.

    ``nested``: whether folders within a class are read; where it can't be known what they mean,
    they are refused. Else they are left alone, as studies recorded it before.
    """
    root = given_path(data_dir, "data.data_dir (--data-dir)")
    listed = _Lister(f"data.data_dir = {str(data_dir)!r}", nested)
    if not root.is_dir():
        raise InputError(
            f"{listed.given}: no such folder; give one that holds train/<class>/ and test/<class>/"
        )
    train = listed.part(root / "train")
    test = listed.part(root / "test")
    _check_same_classes(listed.given, train, test)
    if nested:
        _check_meaning(listed, train)
    if len(train) < 2:
        within = f"; if {some(listed.within)} are the classes, move them up" * bool(listed.within)
        raise InputError(
            f"{listed.given}: one class only ({some(train)}); at least two are needed{within}"
        )
    classes = tuple(train)
    return FolderListing(
        root=root,
        classes=classes,
        train=tuple(train.values()),
        test=tuple(test[name] for name in classes),
        others=tuple(listed.others),
        within=tuple(listed.within),
        nested=nested,
        hidden=tuple(listed.hidden),
    )


def _check_same_classes(
    field: str, train: dict[str, tuple[str, ...]], test: dict[str, tuple[str, ...]]
) -> None:
    if train.keys() != test.keys():
        differences = [
            f"only in {part}: {some(sorted(mine.keys() - other.keys()))}"
            for part, mine, other in (("train", train, test), ("test", test, train))
            if mine.keys() - other.keys()
        ]
        raise InputError(
            f"{field}: train and test must hold the same classes; {'; '.join(differences)}"
        )


def _check_meaning(listed: "_Lister", classes: Iterable[str]) -> None:
    """Refuse folders within a class that may mean another class, or another part."""
    taken = {*classes, *_PARTS}
    # train/cat/cat is of the class cat, whatever unpacked it so.
    unclear = [
        path for path in listed.within if path.split("/")[-1] in taken - {path.split("/")[1]}
    ]
    if unclear:
        raise InputError(
            f"{listed.given}: can't know what these folders within a class mean, which have the "
            f"name of a class or of a part: {some(unclear)}; move their images, or rename them"
        )


@dataclass
class _Lister:
    """Lists parts, and keeps what is to be told of them; ``given``: the folder, for messages."""

    given: str
    nested: bool
    others: list[str] = field(default_factory=list)
    within: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    def part(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Class → names of its images, both sorted."""
        if not folder.is_dir():
            raise InputError(f"{self.given}: it has no folder {folder.name}/; {_LAYOUT}")
        entries = self._seen(folder, f"{folder.name}/")
        self._loose(folder.name, [entry.name for entry in entries if not _is_folder(entry)])
        classes = {}
        for name in sorted(entry.name for entry in entries if _is_folder(entry)):
            files = sorted(self._files(folder / name))
            images = [file for file in files if file.lower().endswith(ENDINGS)]
            self.others += [f"{folder.name}/{name}/{f}" for f in sorted({*files} - {*images})]
            if not images:
                raise InputError(
                    f"{self.given}: the class folder {folder.name}/{name}/ holds no image; add "
                    f"images ({' '.join(ENDINGS)}) or remove the folder"
                )
            classes[name] = tuple(images)
        if not classes:
            raise InputError(
                f"{self.given}: {folder.name}/ is empty; it needs one folder of images for each "
                "class"
            )
        return classes

    def _seen(self, folder: Path, place: str) -> list[os.DirEntry[str]]:
        """What is not hidden in a folder; ``place``: how it is named, from the root on."""
        entries = _entries(folder)
        # Hidden files are the system's, such as .DS_Store; a folder may hold images.
        self.hidden += [f"{place}{e.name}" for e in entries if _is_hidden(e) and _is_folder(e)]
        return [entry for entry in entries if not _is_hidden(entry)]

    def _loose(self, part: str, files: list[str]) -> None:
        """Files beside the classes: an image there belongs to none."""
        images = sorted(f"{part}/{name}" for name in files if name.lower().endswith(ENDINGS))
        if images and self.nested:
            raise InputError(
                f"{self.given}: images that lie in no class's folder: {some(images)}; {_LAYOUT}"
            )

    def _files(self, folder: Path) -> Iterator[str]:
        """The files of a class, relative to its folder.

        A link that leads nowhere is listed too: it is named when it can't be read, not dropped.
        """
        waiting: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(folder),))]
        while waiting:
            below, above = waiting.pop()
            for entry in self._seen(folder / below, f"{folder.parent.name}/{folder.name}/{below}"):
                name = f"{below}{entry.name}"
                if not _is_folder(entry):
                    yield name
                    continue
                self.within.append(f"{folder.parent.name}/{folder.name}/{name}")
                real = os.path.realpath(entry.path)
                if self.nested and any(f"{one}/".startswith(f"{real}/") for one in above):
                    raise InputError(
                        f"{self.given}: {self.within[-1]} is a link to a folder that it lies in; "
                        "remove it"
                    )
                if self.nested:
                    waiting.append((f"{name}/", (*above, real)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # A link to itself: named when it can't be read.


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: can't be read: {error}") from None
    for entry in found:
        if not entry.name.isprintable() and not _is_hidden(entry):
            # Names go into records, tables and pages as UTF-8.
            raise InputError(f"{str(folder)!a}: {entry.name!a} is no name in UTF-8; rename it")
    return found


def some(names: Iterable[str], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
