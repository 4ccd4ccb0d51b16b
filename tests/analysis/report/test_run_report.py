"""The report of a single run: its pictures against its files, and the page in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.charts.chart import Band, Line
from analysis.commands.analysis import main
from analysis.report.run_report import begun_page, load_run, run_sections
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.trained_studies import ADAPTIVE, BASE, EPOCHS, write_run
from trainables.config import apply_overrides
from trainables.errors import InputError

NOISY = {**ADAPTIVE, "noise/signals": "grad_norm_plateau", "noise/magnitude_min": 2.0}
LAYERS = {"conv.weight": 2.0, "conv.bias": 0.5, "<!--<script>": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, with the logs that ``noise-train --layer-norms`` writes."""
    config = apply_overrides(BASE, NOISY)
    folder = write_run(tmp_path_factory.mktemp("runs") / "noisy", config)
    rows = load_run(folder).rows
    noise = [
        {
            "epoch": row.epoch,
            "norm_before": 2.0 if row.injected else None,
            "norm_after": 2.5 if row.injected else None,
            "layers": {
                name: {"norm_before": norm, "norm_after": norm}
                for name, norm in LAYERS.items()
                if row.injected
            },
        }
        for row in rows
    ]
    optimizer = [{"epoch": row.epoch, "lr": row.lr, "momentum": 1.0 + row.epoch} for row in rows]
    for name, lines in (("noise", noise), ("optimizer", optimizer)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_the_pictures_are_those_of_its_files(run: Path) -> None:
    view = load_run(run)
    noisy = {row.epoch + 1 for row in view.rows if row.injected}  # from 1, as people count
    assert noisy
    charts = {chart.key: chart for part in run_sections(view) for chart in part.charts}
    assert set(charts) == {"training", "noise", "strength", "optimizer", "layers"}
    loss, accuracy, *_ = charts["training"].panels
    drawn = {mark.name: list(mark.y) for mark in loss.marks if isinstance(mark, Line)}
    assert drawn["validation"] == [row.val_loss for row in view.rows]
    shown = {
        epoch
        for mark in accuracy.marks
        if isinstance(mark, Band) and mark.name == "noise"
        for epoch in range(round(mark.start + 0.5), round(mark.stop + 0.5))
    }
    assert shown == noisy
    (layers,) = charts["layers"].panels
    lines = [mark for mark in layers.marks if isinstance(mark, Line)]
    assert [line.name for line in lines] == sorted(LAYERS, key=lambda name: -LAYERS[name])
    known = [epoch for epoch, value in zip(lines[0].x, lines[0].y, strict=True) if value]
    assert set(known) == noisy


def test_without_logs_it_says_what_was_not_recorded(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "plain", apply_overrides(BASE, {"noise/policy": "off"}))
    found = {part.key: part for part in run_sections(load_run(folder))}
    for key in ("noise", "optimizer", "layers"):
        assert not found[key].charts
        assert found[key].missing
    (folder / "optimizer.jsonl").write_text("[]\n")
    with pytest.raises(InputError, match=r"optimizer.jsonl: line 1 is no epoch's record"):
        load_run(folder)
    (folder / "epoch_metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no whole epoch yet"):
        load_run(folder)


def test_averaged_weights_are_told() -> None:
    for ema in (None, 0.99):
        page = begun_page("r", apply_overrides(BASE, {"optimizer/ema": ema}))
        assert ("of decay 0.99 (--ema)." in page.html()) is (ema is not None)


def test_accuracies_have_the_digits_that_their_images_carry(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "plain", apply_overrides(BASE, {"noise/policy": "off"}))
    result = {"final_test_accuracy": 0.12345, "final_train_accuracy": 0.12345}
    (folder / "final_metrics.json").write_text(json.dumps(result))
    last = load_run(folder).rows[-1].val_accuracy
    counts = {"training": 43_000, "validation": 140, "test": 20_000}
    for images, val, shown in (
        (None, f"{last:.2%}", ["12.35 %", "12.35 %"]),
        (counts, f"{last:.1%}", ["12.345 %", "12.345 %"]),
        # Nobody counts so; what says nothing is as if it was not there.
        ({"validation": "many", "test": -1}, f"{last:.2%}", ["12.35 %", "12.35 %"]),
    ):
        if images is not None:
            (folder / "images.json").write_text(json.dumps(images))
        part = run_sections(load_run(folder))[0]
        assert part.card is not None
        assert f"accuracy {val.replace('%', ' %')} in the end" in part.card.said
        assert dict(part.card.figures)["final test accuracy"] == shown[0]
        assert [row[1].text for row in part.tables[0].rows] == shown  # type: ignore[attr-defined]


@NEEDS_BROWSER
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_in_a_browser(width: int, dark: bool, run: Path, browser: Browser, tmp_path: Path) -> None:
    assert main(["report", str(run), "--out", str(tmp_path), "--no-pictures"]) == 0
    browser.look(width=width, dark=dark)
    browser.open((tmp_path / "report.html").as_uri())
    found = browser.run(
        'const plots = [...document.querySelectorAll(".plot")];'
        'return [plots.length, plots.filter((p) => !p.querySelector(".main-svg")).length,'
        "document.documentElement.scrollWidth - document.documentElement.clientWidth,"
        'document.getElementById("card").innerText]'
    )
    assert found[:3] == [5, 0, 0]
    assert f"{EPOCHS} of {EPOCHS} epochs" in found[3]
    assert browser.requests() == [(tmp_path / "report.html").as_uri()]
    assert not browser.problems()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def test_the_files_lie_beside_the_run(run: Path) -> None:
    before = {path.name for path in run.iterdir()}
    assert main(["report", str(run)]) == 0
    assert {path.name for path in run.iterdir()} - before == {"report.html", "report"}
    names = {path.name for path in (run / "report").iterdir()}
    assert {"training.png", "training.svg", "layers.png"} <= names
