"""The documents fit their reader and are true: sizes, links, files, commands, generated parts."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.commands.documents import MAP, OPTIONS, commands, map_document, options_document

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The places in a document that a link can point to, as GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_generated_documents_are_up_to_date() -> None:
    assert OPTIONS.read_text(encoding="utf-8") == options_document(), "run make docs"
    assert MAP.read_text(encoding="utf-8") == map_document(), "run make docs"


def test_every_command_is_in_the_options() -> None:
    text = OPTIONS.read_text(encoding="utf-8")
    for command in ("noise-train", "noise-test", "noise-study ui", "noise-analysis shares"):
        assert f"## {command}\n" in text
        assert f"## {command}\n" not in text.replace(f"## {command}\n", "", 1)
    assert "| `--patience INT` |  | 5 | signal stuck: raised after more than" in text
    assert "| `NAME` |" in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_picture_is_there(document: str) -> None:
    for link in LINK.findall(text_of(document)):
        if "://" in link:
            continue
        path, _, place = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if place:
            assert place in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_folder_that_is_named_is_there(document: str) -> None:
    named = r"`((?:trainables|search_spaces|study|analysis|tests|docs|examples)/[\w./-]*)`"
    for path in re.findall(named, text_of(document)):
        assert (ROOT / path).exists(), path


def test_the_readmes_tree_has_every_folder() -> None:
    (tree,) = re.findall(r"```text\n(trainables/.*?)```", text_of("README.md"), re.DOTALL)
    packages: dict[str, set[str]] = {}
    for indent, folder in re.findall(r"^( *)(\w+)/ ", tree, re.MULTILINE):
        if indent:
            packages[list(packages)[-1]].add(folder)
        else:
            packages[folder] = set()
    for package in ("trainables", "search_spaces", "study", "analysis"):
        there = {path.parent.name for path in (ROOT / package).glob("*/*.py")}
        assert packages[package] == there
    assert all((ROOT / folder).is_dir() for folder in packages)


def typed(text: str) -> Iterator[list[str]]:
    """The words of each of this project's commands in a document's blocks of shell."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            # At a line's beginning, or handed to another program after two dashes.
            match = re.search(r"(?:^|--)\s*(noise-(?:train|test|study|analysis)\b.*)", line)
            if match:
                yield shlex.split(match[1], comments=True)


def command_alone(words: list[str]) -> list[str]:
    """Without the command that a job of Slurm runs, which has its own options."""
    return words[: words.index("--")] if "slurm" in words and "--" in words else words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_that_a_document_types_exists(document: str) -> None:
    known = {
        command: {name for option in listed.options for name in (option.long, option.short)}
        for command, listed in commands().items()
    }
    for words in map(command_alone, typed(text_of(document))):
        program = words[0] if words[0] in known else " ".join(words[:2])
        assert program in known, words
        for word in words[1:]:
            if re.match(r"--?[a-z]", word):
                option = word.split("=")[0]
                assert {option, option.replace("--no-", "--", 1)} & known[program], (words, word)


def test_commands_are_found_in_the_documents() -> None:
    assert len(list(typed(text_of("README.md")))) > 10
    assert len(list(typed(text_of("docs/guide.md")))) > 10


def test_each_fault_names_the_tests_that_rehearse_it() -> None:
    rows = [line for line in text_of("docs/faults.md").splitlines() if line.startswith("| ")]
    (_, *cells), *faults = [[cell.strip() for cell in row.split(" | ")] for row in rows]
    assert cells[-1] == "rehearsed by |"
    assert len(faults) > 50
    without = set()
    for fault, *_, tests in faults:
        named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert all((ROOT / path).exists() for path in named), named
        if not named:
            without.add(fault.removeprefix("| "))
    assert not without
