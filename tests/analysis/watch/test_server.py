"""The server of a watched report: whom it answers, what, and how it ends; in a real browser."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from analysis.commands.analysis import main
from analysis.watch.server import Renewed, is_of_here, serving
from analysis.watch.watched import WatchedStudy
from study.records.events import StudyEndEvent
from study.records.folder import StudyFolder
from study.records.ledger import Ledger
from study.records.storage import Storage
from tests.analysis.watch.test_watched import PLAIN
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.servers import answering, free_port
from tests.support.trained_studies import TRIALS, write_confirmation, write_run, write_study

REPORT = (sys.executable, "-m", "analysis.commands.analysis", "report")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    write_study(folder, "small", trials=TRIALS[:2], seeds=1, over=False, race_seeds=1)
    return folder


def asked(
    server: ThreadingHTTPServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    headers = {} if host is None else {"Host": host}
    connection.request(method, path, headers=headers)
    found = connection.getresponse()
    try:
        return found.status, found.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8000", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        (None, False),
        ("", False),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
        ("127.0.0.1@evil.example", False),
        ("[::1", False),
    ],
)
def test_only_requests_that_name_this_machine(host: str | None, here: bool) -> None:
    assert is_of_here(host) is here


def test_what_is_answered(storage: Path) -> None:
    with answering(serving(WatchedStudy(Storage.of(storage), "small"), 0)) as server:
        assert server.server_address[0] == "127.0.0.1"
        code, page = asked(server, "/")
        assert code == 200
        assert "connect-src 'self'" in page
        code, text = asked(server, "/status?x=1")
        status = json.loads(text)
        assert status["wanted"] == 3 * 12
        parts = json.loads(asked(server, "/parts")[1])
        assert parts["version"] == status["version"]
        assert parts["main"] in page
        assert asked(server, "/etc/passwd")[0] == 404
        assert asked(server, "/../study.json")[0] == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert asked(server, "/", method)[0] == 501
        code, text = asked(server, "/status", host="evil.example")
        assert (code, "wanted" in text) == (403, False)


def test_a_study_that_goes_away_is_a_problem_and_no_end(tmp_path: Path) -> None:
    write_study(tmp_path, "gone", trials=TRIALS[:1], seeds=1)
    with answering(serving(WatchedStudy(Storage.of(tmp_path), "gone"), 0)) as server:
        folder = StudyFolder.of(tmp_path, "gone")
        text = folder.config.read_text()
        folder.config.write_text("{")
        ledger = folder.ledger.read_bytes()
        folder.ledger.write_bytes(b"")
        assert "study.json" in json.loads(asked(server, "/status")[1])["problem"]
        assert asked(server, "/")[0] == 503
        folder.config.write_text(text)
        folder.ledger.write_bytes(ledger)
        assert asked(server, "/")[0] == 200


class Counting:
    """Records that change with each look, and a report that takes a while."""

    def __init__(self) -> None:
        self.looks = self.made = 0

    def stamp(self) -> str:
        self.looks += 1
        return str(self.looks)

    def page(self) -> str:
        self.made += 1
        return str(self.made)


def test_a_report_is_not_made_anew_at_each_change() -> None:
    watched: Any = Counting()
    report = Renewed(watched)
    assert [report.page()[1] for _ in range(5)] == ["1"] * 5
    assert watched.looks == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("small", "--watch", "--port", "70000"), "--port = 70000: from 1 to 65535"),
        (("small", "--watch", "--port", "-1"), "--port = -1"),
        (("small", "--port", "8000"), "--port = 8000: only with --watch"),
        (("small", "--watch", "--out", "x"), "--out = x: not with --watch"),
        (("smal", "--watch"), "name = 'smal': no such study; did you mean 'small'"),
        (("", "--watch"), "no such study"),
    ],
)
def test_bad_input(
    words: tuple[str, ...], message: str, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *words, "--storage", str(storage)]) == 2
    assert message in capsys.readouterr().err


def test_a_port_that_is_taken_is_refused(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(serving(WatchedStudy(Storage.of(storage), "small"), 0)) as server:
        words = ["small", "--watch", "--port", str(server.server_port), "--storage", str(storage)]
        assert main(["report", *words]) == 2
    assert f"--port = {server.server_port}: can't listen" in capsys.readouterr().err


@contextmanager
def watching(*words: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command as a person starts it: its address, and the process."""
    environment = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*REPORT, *words], stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_without_a_word(number: signal.Signals, storage: Path) -> None:
    port = free_port()
    words = ("small", "--watch", "--port", str(port), "--storage", str(storage))
    before = sorted(path.name for path in (storage / "small").iterdir())
    with watching(*words) as (address, process):
        assert address == f"http://127.0.0.1:{port}/"
        # A page that keeps its connection open holds up nothing.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/status")
        connection.getresponse().read()
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
        assert (process.returncode, out, errors) == (0, "", "")
        connection.close()
    assert sorted(path.name for path in (storage / "small").iterdir()) == before


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@NEEDS_BROWSER
def test_a_page_renews_itself_without_a_flicker(browser: Browser, tmp_path: Path) -> None:
    """The study ends while its report is looked at, and is confirmed."""
    write_study(tmp_path, "live", trials=TRIALS[:3], over=False, race_seeds=1)
    folder = StudyFolder.of(tmp_path, "live")
    with answering(serving(WatchedStudy(Storage.of(tmp_path), "live"), 0)) as server:
        browser.look(width=1280)
        browser.open(f"http://127.0.0.1:{server.server_port}/")
        browser.wait_for("nothing trains it now", "No trial of the search beats", seconds=30)
        # What a reader has done, and marks on what is to stay.
        browser.run(
            'document.querySelector("#curves").scrollIntoView();'
            'document.querySelector("details").open = true;'
            'const find = document.querySelector("input[type=search]");'
            'find.value = "trial-0001"; find.dispatchEvent(new Event("input"));'
            "find.focus({preventScroll: true});"
            'window.kept = document.querySelector("#figure-curves-0 .main-svg");'
            "window.white = 0;"
            "new MutationObserver(() => {"
            'if (!document.querySelector("#figure-curves-0 .main-svg")) window.white += 1;'
            "}).observe(document.body, {childList: true, subtree: true});"
            "window.at = scrollY;"
        )
        with Ledger(folder.ledger) as ledger:
            ledger.append(StudyEndEvent("complete", best="trial-0000"))
        write_confirmation(folder, "trial-0000", (2, 3, 4, 5, 6, 7), [0.02, 0.018] * 3)
        browser.wait_for("Noise helped: +1.90 points", "confirmation: baseline 6/6", seconds=60)
        found = browser.run(
            "return {"
            'same: window.kept === document.querySelector("#figure-curves-0 .main-svg"),'
            "white: window.white,"
            'opened: document.querySelector("details").open,'
            'typed: document.querySelector("input[type=search]").value,'
            'focus: document.activeElement === document.querySelector("input[type=search]"),'
            'rows: [...document.querySelectorAll("#all-trials, table.data")].at(-1)'
            ".querySelectorAll('tbody tr:not([hidden])').length,"
            'plots: [...document.querySelectorAll(".plot")].every('
            '(plot) => plot.querySelector(".main-svg"))}'
        )
        assert found == {
            "same": True,
            "white": 0,
            "opened": True,
            "typed": "trial-0001",
            "focus": True,
            "rows": 1,
            "plots": True,
        }
        assert not browser.problems()
        assert not browser.foreign_requests()
        # It would go on asking a server that is gone.
        browser.open("about:blank")


@NEEDS_BROWSER
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_a_run_without_an_epoch(width: int, dark: bool, browser: Browser, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "metrics" / "plain", PLAIN)
    rows = folder / "epoch_metrics.jsonl"
    text = rows.read_text()
    rows.unlink()
    with watching(str(folder), "--watch") as (address, process):
        browser.look(width=width, dark=dark)
        browser.open(address)
        browser.wait_for("No epoch is complete yet", "0 of 12 epochs", seconds=60)
        rows.write_text(text)
        browser.wait_for("12 of 12 epochs", "Training", seconds=60)
        wait_for_pictures(browser)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.run(f"return {wide}") <= 0
        assert not browser.problems()
        assert not browser.foreign_requests()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
        browser.wait_for("no longer served", seconds=30)
        # It would go on asking.
        browser.open("about:blank")


def wait_for_pictures(browser: Browser) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if browser.run('return document.querySelectorAll(".plot .main-svg").length') > 0:
            return
        time.sleep(0.2)
    raise AssertionError("no picture is drawn")
