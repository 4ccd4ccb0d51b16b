"""What a reader takes away who reads nothing else: the answer, how sure it is, and what is next."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.reading import StudyView
from study.config_changes import as_asked
from study.records.folder import storage_of
from study.records.storage import Storage

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
HELPED, HARMED, SAME, OPEN = "better", "worse", "equivalent", "open"


@dataclass(frozen=True)
class Card:
    """The answer of a study or a confirmation.

    Attributes:
        tone: ``better``, ``worse``, ``equivalent`` or ``open``: the card's colour.
        word: the answer in a word or two.
        said: the sentence to repeat.
        lines: what belongs to it, in sentences.
        figures: name and value.
        chips: what limits the answer, each in a few words.
        advice: what to do next; ``commands``: by what.
    """

    tone: str
    word: str
    said: str
    lines: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    chips: tuple[str, ...]
    advice: str
    commands: tuple[str, ...] = ()


def seeds_text(n: int) -> str:
    """``six seeds``."""
    return f"{_NUMBERS[n] if n < len(_NUMBERS) else n} seed{'' if n == 1 else 's'}"


def command(view: StudyView, program: str, *words: str) -> str:
    """A command on this study, where it lies now."""
    where, here = storage_of(view.config), view.folder.path.parent
    if where.remote is None and where.folder != here.resolve():
        where = Storage.of(here)
    return shlex.join([*program.split(), view.name, *where.words, *words])


def untuned(view: StudyView) -> Iterator[str]:
    if not as_asked(view.config).tune_baseline:
        yield "untuned baseline"
