"""The files of a folder, each by a fixed name, as attributes of the class that describes it."""

from pathlib import Path


class NamedFile:
    """A file's path: ``ledger = NamedFile("ledger.jsonl")`` is ``self.path / "ledger.jsonl"``.

    ``under``: the attribute that holds the folder.
    """

    def __init__(self, name: str, *, under: str = "path") -> None:
        self._name = name
        self._under = under

    def __get__(self, owner: object, kind: type | None = None) -> Path:
        folder: Path = getattr(owner, self._under)
        return folder / self._name
