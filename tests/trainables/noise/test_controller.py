"""The controller: tables of histories with the epochs worked out by hand, an independent reference
written from METHOD's text, and properties over random settings and histories."""

import math
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.metrics import EpochMetrics
from trainables.noise import controller as controller_module
from trainables.noise.controller import (
    Injection,
    NoiseController,
    decide,
    fork_epoch,
    replay,
    severity,
)
from trainables.noise.decay import decay
from trainables.noise.signals import SIGNALS
from trainables.noise_config import NoiseConfig

EPOCHS = 40
FLAT = 1 / (1 + math.exp(-2))
"""Severity at zero improvement, 0.8808: 1 − sigmoid(−2)."""


def rows(epochs: int = EPOCHS, **columns: list[float]) -> list[EpochMetrics]:
    """Training that raises nothing, with some statistics replaced (the last value goes on)."""
    made = []
    for e in range(epochs):
        row = EpochMetrics(e, 1000.0 - e, 0.5, 500.0 - e, 0.5, 0.5**e, 1.0, 0.1)
        changes = {name: values[min(e, len(values) - 1)] for name, values in columns.items()}
        made.append(replace(row, **changes))
    return made


def adaptive(**changes) -> NoiseConfig:
    """Adaptive noise that begins as soon as a signal is raised and has no cooldown."""
    base = {
        "policy": "on_stagnation",
        "warmup_epochs": 0,
        "window": 3,
        "trigger_epochs": 1,
        "max_injection_epochs": 1000,
        "cooldown_min": 0,
        "cooldown_extra": 0,
    }
    return NoiseConfig(**{**base, **changes})


def run(noise: NoiseConfig, history: list[EpochMetrics], epochs: int = EPOCHS) -> list[Injection]:
    """One controller, called before each epoch of the budget as the loop does."""
    controller = NoiseController(noise, epochs)
    return [controller.step(history[:epoch]) for epoch in range(min(epochs, len(history) + 1))]


def noisy(decisions: list[Injection]) -> list[int]:
    return [epoch for epoch, injection in enumerate(decisions) if injection.injecting]


# --- policies --------------------------------------------------------------------------------


def test_off_never_injects():
    decisions = run(NoiseConfig(), rows(grad_norm=[1.0], val_loss=[1.0]))
    assert set(decisions) == {Injection("none", 0.0, 0.0, (), "off")}


@pytest.mark.parametrize("kind", ["gradient", "weight", "input", "label"])
def test_always_injects_its_kind_from_epoch_0_whatever_the_history(kind):
    noise = NoiseConfig(
        policy="always", kind=kind, magnitude=0.5, schedule="linear", weight_ratio=9
    )
    decisions = run(noise, rows())
    assert noisy(decisions) == list(range(EPOCHS))
    for epoch, injection in enumerate(decisions):
        assert injection == Injection(kind, 0.5 * (1 - epoch / EPOCHS), 0.0, (), "injecting")


def test_healthy_training_is_left_alone():
    decisions = run(adaptive(), rows())
    assert noisy(decisions) == []
    assert [d.phase for d in decisions] == ["warm_up"] * 3 + ["watching"] * (EPOCHS - 3)


# --- which epochs: tables ----------------------------------------------------------------------

FLAT_GRADIENT = {"grad_norm": [1.0]}
FLAT_LOSS = {"val_loss": [1.0]}


@pytest.mark.parametrize(
    ("changes", "columns", "expected"),
    [
        pytest.param(
            # Raised from epoch 3 on, when the first window of 3 is complete.
            {},
            FLAT_GRADIENT,
            list(range(3, 40)),
            id="window",
        ),
        pytest.param({"warmup_epochs": 30}, FLAT_GRADIENT, list(range(30, 40)), id="warm-up"),
        pytest.param(
            # Raised from 5; the third consecutive epoch is 7: the streak does not grow in warm-up.
            {"warmup_epochs": 5, "trigger_epochs": 3},
            FLAT_GRADIENT,
            list(range(7, 40)),
            id="trigger",
        ),
        pytest.param(
            # Losses 9 8 | 8 8 8 | 7 | 7 7 7 …: counts without a best after epochs 0…: 0 0 1 2 3 0
            # 1 2 3 4 …. More than 2 after epoch 4, hence before 5; then after 8, 9, …: from 9 on.
            {"signals": ("stuck",), "patience": 2},
            {"train_loss": [9, 8, 8, 8, 8, 7, 7, 7, 7, 7]},
            [5, *range(9, 40)],
            id="stuck",
        ),
        pytest.param(
            # As above, but a streak of one epoch (5) does not trigger; 9 and 10 do.
            {"signals": ("stuck",), "patience": 2, "trigger_epochs": 2},
            {"train_loss": [9, 8, 8, 8, 8, 7, 7, 7, 7, 7]},
            list(range(10, 40)),
            id="streak broken",
        ),
        pytest.param(
            # The count runs from epoch 0, through the warm-up: 11 epochs without a best by then.
            {"signals": ("stuck",), "patience": 9, "warmup_epochs": 12},
            {"train_loss": [1.0]},
            list(range(12, 40)),
            id="stuck counts in warm-up",
        ),
        pytest.param({"signals": ("stuck",), "patience": None}, {"train_loss": [1.0]}, [], id="no"),
        pytest.param(
            # max 2, cooldown floor(1 + 0.8808·4) = 4. Noisy 3, 4; clean 5–8; 9 is evaluated again.
            {"max_injection_epochs": 2, "cooldown_min": 1, "cooldown_extra": 4},
            FLAT_GRADIENT,
            [3, 4, 9, 10, 15, 16, 21, 22, 27, 28, 33, 34, 39],
            id="cooldown by severity",
        ),
        pytest.param(
            # As before, and after a cooldown the streak starts anew: raised 3, 4 → noisy 4, 5;
            # clean 6–9; raised 10, 11 → noisy 11, 12; clean 13–16; noisy 18, 19; clean 20–23; …
            {
                "max_injection_epochs": 2,
                "cooldown_min": 1,
                "cooldown_extra": 4,
                "trigger_epochs": 2,
            },
            FLAT_GRADIENT,
            [4, 5, 11, 12, 18, 19, 25, 26, 32, 33, 39],
            id="trigger after a cooldown",
        ),
        pytest.param(
            # Weight noise: cooldown floor(1 + 0.5·4) = 3. Noisy 3, 4; clean 5–7; noisy 8, 9; …
            {
                "max_injection_epochs": 2,
                "cooldown_min": 1,
                "cooldown_extra": 4,
                "signals": ("val_loss_plateau",),
            },
            FLAT_LOSS,
            [3, 4, 8, 9, 13, 14, 18, 19, 23, 24, 28, 29, 33, 34, 38, 39],
            id="cooldown of weight noise",
        ),
        pytest.param(
            # No cooldown: both streaks return to 0 all the same. Raised 3, 4 (streak 2) → noisy 4,
            # and that is the maximum; raised 5, 6 → noisy 6; …
            {"max_injection_epochs": 1, "trigger_epochs": 2},
            FLAT_GRADIENT,
            list(range(4, 40, 2)),
            id="cooldown of no length",
        ),
        pytest.param(
            # Injection streak: norms are flat up to epoch 4 and again from 6 on, halved between.
            # Windows before 3, 4, 5 are flat; 6 sees 1→1 (epochs 3–5: 1, 1, ½ → fell by half: no),
            # 7 sees epochs 4–6: 1, ½, ½: no; 8 sees 5–7: flat. Three noisy epochs do not reach the
            # maximum of 4, the streak is broken; 8–11 do: cooldown floor(2 + 0.88·0) = 2, 12–13.
            {"max_injection_epochs": 4, "cooldown_min": 2},
            {"grad_norm": [1, 1, 1, 1, 1, 0.5]},
            [e for e in range(3, 40) if e in (3, 4, 5) or (e >= 8 and (e - 8) % 6 < 4)],
            id="injection streak broken",
        ),
        pytest.param(
            # A diverged statistic raises nothing: epoch 6's norm is NaN, so windows before 7, 8
            # and 9 are not judged.
            {"signals": ("grad_norm_plateau",)},
            {"grad_norm": [1, 1, 1, 1, 1, 1, math.nan, 1]},
            [3, 4, 5, 6, *range(10, 40)],
            id="not finite",
        ),
        pytest.param(
            # overfit_epochs = 5 needs 6 epochs, more than the window: from epoch 6 on.
            {"signals": ("overfitting",), "overfit_epochs": 5},
            {"val_loss": [float(e) for e in range(40)]},
            list(range(6, 40)),
            id="overfitting",
        ),
    ],
)
def test_noisy_epochs(changes, columns, expected):
    noise = adaptive(**changes)
    history = rows(**columns)
    assert noisy(run(noise, history)) == expected
    assert fork_epoch(history, noise, EPOCHS) == (expected[0] if expected else None)


def test_states_through_a_whole_cycle():
    # window 3, trigger 2, max 2, cooldown 3 (severity has no part: extra 0), flat gradient.
    noise = adaptive(
        trigger_epochs=2, max_injection_epochs=2, cooldown_min=3, signals=("grad_norm_plateau",)
    )
    seen = [
        (d.phase, d.raised_streak, d.injection_streak, d.cooldown_remaining, d.signals)
        for d in run(noise, rows(**FLAT_GRADIENT), epochs=12)
    ]
    raised = ("grad_norm_plateau",)
    assert seen == [
        ("warm_up", 0, 0, 0, ()),
        ("warm_up", 0, 0, 0, ()),
        ("warm_up", 0, 0, 0, ()),
        ("watching", 1, 0, 0, raised),
        ("injecting", 2, 1, 0, raised),
        ("injecting", 0, 0, 3, raised),  # still noisy; the cooldown is set, the streaks are over
        ("cooldown", 0, 0, 2, ()),
        ("cooldown", 0, 0, 1, ()),
        ("cooldown", 0, 0, 0, ()),  # the third clean epoch
        ("watching", 1, 0, 0, raised),
        ("injecting", 2, 1, 0, raised),
        ("injecting", 0, 0, 3, raised),
    ]


def test_readings_say_what_was_measured():
    noise = adaptive(signals=("grad_norm_plateau", "stuck"), patience=4)
    decisions = run(noise, rows(grad_norm=[4.0, 4.0, 3.0], train_loss=[1.0]))
    readings = {reading.name: reading for reading in decisions[3].readings}
    assert readings["grad_norm_plateau"].value == 0.25
    assert readings["grad_norm_plateau"].threshold == 0.05
    assert (readings["stuck"].value, readings["stuck"].threshold) == (2.0, 4.0)
    assert not any(reading.raised for reading in readings.values())
    assert decisions[2].readings == ()


# --- how strong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "kind", "expected_severity", "signals"),
    [
        # The norm is flat: improvement 0.
        (FLAT_GRADIENT, "gradient", FLAT, ("grad_norm_plateau",)),
        # It doubles: improvement −1, x = (2/0.5)(−1 − 0.5) = −6, 1 − sigmoid(−6) = 0.9975.
        ({"grad_norm": [1.0, 1.0, 2.0]}, "gradient", 0.99752738, ("grad_norm_plateau",)),
        # It falls by a quarter: x = (2/0.5)(0.25 − 0.5) = −1: 0.7311.
        ({"grad_norm": [4.0, 4.0, 3.0]}, "gradient", 0.73105858, ("grad_norm_plateau",)),
        (FLAT_LOSS, "weight", FLAT, ("val_loss_plateau",)),
        # The loss rises by 0.5: x = (2/0.25)(−0.5 − 0.25) = −6.
        ({"val_loss": [1.0, 1.0, 1.5]}, "weight", 0.99752738, ("val_loss_plateau",)),
        # Signals without a scale of their own.
        ({"weight_update_norm": [0.0]}, "gradient", 0.5, ("low_weight_update",)),
        ({"train_loss": [1.0]}, "gradient", 0.5, ("stuck",)),
        # Both sorts: gradient noise wins, and the severity is the gradient signal's, if raised.
        (
            FLAT_GRADIENT | {"val_loss": [1.0, 1.0, 1.5]},
            "gradient",
            FLAT,
            ("grad_norm_plateau", "val_loss_plateau"),
        ),
        (
            {"train_loss": [1.0], "val_loss": [1.0, 1.0, 1.5]},
            "gradient",
            0.5,
            ("stuck", "val_loss_plateau"),
        ),
    ],
)
def test_kind_severity_and_magnitude(columns, kind, expected_severity, signals):
    noise = adaptive(
        patience=1,
        plateau_delta=0.25,
        grad_plateau_threshold=0.5,
        magnitude_min=0.1,
        magnitude_extra=0.4,
        weight_ratio=0.25,
        schedule="linear",
    )
    injection = run(noise, rows(**columns))[3]
    assert (injection.kind, injection.signals) == (kind, signals)
    assert injection.severity == pytest.approx(expected_severity, rel=1e-7)
    sigma = (0.1 + expected_severity * 0.4) * (1 - 3 / 40) * (0.25 if kind == "weight" else 1)
    assert injection.magnitude == pytest.approx(sigma, rel=1e-7)


def test_overfitting_alone_has_severity_one_half():
    # v: 9 9 9 1 2 3 …: before 6 the window is 1 2 3, both changes rises; but then v_first − v_last
    # is negative, too, so val_loss_plateau has to be left out of what is listened to.
    noise = adaptive(signals=("overfitting",), overfit_epochs=2)
    decisions = run(noise, rows(val_loss=[9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 0.0]))
    assert noisy(decisions) == [6]
    assert (decisions[6].kind, decisions[6].severity) == ("weight", 0.5)


def test_clean_epochs_have_no_magnitude_and_no_severity():
    noise = adaptive(trigger_epochs=3, max_injection_epochs=2, cooldown_min=2)
    for injection in run(noise, rows(**FLAT_GRADIENT)):
        if not injection.injecting:
            assert (injection.kind, injection.magnitude, injection.severity) == ("none", 0.0, 0.0)


def test_cooldown_severity_is_a_half_without_the_gradient_plateau():
    # stuck alone: floor(1 + 0.5·10) = 6 clean epochs after the one noisy epoch.
    noise = adaptive(
        signals=("stuck", "val_loss_plateau"),
        patience=0,
        max_injection_epochs=1,
        cooldown_min=1,
        cooldown_extra=10,
    )
    decisions = run(noise, rows(train_loss=[1.0], val_loss=[1.0]))
    assert noisy(decisions)[:3] == [3, 10, 17]


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        ("constant", 7, 1.0),
        ("linear", 0, 1.0),
        ("linear", 5, 0.75),
        ("cosine", 0, 1.0),
        ("cosine", 10, 0.5),
        ("cosine", 5, 0.5 * (1 + math.sqrt(0.5))),
        ("exponential", 0, 1.0),
        ("exponential", 2, 0.9025),
        ("linear", 20, 0.0),
        ("linear", 30, 0.0),  # past the budget: never negative
        ("cosine", 40, 0.0),  # nor growing again
    ],
)
def test_decay(schedule, epoch, expected):
    assert decay(schedule, epoch, 20) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("improvement", "delta", "expected"),
    [
        (0.0, 1.0, FLAT),
        (0.0, 1e-300, FLAT),  # the same at every scale
        (0.0, 5e-324, FLAT),
        (1.0, 1.0, 0.5),
        (2.0, 1.0, 1 - FLAT),
        (-1.7e308, 5e-324, 1.0),
        (1.7e308, 5e-324, 0.0),
        (-1.7e308, 1.7e308, 1 / (1 + math.exp(-4))),
    ],
)
def test_severity(improvement, delta, expected):
    assert severity(improvement, delta) == pytest.approx(expected)


finite = st.floats(allow_nan=False, allow_infinity=False)
deltas = st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False)


@given(finite, deltas)
def test_severity_of_a_raised_signal_lies_between_a_half_and_one(improvement, delta):
    value = severity(improvement, delta)
    assert 0.0 <= value <= 1.0
    if improvement < delta:
        assert value >= 0.5  # 0.5 and 1 themselves by rounding only
    if -10 * delta < improvement < 0.999 * delta:
        assert 0.5 < value < 1.0


@given(finite, finite, deltas)
def test_severity_never_falls_as_improvement_does(a, b, delta):
    assert severity(min(a, b), delta) >= severity(max(a, b), delta)


# --- the controller is a function of the history ------------------------------------------------

statistic = st.one_of(
    st.sampled_from([0.5, 1.0, 1.0, 1.0, 1.001, 2.0]),
    st.floats(0, 1e6),
    st.sampled_from([math.nan, math.inf, 0.0]),
)
histories = st.lists(
    st.builds(
        EpochMetrics,
        epoch=st.just(0),
        train_loss=statistic,
        train_accuracy=st.just(0.5),
        val_loss=statistic,
        val_accuracy=st.just(0.5),
        grad_norm=statistic,
        weight_update_norm=statistic,
        lr=st.just(0.1),
    ),
    max_size=30,
).map(lambda made: [replace(row, epoch=e) for e, row in enumerate(made)])
noises = st.builds(
    NoiseConfig,
    policy=st.sampled_from(["on_stagnation"] * 6 + ["always", "off"]),
    kind=st.sampled_from(["gradient", "weight", "input", "label"]),
    magnitude_min=st.floats(0, 3),
    magnitude_extra=st.floats(0, 3),
    weight_ratio=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine", "exponential"]),
    signals=st.lists(st.sampled_from(list(SIGNALS)), min_size=1, unique=True).map(tuple),
    patience=st.one_of(st.none(), st.integers(0, 5)),
    warmup_epochs=st.integers(0, 8),
    window=st.integers(2, 5),
    overfit_epochs=st.integers(1, 6),
    plateau_delta=st.floats(1e-12, 2),
    grad_plateau_threshold=st.floats(1e-12, 2),
    weight_update_threshold=st.floats(1e-12, 2),
    trigger_epochs=st.integers(1, 3),
    max_injection_epochs=st.integers(1, 4),
    cooldown_min=st.integers(0, 3),
    cooldown_extra=st.integers(0, 4),
)


def reference_signals(noise: NoiseConfig, done: list[EpochMetrics]) -> dict[str, float | None]:
    """METHOD's section 3: raised signal → improvement / δ, or None where it has no scale."""
    raised: dict[str, float | None] = {}
    if len(done) < max(noise.warmup_epochs, noise.window):
        return raised
    window = done[-noise.window :]
    g = [row.grad_norm for row in window]
    if all(map(math.isfinite, g)) and g[0] > 1e-9:
        improvement = (g[0] - g[-1]) / g[0]
        if improvement < noise.grad_plateau_threshold:
            raised["grad_norm_plateau"] = improvement / noise.grad_plateau_threshold
    w = [row.weight_update_norm for row in window]
    if all(map(math.isfinite, w)) and math.fsum(w) / len(w) < noise.weight_update_threshold:
        raised["low_weight_update"] = None
    losses = [row.train_loss for row in done]
    if noise.patience is not None and math.isfinite(losses[-1]):
        best = min(filter(math.isfinite, losses))
        if len(losses) - 1 - losses.index(best) > noise.patience:
            raised["stuck"] = None
    v = [row.val_loss for row in window]
    if all(map(math.isfinite, v)) and v[0] - v[-1] < noise.plateau_delta:
        raised["val_loss_plateau"] = (v[0] - v[-1]) / noise.plateau_delta
    k, bar = noise.overfit_epochs, noise.plateau_delta / 10
    v = [row.val_loss for row in done[-k - 1 :]]
    t = [row.train_loss for row in done[-k - 1 :]]
    whole = len(v) == k + 1 and all(map(math.isfinite, v + t))
    if whole and all(v[i + 1] - v[i] > bar and t[i] - t[i + 1] > bar for i in range(k)):
        raised["overfitting"] = None
    return {name: x for name, x in raised.items() if name in noise.signals}


def reference(noise: NoiseConfig, history: list[EpochMetrics], epochs: int) -> list[tuple]:
    """METHOD's sections 3 to 5 in one plain loop: (kind, σ, severity, signals) of each epoch."""
    out: list[tuple] = []
    cooldown = raised_streak = injection_streak = 0
    for e in range(min(len(history) + 1, epochs)):
        p = e / epochs
        d = {
            "constant": 1.0,
            "linear": 1 - p,
            "cosine": (1 + math.cos(math.pi * p)) / 2,
            "exponential": 0.95**e,
        }[noise.schedule]
        if noise.policy == "always":
            out.append((noise.kind, noise.magnitude * d, 0.0, ()))
            continue
        if noise.policy == "off" or cooldown > 0:
            cooldown -= 1
            raised_streak = injection_streak = 0
            out.append(("none", 0.0, 0.0, ()))
            continue
        raised = reference_signals(noise, history[:e])
        raised_streak = raised_streak + 1 if raised else 0
        if not raised or raised_streak < noise.trigger_epochs:
            injection_streak = 0
            out.append(("none", 0.0, 0.0, tuple(raised)))
            continue
        injection_streak += 1
        severities = {
            name: 0.5 if x is None else 1 / (1 + math.exp(max(-700, 2 * (x - 1))))
            for name, x in raised.items()
        }
        gradient = bool({"grad_norm_plateau", "low_weight_update", "stuck"} & set(raised))
        s = severities.get("grad_norm_plateau" if gradient else "val_loss_plateau", 0.5)
        sigma = (noise.magnitude_min + s * noise.magnitude_extra) * d
        if not gradient:
            sigma *= noise.weight_ratio
        if injection_streak >= noise.max_injection_epochs:
            s_cooldown = severities.get("grad_norm_plateau", 0.5)
            cooldown = math.floor(noise.cooldown_min + s_cooldown * noise.cooldown_extra)
            raised_streak = injection_streak = 0
        out.append(("gradient" if gradient else "weight", sigma, s, tuple(raised)))
    return out


def brief(decisions: list[Injection]) -> list[tuple]:
    return [(d.kind, d.magnitude, d.severity, d.signals) for d in decisions]


@given(noises, histories, st.integers(1, 35))
@settings(max_examples=400, deadline=None)
def test_agrees_with_the_reference(noise, history, epochs):
    decisions = list(replay(history, noise, epochs))
    expected = reference(noise, history, epochs)
    assert len(decisions) == len(expected)
    for ours, theirs in zip(brief(decisions), expected, strict=True):
        assert ours[0] == theirs[0]
        assert ours[1:3] == pytest.approx(theirs[1:3], rel=1e-9, abs=1e-12)
        assert ours[3] == theirs[3]


@given(noises, histories, st.data())
@settings(max_examples=150, deadline=None)
def test_memory_is_a_mere_cache(noise, history, data):
    incremental = run(noise, history, epochs=len(history) + 1)
    assert list(replay(history, noise, len(history) + 1)) == incremental
    # Any order of calls, on one controller, gives what a fresh controller gives.
    controller = NoiseController(noise, len(history) + 1)
    for length in data.draw(st.lists(st.integers(0, len(history)), max_size=8)):
        assert controller.step(history[:length]) == incremental[length]
        fresh = NoiseController(noise, len(history) + 1)
        assert fresh.step(tuple(history[:length])) == incremental[length]


@given(noises, histories, histories)
@settings(max_examples=100, deadline=None)
def test_another_history_is_judged_on_its_own(noise, one, other):
    controller = NoiseController(noise, 40)
    controller.step(one)
    assert controller.step(other) == NoiseController(noise, 40).step(other)


def test_an_earlier_epoch_that_differs_is_noticed():
    # Equal length, equal last epochs: only epoch 0's loss says that the second one never improved.
    noise = adaptive(signals=("stuck",), patience=5)
    improved, never = rows(7, train_loss=[9.0, 8.0]), rows(7, train_loss=[8.0, 8.0])
    controller = NoiseController(noise, EPOCHS)
    assert not controller.step(improved).injecting  # 5 epochs without a best
    assert controller.step(never).injecting  # 6


@given(noises, histories, st.integers(1, 35))
@settings(max_examples=200, deadline=None)
def test_invariants(noise, history, epochs):
    decisions = list(replay(history, noise, epochs))
    clean_due = 0
    for epoch, d in enumerate(decisions):
        assert d.injecting == (d.kind != "none") == (d.phase == "injecting")
        assert (d.magnitude, d.severity) == (0, 0) or d.injecting
        assert d.magnitude >= 0
        if noise.policy != "on_stagnation":
            continue
        if epoch < max(noise.warmup_epochs, noise.window):
            assert not d.injecting
            assert (d.signals, d.readings) == ((), ())
        if clean_due:
            clean_due -= 1
            assert (d.phase, d.cooldown_remaining) == ("cooldown", clean_due)
            assert (d.signals, d.readings) == ((), ())
        else:
            assert d.phase != "cooldown"
        if d.injecting:
            assert d.signals
            assert set(d.signals) <= set(noise.signals)
            assert 0.5 <= d.severity <= 1
            clean_due = d.cooldown_remaining
            if clean_due:
                low = noise.cooldown_min + math.floor(0.5 * noise.cooldown_extra)
                assert low <= clean_due <= noise.cooldown_min + noise.cooldown_extra
        assert d.injection_streak < noise.max_injection_epochs


@given(noises, histories, st.integers(1, 35))
@settings(max_examples=200, deadline=None)
def test_fork_epoch_is_the_first_noisy_epoch_and_never_before_it_could_begin(
    noise, history, epochs
):
    first = fork_epoch(history, noise, epochs)
    assert first == next(iter(noisy(run(noise, history, epochs))), None)
    earliest = noise.earliest_injection()
    if earliest is None:
        assert first is None
    elif first is not None:
        assert earliest <= first < epochs


@given(noises, histories, st.integers(1, 35))
@settings(max_examples=100, deadline=None)
def test_fork_epoch_needs_no_more_than_the_shared_part(noise, history, epochs):
    # What the baseline does after the fork must not matter: the trial differs from there on.
    first = fork_epoch(history, noise, epochs)
    if first is not None:
        assert fork_epoch(history[:first], noise, epochs) == first
        assert first == 0 or fork_epoch(history[: first - 1], noise, epochs) is None


def test_fork_epoch_lies_within_the_budget():
    noise = adaptive(warmup_epochs=10)
    flat = rows(10, **FLAT_GRADIENT)
    assert fork_epoch(flat, noise, 10) is None  # epoch 10 is not trained
    assert fork_epoch(flat, noise, 11) == 10
    assert fork_epoch([], NoiseConfig(policy="always"), 5) == 0
    assert fork_epoch(flat, NoiseConfig(), 10) is None


def test_a_step_decides_the_new_epochs_only(monkeypatch):
    decided = []

    def counted(noise, epochs, history, epoch, state):
        decided.append(epoch)
        return decide(noise, epochs, history, epoch, state)

    monkeypatch.setattr(controller_module, "decide", counted)
    history = rows()
    controller = NoiseController(adaptive(), EPOCHS)
    for length, expected in [(5, [0, 1, 2, 3, 4, 5]), (6, [6]), (6, []), (8, [7, 8]), (1, [0, 1])]:
        decided.clear()
        controller.step(history[:length])
        assert decided == expected


def test_a_decision_reads_a_window_however_long_the_history():
    class Counted(Sequence):
        def __init__(self, made):
            self.made, self.read = made, 0

        def __len__(self):
            return len(self.made)

        def __getitem__(self, index):
            found = self.made[index]
            self.read += len(found) if isinstance(index, slice) else 1
            return found

    noise = adaptive(window=4, overfit_epochs=6)
    history = Counted(rows(2000, grad_norm=[1.0]))
    assert len(list(replay(history, noise, 2001))) == 2001
    assert history.read <= 2001 * (1 + 4 + 7)


def test_decisions_are_immutable_and_budgets_positive():
    with pytest.raises(FrozenInstanceError):
        NoiseController(NoiseConfig(), 1).step([]).magnitude = 1.0
    with pytest.raises(ValueError, match="epochs = 0"):
        NoiseController(NoiseConfig(), 0)


def test_a_plan_is_followed_epoch_by_epoch():
    plan = ((1, "weight", 0.25), (3, "gradient", 0.5))
    noise = NoiseConfig(policy="planned", plan=plan)
    seen = [(i.kind, i.magnitude, i.severity, i.signals, i.phase) for i in run(noise, rows(5))]
    clean = ("none", 0.0, 0.0, (), "off")
    assert seen == [
        clean,
        ("weight", 0.25, 0.0, (), "injecting"),
        clean,
        ("gradient", 0.5, 0.0, (), "injecting"),
        clean,
        clean,
    ]
