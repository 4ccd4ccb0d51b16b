"""The end of a study on the terminal: made-up summaries, and the rows that they take."""

import io
from typing import Any

import pytest
from rich.console import Console

from study.campaigns.search_result import print_result
from study.config import StudyConfig
from study.records.race import RunSummary
from study.records.race_summary import YardstickSummary, yardstick_sentence
from study.records.summary import (
    BaselineSummary,
    CostSummary,
    ObjectiveSummary,
    Summary,
    TrialSummary,
    TuningSummary,
)

ROWS = 24
COLUMNS = 80
CONFIG = StudyConfig(
    name="quickstart", storage="studies", objective=("tail_val_loss",), race_seeds=3
)
OVERRIDES = {
    "noise/policy": "always",
    "noise/distribution": "gaussian",
    "noise/kind": "gradient",
    "noise/magnitude": 0.316,
    "noise/scaling": "step",
    "noise/schedule": "exponential",
}
STUCK = (
    "The baseline never learned: on all 4 seeds its validation accuracy is that of guessing one of "
    "10 classes."
)
NOTES = [
    "signal stuck is left out: the baseline never raises it",
    "tuning does not free the stuck training: the best of its 16 runs learned nothing more than to "
    "guess; the configured learning rate 0.01, weight decay 0.001 stay",
    *(f"note {number}: {'what the reader of the result must know, ' * 4}" for number in range(9)),
]
YARDSTICK = YardstickSummary(
    expected_best_without_effect=-0.12, observed=-1.45, sentence="", winner="trial-0000",
    trials=8, share=0.002, spread=0.08,
)  # fmt: skip


def run(number: int, **changes: Any) -> RunSummary:
    fields = {"seed": number, "value": 0.9, "paired_difference": -1.4, "state": "complete"}
    return RunSummary.model_validate({**fields, **changes})


def trial(number: int, **changes: Any) -> TrialSummary:
    """The further down, the worse."""
    fields: dict[str, Any] = {
        "trial_id": f"trial-{number:04d}",
        "run_id": None,
        "state": "complete",
        "reason": None,
        "seed": 0,
        "value": 0.85 + number / 10,
        "paired_difference": -1.45 + number / 10,
        "final_val_accuracy_difference": 0.6,
        "epochs": 30,
        "epochs_trained": 28,
        "first_injection_epoch": 2,
        "forked_from": 2,
        "never_injected": False,
        "overrides": OVERRIDES,
        "metrics": {"tail_val_loss": 0.85 + number / 10},
        "runs": (run(0),),
    }
    return TrialSummary.model_validate({**fields, **changes})


WON = {
    "place": 1, "n": 2, "mean_difference": -0.5636, "interval": [-7.7247, 6.5976],
    "ranked_by": -1.4525, "stages": 2,
}  # fmt: skip


def summary(*trials: TrialSummary, **changes: Any) -> Summary:
    fields: dict[str, Any] = {
        "study": "quickstart",
        "objective": ObjectiveSummary(metric="tail_val_loss", mode="min"),
        "baseline": [
            BaselineSummary(seed=seed, value=2.3026, metrics={}, run_id=None) for seed in (0, 1)
        ],
        "trials": list(trials),
        "best": "trial-0000",
        "cost": CostSummary(
            epochs_reported=503, epochs_trained=445, trained_share=0.88, seconds=9.0
        ),
        "notes": [],
    }
    return Summary(**{**fields, **changes})


def said(found: Summary, chance: str = "", config: StudyConfig = CONFIG) -> list[str]:
    text = io.StringIO()
    print_result(Console(file=text, width=COLUMNS), config, found, chance)
    return text.getvalue().splitlines()


def everything(failed: int = 4) -> Summary:
    """Tuned, raced, some of whose runs diverged and some had no noise, failed, with many notes."""
    runs = (run(0), run(7, state="failed", paired_difference=0.1), run(8, without_noise=True))
    reasons = [f"diverged: train_loss is nan in epoch {number}" for number in range(failed)]
    return summary(
        trial(0, **WON, runs=runs),
        *(trial(number) for number in range(1, 12)),
        *(
            trial(12 + number, state="failed", value=None, paired_difference=None, reason=reason)
            for number, reason in enumerate(reasons)
        ),
        tuning=TuningSummary(
            runs=16, epochs_trained=480, learning_rate=0.0231, weight_decay=0.000512
        ),
        race_complete=True,
        yardstick=YARDSTICK.model_copy(update={"sentence": yardstick_sentence(YARDSTICK)}),
        notes=NOTES,
    )


@pytest.mark.parametrize("failed", [0, 1, 4])
@pytest.mark.parametrize("notes", [0, 1, len(NOTES)])
@pytest.mark.parametrize("chance", ["", STUCK])
def test_it_fits_a_terminal_whatever_there_is_to_say(failed: int, notes: int, chance: str) -> None:
    whole = everything(failed)
    found = whole.model_copy(update={"notes": whole.notes[:notes]})
    lines = said(found, chance)
    # The last row is the prompt's.
    assert len(lines) < ROWS
    assert max(map(len, lines)) <= COLUMNS
    words = " ".join(" ".join(lines).split())
    assert "tuning" in words
    assert "learning rate 0.01 → 0.0231" in words
    assert ("The baseline never learned" in words) == bool(chance)
    assert "trial-0000 won the race: tail_val_loss -0.5636 beside the baseline on 2 seeds" in words
    assert ("failed: diverged" in words) == (failed > 0)
    assert sum(line.startswith("trial-00") for line in lines if "/30" in line) >= 2
    assert "more is in the report" in lines
    assert lines[-5:] == [
        "best configuration: noise-train --config studies/quickstart/best_config.json",
        "next:",
        *(
            f"  {command} quickstart --storage studies"
            for command in ("noise-study ui", "noise-analysis report", "noise-study confirm")
        ),
    ]


def test_where_there_is_room_nothing_is_left_out() -> None:
    found = summary(trial(0), trial(1), notes=["this must be known"])
    lines = said(found)
    words = " ".join(" ".join(lines).split())
    for sentence in (
        "trial-0000 is ahead by 1.4500 on one seed",
        "no race (--race-seeds)",
        "note: this must be known",
        "scaling=step, schedule=exponential",
        "epochs: 503 reported, 445 trained (88%)",
    ):
        assert sentence in words
    assert "more is in the report" not in words


def test_the_trials_come_before_notes_and_cost() -> None:
    lines = said(everything().model_copy(update={"tuning": None}))
    assert sum("/30" in line for line in lines) == 5
    assert not any(line.startswith("epochs: ") for line in lines)


def test_a_trial_without_noise_on_a_seed_of_its_race_is_marked() -> None:
    idle = trial(0, **WON, runs=(run(0), run(7), run(8, without_noise=True)))
    lines = said(summary(idle, trial(1), race_complete=True))
    assert any("-0.5636 (2*)" in line for line in lines)
    words = " ".join(" ".join(lines).split())
    assert "* its noise never began on some of its seeds" in words
    assert "its noise never began on seed 8, where it equals its baseline" in words
    lines = said(summary(trial(0, **WON), trial(1), race_complete=True))
    assert any("-0.5636 (2)" in line for line in lines)
    assert not any("*" in line for line in lines)
