"""Tuning the baseline: trainings without noise over learning rate and weight decay.

Noise that beats an untuned training may only repair its learning rate. The first runs share one
seed; the best of them are trained again on a second one, and the best mean of both becomes the base
of all that follows. Everything here follows from the study as it was asked for and its ledger.
"""

import math
import random
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.campaigns.phase import Phase
from study.campaigns.session import Session
from study.config import StudyConfig
from study.config_changes import as_tuned
from study.errors import StudyFailedError
from study.formats import number
from study.records.ledger_view import LedgerState, TrialRecord
from study.records.planned_run import PlannedRun, seeded_key
from study.records.seeds import tuning_seeds
from trainables.metrics import DIVERGED
from trainables.settings import LARGEST

_STREAM = "noise-study/tuning/1"
_LR_DECADES = 1.5
_WEIGHT_DECAY = (1e-5, 1e-2)
_DECOUPLED_DECAY = {"AdamW": (1e-3, 1.0)}
"""By optimizer: a decoupled decay takes lr times itself of a weight in a step, and no more, so that
its ranges begin where those of L2 end. One's own optimizer has that of L2: what its decay does is
not known."""

_NO_DECAY_SHARE = 0.2
"""The share of settings without weight decay."""

_GUESSING = 0.95
"""Training was stuck if its loss never fell below this share of the way from the lowest possible
one (0; with label smoothing more) to that of guessing, ln(classes)."""


@dataclass(frozen=True)
class Setting:
    """A learning rate and a weight decay; ``index`` 0 is what the study was configured with."""

    index: int
    lr: float
    weight_decay: float

    @property
    def name(self) -> str:
        return f"tuning-{self.index:03d}"

    def on(self, seed: int) -> PlannedRun:
        changes = {
            "noise/policy": "off",
            "optimizer/lr": self.lr,
            "optimizer/weight_decay": self.weight_decay,
        }
        return PlannedRun("tuning", self.name, seed, changes)

    def __str__(self) -> str:
        return f"learning rate {self.lr:g} and weight decay {self.weight_decay:g}"


def settings(asked: StudyConfig) -> tuple[Setting, ...]:
    """The configured setting, and quasi-random ones round it: Halton's points, shifted by the seed.

    The shift is Cranley and Patterson's: the study's seed alone decides it.
    """
    from scipy.stats import qmc

    optimizer = asked.train.optimizer
    configured = Setting(0, optimizer.lr, optimizer.weight_decay)
    count = asked.tune_baseline - _second_round(asked)
    # Halton's own first point is the origin.
    points = qmc.Halton(d=2, scramble=False).random(count)[1:]
    draws = random.Random(f"{_STREAM}/{asked.train.seed}")
    shift = (draws.random(), draws.random())
    others = [
        Setting(
            index,
            _learning_rate(optimizer.lr, (float(point[0]) + shift[0]) % 1),
            _weight_decay(optimizer.optimizer, (float(point[1]) + shift[1]) % 1),
        )
        for index, point in enumerate(points, 1)
    ]
    return (configured, *others)


def _learning_rate(middle: float, share: float) -> float:
    exact = middle * 10 ** (_LR_DECADES * (2 * share - 1))
    return _rounded(min(max(exact, sys.float_info.min), LARGEST))


def _weight_decay(optimizer: str, share: float) -> float:
    if share < _NO_DECAY_SHARE:
        return 0.0
    low, high = map(math.log, _DECOUPLED_DECAY.get(optimizer, _WEIGHT_DECAY))
    part = (share - _NO_DECAY_SHARE) / (1 - _NO_DECAY_SHARE)
    return _rounded(math.exp(low + part * (high - low)))


def _rounded(value: float) -> float:
    short = float(f"{value:.3g}")
    return short if math.isfinite(short) else value


def _second_round(asked: StudyConfig) -> int:
    """How many settings are trained on the second seed."""
    return max(2, asked.tune_baseline // 3)


def missing_runs(asked: StudyConfig, state: LedgerState) -> list[PlannedRun]:
    """The runs that can be trained now; none once the choice can be made, or never can.

    A setting that fails on the second seed gives its place to the next only if all of them fail.
    """
    tried = settings(asked)
    first, second = tuning_seeds(asked.train.seed, 2)
    waiting = [s.on(first) for s in tried if not _ended(state, s, first)]
    if waiting:
        return waiting
    usable = _ranked(asked, state, tried, (first,))
    size = _second_round(asked)
    for start in range(0, len(usable), size):
        batch = usable[start : start + size]
        waiting = [s.on(second) for s in batch if not _ended(state, s, second)]
        if waiting or _ranked(asked, state, batch, (first, second)):
            return waiting
    return []


def chosen_setting(asked: StudyConfig, state: LedgerState) -> Setting | None:
    """The setting with the best mean over both seeds; None if no setting is complete on both.

    Values of trainings that only guess are luck: where even the best guesses, as the configured
    setting does, that one stays.
    """
    best, configured = _best(asked, state), settings(asked)[0]
    first, second = tuning_seeds(asked.train.seed, 2)
    if best and _stuck(state, best, (first, second)) and _stuck(state, configured, (first,)):
        return configured
    return best


def _best(asked: StudyConfig, state: LedgerState) -> Setting | None:
    seeds = tuning_seeds(asked.train.seed, 2)
    return next(iter(_ranked(asked, state, settings(asked), seeds)), None)


def tuning_phases(asked: StudyConfig, session: Session) -> Generator[Phase, None, StudyConfig]:
    """Train what is missing; returns the study with the best setting as its base."""
    while runs := missing_runs(asked, session.state()):
        yield Phase(runs)
    state = session.state()
    chosen = chosen_setting(asked, state)
    if chosen is None:
        raise StudyFailedError(
            f"{asked.name}: no run of the tuning is usable, so there is no baseline: "
            f"{_remedy(state)}"
        )
    session.note(tuning_note(asked, state))
    return as_tuned(asked, chosen.lr, chosen.weight_decay)


def _remedy(state: LedgerState) -> str:
    """What to do where every setting failed: not all of it is for the learning rate to mend."""
    reasons = [record.reason for record in state.by_role("tuning") if record.state == "failed"]
    other = next((reason for reason in reasons if not reason.startswith(DIVERGED)), None)
    if other:
        return f"{other}; mend that, under another --name"
    return "give a smaller --lr, say, under another --name"


def _ranked(
    asked: StudyConfig, state: LedgerState, tried: Sequence[Setting], seeds: Sequence[int]
) -> list[Setting]:
    """The settings that are complete on these seeds, from best to worst.

    Ties: the configured setting comes first, then the lower validation loss.
    """
    name = asked.objective[0]
    sign = -1.0 if asked.modes[0] == "max" else 1.0
    known: list[tuple[float, bool, float, int, Setting]] = []
    for setting in tried:
        figures = [_figures(state, setting, seed) for seed in seeds]
        value, loss = _mean(figures, name), _mean(figures, "best_val_loss")
        if value is not None:
            by_loss = math.inf if loss is None else loss
            known.append((sign * value, setting.index > 0, by_loss, setting.index, setting))
    return [setting for *_, setting in sorted(known, key=lambda entry: entry[:-1])]


def _mean(figures: Sequence[Mapping[str, float] | None], name: str) -> float | None:
    values = [row.get(name, math.nan) for row in figures if row is not None]
    if not values or len(values) < len(figures) or not all(map(math.isfinite, values)):
        return None
    return math.fsum(values) / len(values)


def _record(state: LedgerState, setting: Setting, seed: int) -> TrialRecord | None:
    return state.trials.get(seeded_key(setting.name, seed))


def _ended(state: LedgerState, setting: Setting, seed: int) -> bool:
    record = _record(state, setting, seed)
    return record is not None and record.finished


def _figures(state: LedgerState, setting: Setting, seed: int) -> Mapping[str, float] | None:
    record = _record(state, setting, seed)
    return record.values if record is not None and record.state == "complete" else None


def tuning_note(asked: StudyConfig, state: LedgerState) -> str:
    """What tuning alone did, in a sentence; empty while nothing is chosen."""
    chosen = chosen_setting(asked, state) if asked.tune_baseline else None
    if chosen is None:
        return ""
    configured = settings(asked)[0]
    runs = len(state.by_role("tuning"))
    if chosen == configured and _stuck(state, chosen, _complete_seeds(asked, state, chosen)):
        return (
            f"tuning does not free the stuck training: the best of its {runs} runs learned nothing "
            f"more than to guess; the configured {configured} stay"
        )
    if chosen == configured:
        return f"tuning found nothing better than the configured {configured} in {runs} runs"
    name, seeds = asked.objective[0], list(_shared_seeds(state, configured, chosen))
    if not seeds:
        return f"the training failed with {configured}; tuning chose {chosen}"
    after = _mean([_figures(state, chosen, seed) for seed in seeds], name)
    before = _mean([_figures(state, configured, seed) for seed in seeds], name)
    how_many = f"{name}, n = {len(seeds)} seed{'s' * (len(seeds) > 1)} of the tuning"
    if _stuck(state, configured, seeds) and not _stuck(state, chosen, seeds):
        return (
            f"the training was stuck at {number(before)} with {configured}; tuning alone frees "
            f"it: {number(after)} with {chosen} ({how_many})"
        )
    return (
        f"tuning alone moves the baseline from {number(before)} with {configured} to "
        f"{number(after)} with {chosen} ({how_many}, on which it was chosen)"
    )


def _complete_seeds(asked: StudyConfig, state: LedgerState, setting: Setting) -> list[int]:
    seeds = tuning_seeds(asked.train.seed, 2)
    return [seed for seed in seeds if _figures(state, setting, seed) is not None]


def _shared_seeds(state: LedgerState, one: Setting, other: Setting) -> Iterator[int]:
    """The seeds on which both settings are complete."""
    for record in state.by_role("tuning"):
        key = seeded_key(one.name, record.seed)
        if record.key == key and None not in (
            _figures(state, one, record.seed),
            _figures(state, other, record.seed),
        ):
            yield record.seed


def _stuck(state: LedgerState, setting: Setting, seeds: Sequence[int]) -> bool:
    """Whether it learned nothing on any of the seeds: its loss stayed that of guessing."""
    return all(_guessed(_record(state, setting, seed)) for seed in seeds)


def _guessed(record: TrialRecord | None) -> bool:
    classes = record.config["data"].get("classes") if record is not None else None
    if record is None or record.state != "complete" or not classes or not record.history:
        return False
    lowest = min(row.train_loss for row in record.history)
    smoothing = record.config.get("optimizer", {}).get("label_smoothing", 0.0)
    floor = _lowest_loss(smoothing, len(classes))
    return lowest >= floor + _GUESSING * (math.log(len(classes)) - floor)


def _lowest_loss(smoothing: float, classes: int) -> float:
    """The lowest training loss that labels so smoothed allow: their entropy."""
    other = smoothing / classes
    shares = [1.0 - smoothing + other] + [other] * (classes - 1)
    return -math.fsum(share * math.log(share) for share in shares if share > 0)
