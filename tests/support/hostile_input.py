"""Command lines, documents and damage drawn at random, from the commands' own options.

What an option is given follows from what it calls its value (``INT``, ``DIR``): so an option that
is added is drawn without a word here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

from study.campaigns.experiment_grid import ExperimentConfig
from study.commands.documents import commands
from study.commands.settings import Option
from study.config import StudyConfig
from study.presets import quickstart
from trainables.config import TrainConfig, setting_paths

Draw = Callable[[st.SearchStrategy[Any]], Any]

DIGITS = "9" * 5000
WORDS = (
    *("", "none", "auto", "true", "no", "cuda", "always", "off", "digits", "resnet18", "BabyCNN"),
    *("whole", "other", "running", "nosuch", "trial-0000", "trial-9999", "best", "-", "--", "-1"),
    *("a\0b", "lone\udfffsurrogate", "a" * 300, "a\nb", "🙂", "../..", "a:b", ":", "json:loads"),
    *("nosuch.module:f", "tests:nosuch", "a,b", ",", "+", "1..2", "6..20", "20..6", "1:30", "[/x]"),
    *("register.jsonl", "mlflow.db", "mlflow.db-wal", "loss,loss", f"+{DIGITS}", f"2..{DIGITS}"),
    *("best_val_accuracy,best_val_accuracy", "best_val_accuracy+best_val_loss", "+3", "++3"),
)
TEXT = st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.text(max_size=20))
NUMBERS = st.one_of(
    st.sampled_from(
        ["0", "-1", "1", "2", "3", "0.5", "1.5", "nan", "inf", "-inf", "1e39", "1e-400"]
    ),
    st.sampled_from(
        ["true", "False", "", " 3 ", "1_0", "٣", "0x10", "1e3", "²", "5e-324", "1e308"]
    ),
    st.sampled_from(
        [DIGITS, f"-{DIGITS}", f"0.{DIGITS}", "99999999", "70000", "1e30", "1000000000000"]
    ),
    st.sampled_from([2**31, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30]).map(str),
    st.integers(-5, 100).map(str),
    st.floats().map(str),
)
PLACES = (
    *("", ".", "..", "new", "new/deeper", "folder", "folder/", "file.txt", "file.txt/below"),
    *("loop", "loop/below", "pipe", "pipe/below", "/dev/null", "/dev/null/x", "/proc/nowhere"),
    *("~", "~nosuchuser", "~nosuchuser/x", "a\0b", "lone\udfffsurrogate", "a" * 300, "x/" * 3000),
    *("a\nb", "🙂", "images", "images/train", "studies", "studies/whole", "studies/other", "[/x]"),
    *("checkpoints", "checkpoints/metrics/adaptive", "checkpoints/metrics/static", "/dev/zero"),
    *("studies/whole/study.json", "studies/trap", "trap", "trap/x.png", "picture.png", "%00"),
    *("picture.svg/below.svg", "folder/x.png", "C:\\x"),
)
DOCUMENTS = ("config.json", "config.yaml", "configs.json")
WEIGHTS = (
    *("sound.pth", "bare.pth", "cut.pth", "list.ckpt", "meta.ckpt", "quantized.ckpt", "sparse.pth"),
    *("state.ckpt", "number.ckpt", "strings.ckpt", "config.pth", "empty.pth", "nan.pth"),
    *("epoch.pth", "nested.pth", "classes.pth", "complex.pth"),
)
FILES = (*PLACES, *DOCUMENTS, *DOCUMENTS, *DOCUMENTS, *(f"weights/{name}" for name in WEIGHTS))
URIS = (
    *("://", "s3://", "s3://[bad", "s3:///x", "gs://", "file://", "file:///", "file://nowhere/x"),
    *("http://[bad", "http://", "http://127.0.0.1:1", "https://u:p@127.0.0.1:1/x", "bogus://x"),
    *("postgresql://[", "postgresql://", "postgresql://127.0.0.1:1/x", "mysql+nosuch://x/y"),
    *("sqlite:///folder", "sqlite:///file.txt", "sqlite:///new.db", "sqlite:///nowhere/x.db"),
    *("sqlite://", "sqlite:", "sqlite:///:memory:", "sqlite:///loop", "sqlite:///pipe"),
    *("sqlite:///~nosuchuser/x.db", "sqlite:///studies/mlflow.db", "sqlite:///a\0b", "databricks"),
    *("abfs://", "http://127.0.0.1:99999", "http://\udfff", "hdfs:// ", "mock://x", "local"),
    *("sqlite:////", "sqlite:///studies/mlflow.db?mode=ro", "http://127.0.0.1:port", "x" * 5000),
    *("file://HERE/store", "file://HERE/store", "file://HERE/file.txt", "file://HERE/studies"),
)
"""``HERE`` is put in by the world: the folder that the commands run in."""

ADDRESSES = (
    *("auto", "local", "127.0.0.1:1", "ray://127.0.0.1:1", "ray://[", "ray://", "127.0.0.1:99999"),
    *("[::1]:1", "127.0.0.1", ":1", "ray://[::1]:1", "http://127.0.0.1:1"),
)
HOSTILE = st.one_of(
    NUMBERS, TEXT, st.sampled_from(PLACES), st.sampled_from(URIS), st.sampled_from(ADDRESSES)
)
BY_KIND: Mapping[str, st.SearchStrategy[str]] = {
    "INT": NUMBERS,
    "FLOAT": NUMBERS,
    "K": NUMBERS,
    "N": st.one_of(NUMBERS, TEXT),
    "DIR": st.one_of(st.sampled_from(PLACES), st.sampled_from(URIS)),
    "STORAGE": st.one_of(st.sampled_from(PLACES), st.sampled_from(URIS)),
    "FILE": st.sampled_from(FILES),
    "PATH": st.sampled_from(FILES),
    "URI": st.sampled_from(URIS),
    "ADDRESS": st.sampled_from(ADDRESSES),
}
"""What stands for a value of these names most often; any other is drawn from words."""


def values_of(option: Option) -> st.SearchStrategy[str]:
    """What an option is given: mostly of its kind, now and then its default, or anything at all."""
    if option.value.startswith("{"):
        kind: st.SearchStrategy[str] = st.sampled_from(option.value.strip("{}").split(","))
    else:
        kind = BY_KIND.get(option.value, TEXT)
    # A strategy that is given to one_of more than once counts once, and its branches one each.
    return st.integers(0, 9).flatmap(
        lambda drawn: kind if drawn < 6 else st.just(option.default) if drawn < 8 else HOSTILE
    )


@st.composite
def given_option(draw: Draw, option: Option) -> list[str]:
    """The words of one option, or of a switch; sometimes by its short name, or without a value."""
    if not option.long.startswith("-"):
        return [draw(values_of(option))]
    if not option.value:
        off = option.long.replace("--", "--no-", 1)
        return [draw(st.sampled_from([option.long, option.long, off]))]
    name = option.short if option.short and draw(st.booleans()) else option.long
    form = draw(st.integers(0, 19))
    if form == 0:
        return [name]
    value = draw(values_of(option))
    return [f"{name}={value}"] if form < 12 else [name, value]


# --- documents ---------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 1, 2, 2**63, 10**30, -(10**400), 1e308, 5e-324, 1e39]),
    TEXT,
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
GROUPS = ("train", "data", "model", "optimizer", "noise")


@cache
def _paths(kind: type[Any]) -> list[str]:
    return sorted(setting_paths(kind))


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set what ``path`` names, whatever stands there or above it."""
    *parents, last = path.split("/")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value


@st.composite
def configurations(draw: Draw) -> dict[str, Any]:
    """A whole configuration in which some settings are something else, or a part of one."""
    kind = draw(st.sampled_from([StudyConfig, StudyConfig, TrainConfig, ExperimentConfig]))
    whole = quickstart().model_dump(mode="json") if draw(st.booleans()) else {}
    values = dict(whole["train"]) if whole and kind is TrainConfig else whole
    path = st.one_of(st.sampled_from(_paths(kind)), st.sampled_from(GROUPS), TEXT)
    for each, value in draw(st.lists(st.tuples(path, TREES), max_size=3)):
        put(values, each, value)
    return values


@st.composite
def lists_of_overrides(draw: Draw) -> list[Any]:
    path = st.one_of(st.sampled_from(_paths(TrainConfig)), TEXT)
    entry = st.one_of(st.dictionaries(path, TREES, max_size=3), TREES)
    sound = st.integers(1, 9).map(lambda n: {"noise/patience": n})
    return draw(st.lists(st.one_of(sound, entry), max_size=3))


YAML = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "trials: !!bool x\n",
    'trials: !!int ""\n',
    'trials: !!float ""\n',
    "name: !!timestamp x\n",
    "trials: !!python/object/apply:os.getcwd []\n",
    "{1: 2}\n",
    "trials: 3\ntrials: 4\n",
    "time_budget: 1:30\n",
    "trials: yes\n",
    "trials: true\n",
    "? [a]\n: b\n",
    "<<: {trials: 3}\n",
    "--- 1\n--- 2\n",
    "%YAML 9.9\n---\ntrials: 3\n",
    "trials: 0o17\n",
    "trials: .inf\n",
    "trials: 1_000\n",
    "name: 2020-01-01\n",
    "trials: |\n  3\n",
    "\t- x",
    "null\n",
    "name: ~\n",
    f"trials: {DIGITS}\n",
    "train: {epochs: 4, noise: {policy: off}}\n",
)


@st.composite
def texts(draw: Draw) -> str:
    """The text of a document: a configuration, a part of one cut or changed, or something else."""
    form = draw(st.integers(0, 7))
    if form == 0:
        return draw(st.sampled_from(YAML))
    if form == 1:
        return draw(st.text(max_size=60))
    if form == 2:
        depth, opening = draw(st.integers(1, 3000)), draw(st.sampled_from(["[", '{"train":', "- "]))
        return opening * depth
    found = draw(st.one_of(configurations(), lists_of_overrides()) if form < 7 else TREES)
    text = json.dumps(found)
    if form == 3 and text:
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, len(text)))
        rest = text[end:] if draw(st.booleans()) else ""
        text = text[:start] + draw(st.text(max_size=5)) + rest
    if form == 4 and text.startswith("{") and len(text) > 2:
        text = '{"trials": 3, ' + text[1:]  # Often a key that is there twice.
    return text


# --- a whole example ---------------------------------------------------------------------------

DAMAGES = (
    "missing",
    "empty",
    "{}",
    "[]",
    "half",
    "garbage",
    "a folder",
    "a pipe",
    "a loop",
    "bytes",
)
STUDY_FILES = (
    *("study.json", "space.json", "ledger.jsonl", "optuna.journal", "summary.json", "lock"),
    *("best_config.json", "mlflow.offset", "checkpoints/trial-0000/final.ckpt", "checkpoints"),
    *("confirm/ledger.jsonl", "confirm/confirm_config.json", "confirm/mlflow.offset", "confirm"),
)
RUN_FILES = ("config.json", "epoch_metrics.jsonl", "last.ckpt", "final_metrics.json")
DAMAGED = (
    *(f"studies/whole/{name}" for name in STUDY_FILES),
    *(f"checkpoints/metrics/{run}/{name}" for run in ("adaptive", "static") for name in RUN_FILES),
    *("checkpoints/adaptive.pth", "checkpoints/static.pth", "checkpoints/metrics"),
    *("studies/mlflow.db", "studies/register.jsonl", "images/train/cat/0.png", "images/train"),
)


@dataclass(frozen=True)
class Example:
    """A command with its words, the document beside it, and a file that is damaged before.

    Attributes:
        words: without the command itself.
        tried: the options among them, by their long names.
        goes_on: whether what is accepted goes on, to where training begins.
        encoding: what the terminal can show.
    """

    command: str
    words: tuple[str, ...]
    tried: tuple[str, ...]
    document: str = "{}"
    damage: tuple[str, str] | None = None
    goes_on: bool = False
    encoding: str = "utf-8"


@cache
def options() -> Mapping[str, Sequence[Option]]:
    """The options of each command, as the commands themselves list them."""
    return {command: listed.options for command, listed in commands().items()}


@st.composite
def examples(
    draw: Draw,
    command: str,
    bases: Sequence[Sequence[Sequence[str]]],
    must: Option | None = None,
) -> Example:
    """An example for ``command``; each of ``bases`` are arguments with which it is accepted.

    ``must``: an option that is among the words.
    """
    base = draw(st.sampled_from(bases))
    others = st.lists(st.sampled_from(options()[command]), max_size=3, unique=True)
    chosen = [option for option in draw(others) if option != must]
    chosen += [must] if must else []
    # A positional's value stands first, as the base's does.
    chosen.sort(key=lambda option: option.long.startswith("-"))
    own = [word for option in chosen for word in draw(given_option(option))]
    if chosen and not chosen[0].long.startswith("-"):
        base = [group for group in base if group[0].startswith("-")]
    if draw(st.integers(0, 9)) == 0:
        base = [group for group in base if draw(st.booleans())]
    options_of_base = [word for group in base for word in group if group[0].startswith("-")]
    names = [word for group in base for word in group if not group[0].startswith("-")]
    files = any(option.value in {"FILE", "PATH"} for option in chosen)
    harmed = st.tuples(st.sampled_from(DAMAGED), st.sampled_from(DAMAGES))
    return Example(
        command,
        tuple(names + (own + options_of_base if names == [] else options_of_base + own)),
        tuple(option.long for option in chosen),
        draw(texts()) if files else "{}",
        draw(harmed) if draw(st.integers(0, 3)) == 0 else None,
        draw(st.integers(0, 19)) == 0,
        "ascii" if draw(st.integers(0, 9)) == 0 else "utf-8",
    )
