"""Every option of every command, with documents and files drawn at random: one message, or right.

Each example is a command line, with what lies around it (tests/support/hostile_input.py). The
command runs in this process in a folder full of traps, up to the seam where all is checked and the
first byte would be written (tests/support/hostile_world.py); one in twenty goes on, to where
training begins. What is refused is refused with exit code 2, in one message, and nothing is
written; what is accepted is not refused later; nothing ends with an error that nobody foresaw, and
everything ends.

    NOISE_RANDOM_EXAMPLES=5000 python -m pytest tests/test_random_input.py -s

tries so many, others each time, and one and a half times as many documents; without it they are
few, and the same in each run. Each option is tried at least once. Counts are printed at the end.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.hostile_input import (
    DIGITS,
    DOCUMENTS,
    Example,
    examples,
    given_option,
    options,
    texts,
)
from tests.support.hostile_world import World, fault
from tests.test_recorded import ADAPTIVE

ASKED = os.environ.get("NOISE_RANDOM_EXAMPLES", "")
EXAMPLES = int(ASKED or 80)
FURTHER = EXAMPLES * 3 // 4
"""Documents for each of two options."""

RANDOM = settings(
    derandomize=not ASKED,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Of so many what is wrong is counted; the few are made small.
    phases=[Phase.generate] if ASKED else list(Phase),
)

ON_WHOLE = ((("whole",),),)
ON_DIGITS = (("--dataset", "digits"),)
BASES: Mapping[str, Sequence[Sequence[Sequence[str]]]] = {
    "noise-train": (
        (*ON_DIGITS, ("-g", "cpu"), ("-c", "BabyCNN")),
        (ADAPTIVE, ("--resume",)),
        (("--dataset", "imagefolder"), ("--data-dir", "images"), ("-b", "4"), ("-c", "BabyCNN")),
    ),
    "noise-test": ((("-c", "weights/sound.pth"),), (("-c", "weights/state.ckpt"),)),
    "noise-study run": ((("--preset", "quickstart"),), (("--config", "studies/whole/study.json"),)),
    "noise-study experiment": (
        (*ON_DIGITS, ("--classifiers", "BabyCNN"), ("--batch-size", "32")),
        (*ON_DIGITS, ("--classifiers", "BabyCNN"), ("--print-config",)),
    ),
    # What was begun with one configuration goes on with it.
    "noise-study confirm": (
        (("whole",), ("--top", "1")),
        (("whole",), ("--top", "1"), ("--seeds", "20")),
    ),
    "noise-study check-data": (
        (*ON_DIGITS, ("--split", "holdout")),
        (("--dataset", "imagefolder"), ("--data-dir", "images"), ("--sheet", "new.png")),
    ),
    "noise-study controls": ((("--quick",),),),
    "noise-study slurm": (
        (("--print",), ("--time", "60"), ("--", "run", "--preset", "quickstart")),
        (("--print",), ("--", "resume", "whole")),
    ),
    "noise-study resume": ((("whole",), ("--trials", "9")), (("other",),)),
    "noise-study set": ((("running",), ("--trials", "9")),),
    "noise-study stop": ((("running",),),),
    "noise-study sync": ON_WHOLE,
    "noise-study verify": ON_WHOLE,
    "noise-study ui": ((),),
    "noise-study list": ((),),
    "noise-study clean": (*ON_WHOLE, (("finished",),)),
    "noise-analysis preview": (
        (("whole",), ("--no-picture",)),
        (("checkpoints/metrics/static",), ("--no-picture",)),
    ),
    "noise-analysis report": (
        (("whole",), ("--no-pictures",), ("--no-evaluate",)),
        (("other",), ("--no-pictures",)),
    ),
    "noise-analysis confirm": ON_WHOLE,
    "noise-analysis compare": ((("whole", "other"),),),
    "noise-analysis export": (*ON_WHOLE, (("other",), ("--out", "new"))),
    "noise-analysis shares": ((("whole",), ("--n", "5")),),
}
"""Arguments with which each command is accepted; a new command needs a line here."""

WITHOUT_TRAINING = ("noise-test", "noise-study sync", "noise-study clean")
"""What does its work behind the seam, here as anywhere."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hostile")
        for name in ("HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(folder / "root" / "home"))
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        patch.setenv("MPLCONFIGDIR", str(folder / "matplotlib"))
        patch.delenv("RAY_ADDRESS", raising=False)
        # A connection that is kept would go on with the database that has been put back since.
        patch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
        yield World(folder)
    os.chdir(before)


@pytest.fixture(scope="module")
def counts() -> Iterator[Counter[str]]:
    found: Counter[str] = Counter()
    yield found
    print("\nrandom input: " + ", ".join(f"{n} {what}" for what, n in sorted(found.items())))


def test_each_command_has_arguments_that_it_accepts() -> None:
    assert BASES.keys() == options().keys()


@pytest.mark.parametrize("command", BASES)
def test_what_is_right_comes_to_the_seam_and_to_the_training(command: str, world: World) -> None:
    for base in BASES[command]:
        words = tuple(word for group in base for word in group)
        example = Example(command, words, ())
        answer = world.answer(example)
        assert not fault(example, answer), answer
        assert answer.code in (0, None), answer
        on = replace(example, goes_on=True)
        gone_on = world.answer(on)
        assert not fault(on, gone_on), gone_on
        # Where there is no seam, nothing is left to go on with.
        trains = answer.code is None and command not in WITHOUT_TRAINING
        assert gone_on.code == (130 if trains else 0), gone_on


@pytest.mark.parametrize(
    ("command", "words", "code", "said"),
    [
        ("noise-train", ("--relative-max-noise", DIGITS), 2, "at most 1e+30"),
        ("noise-train", ("--max-cooldown-epochs", "1e30"), 2, "too large"),
        ("noise-train", ("--dataset", "cifar10", "--download"), 2, "can't be read"),
        ("noise-study controls", ("--out", "a\0b"), 2, "NUL"),
        ("noise-study ui", ("--port", "99999999"), 2, "port must be 0-65535"),
        ("noise-study ui", ("--storage", "http://\udfff"), 2, "no character"),
        ("noise-study confirm", ("whole", "--storage", "s3://"), 2, "names no bucket"),
        (
            "noise-study confirm",
            ("whole", "--tracking-uri", "sqlite:///pipe"),
            2,
            "no regular file",
        ),
        (
            "noise-study verify",
            ("whole", "--tracking-uri", "sqlite:///folder"),
            2,
            "a folder; give",
        ),
        ("noise-study sync", ("whole", "--tracking-uri", "sqlite:///pipe"), 2, "no regular file"),
        ("noise-analysis preview", ("~nosuchuser/x",), 2, "no such user"),
        ("noise-analysis report", ("whole", "--out", "file.txt/below"), 2, "is a file"),
        ("noise-analysis confirm", ("whole", "--out", "studies/whole/study.json"), 2, "is a file"),
        ("noise-analysis confirm", ("whole", "--out", "trap"), 1, "can't be written"),
    ],
)
def test_what_has_fallen_is_answered(
    command: str, words: tuple[str, ...], code: int, said: str, world: World
) -> None:
    example = Example(command, words, ())
    answer = world.answer(example)
    assert not fault(example, answer), answer
    assert (answer.code, said in answer.err) == (code, True), answer


def share(command: str) -> int:
    """How many of the examples a command gets: by its options, and a few for what else it has."""
    weights = {name: len(listed) + 8 for name, listed in options().items()}
    return max(5, round(EXAMPLES * weights[command] / sum(weights.values())))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", BASES)
def test_any_input_is_answered(command: str, world: World, counts: Counter[str]) -> None:
    tried: set[str] = set()

    def try_one(example: Example) -> None:
        answer = world.answer(example)
        tried.update(example.tried)
        counts["tried"] += 1
        counts["refused" if answer.code == 2 else "accepted"] += 1
        wrong = fault(example, answer)
        assert not wrong, f"{wrong}: {example}\n{answer}"

    def try_many(number: int, strategy: st.SearchStrategy[Example]) -> None:
        settings(RANDOM, max_examples=number)(given(strategy)(try_one))()

    try_many(share(command), examples(command, BASES[command]))
    # Chance leaves some out.
    for option in options()[command]:
        if option.long not in tried:
            try_many(2, examples(command, BASES[command], option))
    print(f"\n{command}: {dict(counts)} so far")
    assert tried == {option.long for option in options()[command]}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("option", ["--config", "--configs"])
def test_any_document_is_answered(option: str, world: World, counts: Counter[str]) -> None:
    """Each is read: chance gives few of the examples above a document."""
    answers = Counter[str]()

    @settings(RANDOM, max_examples=FURTHER)
    @given(texts(), st.sampled_from(DOCUMENTS))
    def try_one(text: str, file: str) -> None:
        example = Example("noise-study run", (option, file), (option,), text)
        answer = world.answer(example)
        answers["refused" if answer.code == 2 else "accepted"] += 1
        wrong = fault(example, answer)
        assert not wrong, f"{wrong}: {example}\n{answer}"

    try_one()
    counts.update(answers, tried=answers.total())
    assert min(answers["refused"], answers["accepted"]) > 0, answers


def test_each_option_is_drawn_with_values() -> None:
    """So is one that is added: what it is given follows from what it calls its value."""
    for listed in options().values():
        for option in listed:
            assert isinstance(given_option(option), st.SearchStrategy)
