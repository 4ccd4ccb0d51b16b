"""The suite runs and writes what it promises; nothing here looks at the clock."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import benchmarks, main, run
from benchmarks.rows import Benchmark, Goal, Measured, Options, to_row

FIELDS = {"name", "ours", "other", "unit", "ratio", "command", "machine"}


def _benchmark(name: str, **fields: object) -> Benchmark:
    values: dict[str, object] = {
        "name": name,
        "unit": "s",
        "goal": Goal(2.0, ">="),
        "ratio": "other/ours",
        "measure": lambda options: Measured([(1.0, 3.0), (2.0, 8.0), (1.0, 5.0)]),
    }
    return Benchmark(**{**values, **fields})  # type: ignore[arg-type]


def test_a_row_has_the_medians_of_its_rounds() -> None:
    row = to_row(_benchmark("made_up"), _benchmark("made_up").measure(Options()), Options())
    assert row.keys() >= FIELDS
    assert (row["ours"], row["other"]) == (1.0, 5.0)
    assert row["ratio"] == {"median": 4.0, "min": 3.0, "max": 5.0}
    assert row["met"] is True
    assert row["command"] == "python -m benchmarks --rows made_up --rounds 3"


@pytest.mark.parametrize(
    ("goal", "ratio", "ours", "met"),
    [
        (Goal(5.0, ">="), 5.0, 0.0, True),
        (Goal(5.0, ">="), 4.9, 9.0, False),
        (Goal(1.15, "<="), 1.15, 0.0, True),
        (Goal(1.15, "<="), 1.2, 0.0, False),
        (Goal(150.0, "<=", "ours"), 1.0, 160.0, False),
        (Goal(150.0, "<=", "ours"), 900.0, 90.0, True),
    ],
)
def test_a_goal_is_a_bound(goal: Goal, ratio: float, ours: float, met: bool) -> None:
    assert goal.met(ratio, ours) is met


def test_rows_of_several_runs_stand_in_the_order_of_the_suite(tmp_path: Path) -> None:
    order = ["first", "second", "third"]
    run([_benchmark("third"), _benchmark("first")], Options(), tmp_path, order)
    run([_benchmark("second", goal=Goal(9.0, ">="))], Options(), tmp_path, order)
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in rows] == order
    text = (tmp_path / "results.md").read_text()
    assert "| `second` | 1 | 5 | s | 4 (3 – 5) | other/ours | ≥ 9 | **no** | 3 |" in text


def test_a_row_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    def fail(options: Options) -> Measured:
        raise RuntimeError("no memory")

    chosen = [_benchmark("bad", measure=fail), _benchmark("good")]
    assert run(chosen, Options(), tmp_path, ["bad", "good"]) == 1
    assert [row["name"] for row in json.loads((tmp_path / "results.json").read_text())] == ["good"]


def test_a_row_that_this_machine_can_not_measure_says_why(tmp_path: Path) -> None:
    def here(lacking: str) -> list[Benchmark]:
        return [_benchmark("measured"), _benchmark("special", lacking=lambda: lacking)]

    def read() -> tuple[dict[str, dict[str, object]], str]:
        rows = json.loads((tmp_path / "results.json").read_text())
        return {row["name"]: row for row in rows}, (tmp_path / "results.md").read_text()

    order = ["special", "measured"]
    assert run(here("there is no such thing"), Options(), tmp_path, order) == 0
    rows, text = read()
    assert rows["special"]["skipped"] == "there is no such thing"
    assert "- `special` (goal ≥ 2): skipped, there is no such thing" in text
    assert "| `special`" not in text
    # Measured where it can be, it stays, whoever runs the suite after that.
    run(here(""), Options(), tmp_path, order)
    run(here("there is no such thing"), Options(), tmp_path, order)
    rows, text = read()
    assert rows["special"]["met"] is True
    assert "| `special` |" in text
    assert "skipped" not in text


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "loop_vs_bare_bab"]) == 2
    assert "did you mean 'loop_vs_bare_baby'" in capsys.readouterr().err


def test_every_goal_of_the_suite_has_its_row() -> None:
    assert {
        "loop_vs_conventional_baby",
        "loop_vs_conventional_tiny",
        "loop_vs_bare_baby",
        "loop_vs_bare_tiny",
        "own_loop_overhead_baby",
        "own_loop_overhead_tiny",
        "noise_overhead_gradient",
        "noise_overhead_weight",
        "bf16_vs_fp32_tiny",
        "bf16_vs_conventional_tiny",
        "report_overhead",
        "trial_overhead",
        "study_vs_stock",
        "scale_trials",
        "memory_per_trial",
        "time_left",
        "first_epoch",
        "phase_gap",
        "confirm_gap",
        "report",
        "race",
        "resume",
        "slices_baby",
        "slices_tiny",
    } <= benchmarks().keys()


def test_rows_in_bf16_are_measured_where_the_processor_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    has = "avx512_bf16" in flags or "amx_bf16" in flags
    for name in ("bf16_vs_fp32_tiny", "bf16_vs_conventional_tiny"):
        lacking = benchmarks()[name].lacking()
        assert lacking == "" if has else "no bf16 instructions" in lacking


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["loop_vs_conventional_baby", "loop_vs_bare_baby", "own_loop_overhead_baby"]
)
def test_the_loop_is_measured(name: str, tmp_path: Path) -> None:
    assert main(["--quick", "--rounds", "1", "--output", str(tmp_path), "--rows", name]) == 0
    (row,) = json.loads((tmp_path / "results.json").read_text())
    assert row["name"] == name
    assert row["ours"] > 0
    assert row["other"] > 0


@pytest.mark.slow
def test_both_loops_learn_the_same_images() -> None:
    from benchmarks.conventional import ConventionalRun
    from benchmarks.images import raw_images
    from trainables.config import TrainConfig

    images, labels = raw_images(640)
    config = TrainConfig.model_validate(
        {
            "data": {"batch_size": 64},
            "optimizer": {"lr": 0.01},
            "epochs": 3,
            "noise": {"policy": "always", "kind": "weight", "magnitude": 0.01},
        }
    )
    conventional = ConventionalRun(
        config, (images[:512], labels[:512]), (images[512:], labels[512:]), workers=0
    )
    rows = list(conventional.epochs())
    assert [row.noise_kind for row in rows] == ["weight"] * 3
    assert rows[-1].train_loss < rows[0].train_loss
    assert rows[-1].val_accuracy > 0.3
