"""A working folder with everything that a command may meet, and commands that are run in it.

A command runs in this process, up to a seam: the place at which all is checked and the first byte
is about to be written. There ``Accepted`` ends it. ``MODULES`` says which seam each command has.
"""

import io
import os
import shutil
import signal
import stat
import sys
import tarfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch
from filelock import FileLock

from analysis.commands.analysis import main as noise_analysis
from study.commands.study import main as noise_study
from study.commands.test import main as noise_test
from study.commands.train import main as noise_train
from tests.support.data_sets import write_images
from tests.support.hostile_input import Example
from tests.support.servers import make_empty_database
from tests.support.trained_studies import write_study, write_whole_study
from trainables.checkpoint import encode

RECORDED = Path(__file__).parents[1] / "fixtures" / "recorded"
MAINS: Mapping[str, Callable[[Any], int]] = {
    "noise-train": noise_train,
    "noise-test": noise_test,
    "noise-study": noise_study,
    "noise-analysis": noise_analysis,
}
PATIENCE = 60
"""Seconds after which a command hangs; the slowest one here takes two or three."""

FAULTS = ("Traceback (most recent call last)", "unexpected error")


class Accepted(BaseException):
    """Everything is checked, nothing is written yet: the work would begin."""


class Hangs(BaseException):
    """No end after ``PATIENCE``."""


def _accept(*_: object, **__: object) -> NoReturn:
    raise Accepted


def _begin(*_: object, **__: object) -> NoReturn:
    raise KeyboardInterrupt


def _away(*_: object, **__: object) -> NoReturn:
    raise OSError("there is no network here")


FIRST_SEAMS: Mapping[str, Any] = {
    # What runs many trainings, and what sends or removes: it takes the study's lock, the first
    # file that is written.
    "study.records.folder.StudyFolder.locked": _accept,
    # A single run likewise.
    "study.run.files.RunFiles.locked": _accept,
    # noise-test: the register of readings is the first thing written.
    "study.run.evaluation.note_reading": _accept,
    # What has no folder of its own to be locked.
    "study.tune.connect.ray.init": _accept,
    "study.tracking.ui.subprocess": SimpleNamespace(Popen=_accept),
    "analysis.watch.server._Server.serve_forever": _accept,
}
"""Where checking is over and writing begins."""

SECOND_SEAMS: Mapping[str, Any] = {
    "study.tune.connect.ray.init": _begin,
    "study.run.single_run.train_epochs": _begin,
    "study.tracking.ui.subprocess": SimpleNamespace(Popen=_begin),
    "analysis.watch.server._Server.serve_forever": _begin,
}
"""Where training begins: Ctrl-C is pressed there."""

ALWAYS: Mapping[str, Any] = {
    "study.campaigns.ask.WAIT_SECONDS": 0.1,
    "study.campaigns.campaign.FLUSH_SECONDS": 0.1,
    "study.campaigns.campaign.FLUSH_SECONDS_AWAY": 0.1,
    "study.commands.slurm.submit": _accept,
    "study.tracking.ui.open_when_ready": lambda *_: None,
    "torchvision.datasets.utils.urllib.request.urlopen": _away,
    "torch.hub.download_url_to_file": _away,
}
"""Waits that nothing here is worth, no network, no browser, and no cluster that takes a job."""


class World:
    """The folder ``here`` in which commands run; all that they may write lies in ``root``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.here = self.root / "above" / "here"
        self.here.mkdir(parents=True)
        (self.root / "home").mkdir()
        _furnish(self.here)
        self._kept = folder / "kept"
        shutil.copytree(self.root, self._kept, symlinks=True)
        os.mkfifo(self.here / "pipe")  # It can't be copied.
        self._running = FileLock(self.here / "studies" / "running" / "lock")
        self._running.acquire()
        self._sound = self.snapshot()

    def snapshot(self) -> Mapping[str, tuple[int, int, int]]:
        """What lies there: kinds, sizes, and times of change in ns (of files)."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                info = os.lstat(path)
                kind, is_file = stat.S_IFMT(info.st_mode), stat.S_ISREG(info.st_mode)
                found[path] = (kind, info.st_size * is_file, info.st_mtime_ns * is_file)
        return found

    def restore(self) -> None:
        """Make everything as it was."""
        now = self.snapshot()
        changed = {path for path, _ in self._sound.items() ^ now.items()}
        for path in sorted(changed & now.keys(), reverse=True):
            if stat.S_ISDIR(now[path][0]):
                os.rmdir(path)
            else:
                os.unlink(path)
        for path in sorted(changed & self._sound.keys()):
            kind = self._sound[path][0]
            if stat.S_ISDIR(kind):
                os.mkdir(path)
            elif stat.S_ISFIFO(kind):
                os.mkfifo(path)
            else:
                kept = self._kept / os.path.relpath(path, self.root)
                shutil.copy2(kept, path, follow_symlinks=False)
        if str(self._running.lock_file) in changed:
            self._running.release()
            self._running.acquire()
            self._sound = self.snapshot()

    def _is_cache(self, path: str) -> bool:
        """Decoded images, kept for the next command, and what SQLite makes to read a database."""
        cache = str(self.root / "home" / "noise-study")
        return path == cache or path.endswith((".images", ".db-wal", ".db-shm"))

    def prepare(self, example: Example) -> None:
        text = example.document.encode(errors="surrogatepass")
        for name in ("config.json", "config.yaml", "configs.json"):
            (self.here / name).write_bytes(text)
        if example.damage:
            _damage(self.here / example.damage[0], example.damage[1])

    def answer(self, example: Example) -> "Answer":
        """Run an example's command, up to its seam, and leave everything as it was."""
        os.chdir(self.here)
        self.prepare(example)
        before = self.snapshot()
        answer = _run(example, str(self.here))
        changed = before.items() ^ self.snapshot().items()
        answer.written = sorted({path for path, _ in changed if not self._is_cache(path)})
        self.restore()
        return answer


class Answer:
    """How a command ended: its exit code (None: at its seam), what it said and wrote."""

    def __init__(self, code: int | None, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.written: list[str] = []

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}\nwritten: {self.written}"


@contextmanager
def _ends_in_time() -> Iterator[None]:
    def ring(*_: object) -> NoReturn:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again: what cleans up may swallow the first.
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _run(example: Example, here: str) -> Answer:
    prog, _, sub = example.command.partition(" ")
    words = [*([sub] if sub else []), *(word.replace("HERE", here) for word in example.words)]
    # As a terminal's: what it can't encode is not its to write.
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=example.encoding) for _ in range(2))
    code: int | None = None
    seams = SECOND_SEAMS if example.goes_on else FIRST_SEAMS
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, stand_in in {**ALWAYS, **seams}.items():
            patch.setattr(place, stand_in)
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            suppress(Accepted),
            _ends_in_time(),
        ):
            code = MAINS[prog](words)
    torch.set_num_threads(1)
    sys.modules.pop("nosuch", None)
    return Answer(code, *(_content(stream) for stream in (out, err)))


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def fault(example: Example, answer: Answer) -> str:
    """What is wrong with an answer; empty if nothing is."""
    said = answer.out + answer.err
    if any(words in said for words in FAULTS):
        return "an error that nobody foresaw"
    if answer.code not in {None, 0, 1, 2, 130}:
        return f"exit code {answer.code}"
    if answer.code is None and answer.written:
        return "the seam lies behind something written"
    if answer.code == 1 and not said.strip():
        return "exit code 1 without a word"
    return _wrong_refusal(example, answer) if answer.code == 2 else ""


def _wrong_refusal(example: Example, answer: Answer) -> str:
    if answer.written:
        return "written, then refused"
    prog = example.command.partition(" ")[0]
    # tyro's own are in a frame, and name the option.
    plain = example.encoding == "ascii" and not answer.err.startswith("noise-")
    if (plain or answer.err.count("╭─") == 1) and "--" in answer.err:
        return ""
    refusals = [line for line in answer.err.splitlines() if line.startswith(f"{prog}: ")]
    if len(refusals) != 1:
        return f"{len(refusals)} messages"
    message = answer.err[answer.err.index(f"{prog}: ") :].removeprefix(f"{prog}: ")
    return "" if len(message.split()) >= 3 else "a message that says nothing"


# --- furniture -----------------------------------------------------------------------------------


def _furnish(here: Path) -> None:
    for name in ("adaptive", "static"):
        with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
            archive.extractall(here, filter="data")
    shutil.rmtree(here / "expected", ignore_errors=True)
    studies = here / "studies"
    studies.mkdir()
    make_empty_database(studies / "mlflow.db")
    write_whole_study(studies, "whole")
    write_study(studies, "other")
    write_study(studies, "running", over=False)
    (studies / "running" / "lock").touch()
    with tarfile.open(RECORDED / "finished.tar.xz") as archive:
        of_it = [m for m in archive if m.name.startswith("studies/finished/")]
        archive.extractall(here, of_it, filter="data")
    write_images(here / "images")
    for name in ("report.html", "confirm.json", "trials.csv", "table.md", "x.png", "preview.png"):
        (here / "trap" / name).mkdir(parents=True)
    for name in ("report", "configs", "metrics", "controls"):
        (here / "trap" / name).touch()
    (studies / "trap").symlink_to("trap")
    (here / "folder").mkdir()
    (here / "folder" / "inside.txt").write_text("inside")
    (here / "file.txt").write_text("a text")
    (here / "loop").symlink_to("loop")
    for name in ("config.json", "config.yaml", "configs.json"):
        (here / name).write_text("{}")
    weights = here / "weights"
    weights.mkdir()
    _write_weights(weights, here / "checkpoints")


def _write_weights(folder: Path, trained: Path) -> None:
    sound = (trained / "static.pth").read_bytes()
    found = torch.load(io.BytesIO(sound), weights_only=True)
    model = found["model"]
    first = next(iter(model))
    (folder / "sound.pth").write_bytes(sound)
    (folder / "cut.pth").write_bytes(sound[: len(sound) // 2])
    (folder / "empty.pth").write_bytes(b"")
    state = trained / "metrics" / "adaptive" / "last.ckpt"
    (folder / "state.ckpt").write_bytes(state.read_bytes())
    foreign: Mapping[str, Any] = {
        "bare": model,
        "nested": {"state_dict": {f"module.{name}": tensor for name, tensor in model.items()}},
        "config": {**found, "config": "{"},
        "epoch": {**found, "epoch": 10**30, "classes": [["a"], None]},
        "classes": {**found, "classes": []},
        "nan": {**found, "model": {**model, first: model[first] * float("nan")}},
        "complex": {**model, first: model[first].to(torch.complex64)},
        "sparse": {**model, first: model[first].to_sparse()},
    }
    for name, content in foreign.items():
        torch.save(content, folder / f"{name}.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    damaged: Mapping[str, Any] = {
        "list": [1, 2],
        "number": 3.0,
        "strings": {"best_weights": {"a": "b"}, "config": "{}"},
        "meta": {"best_weights": {first: torch.ones(2, device="meta")}, "config": "{}"},
        "quantized": {"best_weights": {first: quantized}, "config": "{}"},
    }
    for name, content in damaged.items():
        (folder / f"{name}.ckpt").write_bytes(encode(content))


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "a folder":
        (path / "inside").mkdir(parents=True)
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "a loop":
        path.symlink_to(path.name)
    elif how == "bytes":
        # A name that is no UTF-8.
        os.makedirs(os.fsencode(path) + b"/\xff\xfe")
    elif how != "missing":
        parts = {"{}": b"{}", "[]": b"[]", "half": content[: len(content) // 2], "empty": b""}
        path.write_bytes(parts.get(how, bytes(range(256)) + b"\xff\xfe\n\x00"))
