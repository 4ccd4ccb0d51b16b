"""A real headless Chromium for tests, driven by Selenium; tests skip with a message without one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
NEEDS_BROWSER = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no browser here: apt-get install chromium chromium-driver",
)

_QUIET = (
    # Chromium's own traffic (updates, field trials, safe browsing) is none of the page's.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-pings",
)
_LOCAL = frozenset({"127.0.0.1", "localhost", ""})


class Browser:
    """A browser of which one can ask what went wrong and whom it asked."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the page's size in CSS pixels, however small, and its colour scheme."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def command(self, name: str, **arguments: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, address: str) -> None:
        """Go to a page; what was recorded of earlier ones is forgotten."""
        self.problems()
        self.requests()
        self.driver.get(address)

    def run(self, script: str) -> Any:
        """The value that a function body of JavaScript returns."""
        return self.driver.execute_script(script)

    def text(self) -> str:
        """The page's text as it is shown."""
        return str(self.run("return document.body ? document.body.innerText : ''"))

    def wait_for(self, *words: str, seconds: float = 60) -> str:
        """The page's text once it holds all of the words.

        Raises:
            AssertionError: if it does not within the time.
        """
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            WebDriverWait(self.driver, seconds, poll_frequency=0.2).until(
                lambda _: all(word in self.text() for word in words)
            )
        except TimeoutException as late:
            shown = self.text()
            missing = [word for word in words if word not in shown]
            raise AssertionError(
                f"the page does not show {missing}; it shows: {shown[:3000]}"
            ) from late
        return self.text()

    @contextmanager
    def inside_frame(self, seconds: float = 60) -> Iterator[None]:
        """Within the block scripts run in the page that is shown inside this one."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.expected_conditions import (
            frame_to_be_available_and_switch_to_it,
        )
        from selenium.webdriver.support.ui import WebDriverWait

        ready = frame_to_be_available_and_switch_to_it((By.TAG_NAME, "iframe"))
        WebDriverWait(self.driver, seconds).until(ready)
        try:
            yield
        finally:
            self.driver.switch_to.default_content()

    def problems(self) -> list[str]:
        """Errors of the console since the last call, scripts' and policies' included."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE"
        ]

    def requests(self) -> list[str]:
        """Addresses that the page asked for since the last call, its own data left out."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return [url for url in found if urlsplit(url).scheme not in {"data", "blob"}]

    def foreign_requests(self) -> list[str]:
        """Those of the requests since the last call that went to another host."""
        return [
            url
            for url in self.requests()
            if urlsplit(url).hostname not in _LOCAL - {""} and urlsplit(url).scheme != "file"
        ]

    def screenshot(self, path: Path) -> Path:
        """The whole page, scrolled parts included, as a PNG."""
        import base64

        shot = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile in ``folder``."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
        *_QUIET,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Selenium's own manager would look for drivers on the network; the path keeps it out of this.
    os.environ.setdefault("SE_OFFLINE", "true")
    service = webdriver.ChromeService(executable_path=str(DRIVER))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
