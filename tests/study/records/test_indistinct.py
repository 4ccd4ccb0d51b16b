"""What a search's values cannot tell apart, in sentences: a table worked out by hand."""

import io
from typing import Any

import pytest
from rich.console import Console

from study.campaigns.live import best_so_far
from study.campaigns.search_result import print_result
from study.config import StudyConfig
from study.records.indistinct import image_sentence, tie_sentence
from study.records.ledger_view import LedgerState, StudyInfo, TrialRecord
from study.records.summary import Summary, summarise
from tests.support.ledgers import CONFIG, epoch

IMAGES = 180


def recorded(
    objective: str,
    *trials: tuple[tuple[int, ...], float],
    baseline: tuple[int, ...] = (90,),
    images: int | None = IMAGES,
) -> tuple[StudyConfig, LedgerState]:
    """A study of trials, each given by its images rightly classified, and its validation loss."""
    config = StudyConfig(name="made-up", train=CONFIG, objective=tuple(objective.split(",")))
    records = [
        TrialRecord(
            key=key,
            role=key.split("-")[0],
            seed=0,
            overrides={},
            config=CONFIG.model_dump(mode="json"),
            baseline="digest",
            history=tuple(
                epoch(number, train_accuracy=1.0, val_accuracy=right / IMAGES, val_loss=loss)
                for number, right in enumerate(counts)
            ),
            state="complete",
        )
        for key, counts, loss in [
            ("baseline-seed0", baseline, 1.0),
            *((f"trial-{n:04d}", *each) for n, each in enumerate(trials)),
        ]
    ]
    tags = {} if images is None else {"validation_images": str(images)}
    info = StudyInfo("made-up", "uid", {}, "", tags, 0, "complete", None, 0)
    return config, LedgerState(info, {r.key: r for r in records})


def searched(*args: Any, **changes: Any) -> tuple[StudyConfig, Summary]:
    """The same, summarised."""
    config, state = recorded(*args, **changes)
    return config, summarise(config, state)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], ""),
        ([((99,), 0.5)], ""),
        ([((99,), 0.5), ((98,), 0.25)], ""),
        (
            [((99,), 0.5), ((98,), 0.125), ((99,), 0.25)],
            "trial-0002 and trial-0000 share the best value 0.5500; trial-0002 comes first by its "
            "lower tail loss only",
        ),
        (
            [((99,), 0.5)] * 3,
            "trial-0000, trial-0001 and 1 more share the best value 0.5500; trial-0000 comes first "
            "by its lower number only",
        ),
        (
            [((99,), 0.5), ((99,), 0.75), ((99,), 0.25), ((99,), 1.0)],
            "trial-0002, trial-0000 and 2 more share the best value 0.5500; trial-0002 comes first "
            "by its lower tail loss only",
        ),
    ],
)
def test_who_shares_the_best_value(
    trials: list[tuple[tuple[int, ...], float]], expected: str
) -> None:
    assert tie_sentence(*searched("best_val_accuracy", *trials)) == expected


@pytest.mark.parametrize(
    ("objective", "counts", "expected"),
    [
        pytest.param("best_val_accuracy", (91,), "the difference is that one image", id="one"),
        pytest.param("best_val_accuracy", (89,), "the difference is that one image", id="behind"),
        pytest.param("best_val_accuracy", (92,), None, id="two"),
        pytest.param("best_val_accuracy", (90,), None, id="equal"),
        pytest.param("tail_val_accuracy", (90, 90, 92), "part of an image", id="two of three"),
        pytest.param("tail_val_accuracy", (91, 91, 91), "that one image", id="one in each"),
        pytest.param("tail_val_accuracy", (91, 91, 92), None, id="four of three"),
        pytest.param("generalization_gap,best_val_accuracy", (91,), None, id="two objectives"),
        pytest.param("tail_val_loss", (90,), None, id="no accuracy"),
    ],
)
def test_what_one_image_is_worth(
    objective: str, counts: tuple[int, ...], expected: str | None
) -> None:
    baseline = (90,) * len(counts)
    said = image_sentence(*searched(objective, (counts, 0.999), baseline=baseline))
    if expected is None:
        assert said == ""
    else:
        assert said.startswith("one validation image is worth 0.0056 (180 images): ")
        assert expected in said


def test_studies_that_did_not_record_their_images_say_nothing_of_them() -> None:
    assert image_sentence(*searched("best_val_accuracy", ((91,), 0.5), images=None)) == ""
    assert image_sentence(*searched("best_val_accuracy")) == ""


def test_the_live_view_counts_who_shares_the_best_so_far() -> None:
    one = ((99,), 0.5)
    alone = best_so_far(*recorded("best_val_accuracy", one))
    assert alone.endswith("best so far 0.5500 (+0.0500, trial-0000)")
    shared = best_so_far(*recorded("best_val_accuracy", one, ((98,), 0.5), ((99,), 0.25)))
    assert shared.endswith("best so far 0.5500 (+0.0500, trial-0002 and 1 more)")


def test_the_end_on_the_terminal_says_so() -> None:
    said = io.StringIO()
    found = searched("best_val_accuracy", ((91,), 0.5), ((91,), 0.25))
    print_result(Console(file=said, width=80), *found)
    words = " ".join(said.getvalue().split())
    for sentence in (tie_sentence(*found), image_sentence(*found)):
        assert sentence
        assert sentence in words
    assert "first configuration: " in words
