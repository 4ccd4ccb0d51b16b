"""Placebos matched in dose: each rule of a draw, over thousands of them and against brute force."""

import random
from collections.abc import Sequence
from itertools import combinations

import pytest

from benchmarks.placebos import broken_rules, stretches
from study.campaigns.dose import Doses, NoisePlan
from study.campaigns.matched_placebo import CANDIDATES, matched_placebos
from study.campaigns.placebo import own_plan
from trainables.config import OptimizerConfig, TrainConfig
from trainables.metrics import EpochMetrics
from trainables.noise_config import NoiseConfig

Noisy = dict[int, tuple[str, float]]
KINDS = ("gradient", "weight", "input", "label")


def history_of(noisy: Noisy, epochs: int) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.1, *noisy.get(epoch, ("none", 0.0)))
        for epoch in range(epochs)
    ]


def config_of(
    epochs: int, warm_up: int, period: int, *, permanent: bool = False, seed: int = 0
) -> TrainConfig:
    return TrainConfig(
        epochs=epochs,
        seed=seed,
        optimizer=OptimizerConfig(lr=0.05, lr_restart_period=period),
        noise=NoiseConfig(
            policy="on_stagnation",
            warmup_epochs=warm_up,
            window=2,
            trigger_epochs=1,
            permanent=permanent,
        ),
    )


def draws_of(
    history: Sequence[EpochMetrics], config: TrainConfig, *, seed: int = 0, draws: int = 2
) -> tuple[NoisePlan, ...]:
    return matched_placebos(history, config, seed=seed, draws=draws)


def a_trial(stream: random.Random) -> tuple[Noisy, TrainConfig]:
    """Noise as a controller gives it: bursts with pauses, of one kind or of several."""
    epochs, warm_up = stream.randint(12, 80), stream.randint(2, 10)
    period = stream.choice([epochs, epochs, max(2, epochs // 2), 10, 5])
    kinds = stream.choice([KINDS[:1], KINDS[:2], KINDS[3:], KINDS])
    noisy: Noisy = {}
    epoch = min(warm_up + stream.randint(0, epochs // 2), epochs - 1)
    while epoch < epochs:
        for at in range(epoch, min(epochs, epoch + stream.randint(1, 8))):
            noisy[at] = (stream.choice(kinds), stream.choice([0.01, 0.1, 0.3, 1.0, 3.0]))
            epoch = at
        epoch += stream.randint(2, 20)
    return noisy, config_of(epochs, warm_up, period, permanent=stream.random() < 0.3)


@pytest.mark.parametrize("wanted", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_thousands_of_draws_keep_every_rule(wanted: int) -> None:
    stream = random.Random(1)
    drawn = second = without = 0
    for number in range(5000):
        noisy, config = a_trial(stream)
        history = history_of(noisy, config.epochs)
        own, plans = own_plan(history), draws_of(history, config, seed=number)
        for plan in plans:
            assert broken_rules(plan, own, config) == []
        assert len(set(plans)) == len(plans)
        drawn, second = drawn + len(plans), second + (len(plans) == 2)
        without += not plans
        if drawn >= wanted:
            break
    assert drawn >= wanted
    # Neither is a rarity: two draws, or none at all.
    assert second > wanted / 3
    assert without > wanted / 60


def test_the_rules_are_checked_by_something_that_finds_faults() -> None:
    noisy: Noisy = {5: ("gradient", 0.1), 6: ("weight", 0.1), 12: ("gradient", 0.2)}
    config = config_of(20, 3, 20)
    own = own_plan(history_of(noisy, 20))
    assert broken_rules(own, own, config) == ["not the trial's own"]
    late = tuple(item._replace(epoch=item.epoch + 7) for item in own)
    assert any(rule == "dose kept" for rule in broken_rules(late, own, config))
    together = (own[0]._replace(epoch=10), own[1]._replace(epoch=11), own[2])
    assert "bursts whole, in order, parted" in broken_rules(together, own, config)
    early = (own[0]._replace(epoch=1), own[1]._replace(epoch=2), own[2])
    assert "not before signals are heard" in broken_rules(early, own, config)


def every_placement(noisy: Noisy, config: TrainConfig) -> dict[tuple[int, ...], int]:
    """Start epochs of all placements that keep the rules, the trial's own too → their overlap."""
    lengths = [len(b) for b in stretches(sorted(noisy))]
    own, doses = own_plan(history_of(noisy, config.epochs)), Doses.of(config)
    first = max(config.noise.warmup_epochs, config.noise.window)
    found = {}
    for starts in combinations(range(first, config.epochs - lengths[-1] + 1), len(lengths)):
        places = [s + n for s, length in zip(starts, lengths, strict=True) for n in range(length)]
        if [len(b) for b in stretches(sorted(set(places)))] != lengths or max(
            places
        ) >= config.epochs:
            continue
        at, plan = 0, []
        for length in lengths:
            here = own[at : at + length]
            there = tuple(
                item._replace(epoch=place)
                for item, place in zip(here, places[at : at + length], strict=True)
            )
            plan += doses.rescaled(there, here)
            at += length
        if all(rule == "not the trial's own" for rule in broken_rules(tuple(plan), own, config)):
            found[starts] = len(set(places) & set(noisy))
    return found


def test_against_all_placements_there_are() -> None:
    """Where any placement keeps the rules one is drawn, and of few the one that overlaps least."""
    stream = random.Random(2)
    few = none = 0
    for number in range(400):
        noisy, config = a_trial(stream)
        if config.epochs > 26 or len(stretches(sorted(noisy))) > 3:
            continue
        possible = every_placement(noisy, config)
        possible.pop(tuple(b[0] for b in stretches(sorted(noisy))), None)
        plans = draws_of(history_of(noisy, config.epochs), config, seed=number, draws=3)
        assert len(plans) == min(3, len(possible))
        starts = [tuple(b[0] for b in stretches([i.epoch for i in plan])) for plan in plans]
        assert set(starts) <= possible.keys()
        if len(possible) < CANDIDATES:
            overlaps = sorted(possible.values())[: len(plans)]
            assert [possible[one] for one in starts] == overlaps
        few += 0 < len(possible) < 3
        none += not possible
    assert few > 3
    assert none > 3


def test_the_draws_are_recorded_and_do_not_depend_on_their_number() -> None:
    """A stored study must find the same placebos again."""
    noisy: Noisy = dict.fromkeys((30, 31, 40), ("gradient", 0.1))
    history, config = history_of(noisy, 100), config_of(100, 5, 50)
    found = [draws_of(history, config, seed=seed) for seed in range(3)]
    assert [[[i.epoch for i in plan] for plan in plans] for plans in found] == RECORDED
    more = draws_of(history, config, seed=1, draws=5)
    assert more[:2] == found[1]
    assert len(set(more)) == 5
    assert draws_of(history, config, seed=1, draws=1) == found[1][:1]


RECORDED = [
    [[34, 35, 42], [32, 33, 37]],
    [[27, 28, 42], [28, 29, 39]],
    [[27, 28, 39], [28, 29, 41]],
]


def test_no_noise_has_the_baseline_and_noise_everywhere_has_no_placebo() -> None:
    config = config_of(12, 3, 12)
    assert draws_of(history_of({}, 12), config) == ((),)
    everywhere: Noisy = dict.fromkeys(range(3, 12), ("gradient", 0.1))
    assert draws_of(history_of(everywhere, 12), config) == ()
    # At the end of a cosine no other epoch has a learning rate like it.
    assert draws_of(history_of({11: ("gradient", 0.1)}, 12), config) == ()
    # Noise that stays in the weights does not go through the learning rate.
    last: Noisy = {11: ("weight", 0.1)}
    assert draws_of(history_of(last, 12), config) == ()
    plans = draws_of(history_of(last, 12), config_of(12, 3, 12, permanent=True))
    assert [(item.kind, item.magnitude) for plan in plans for item in plan] == [("weight", 0.1)] * 2
    with pytest.raises(ValueError, match="noise in epochs 1 to 1: outside"):
        draws_of(history_of({1: ("gradient", 0.1)}, 12), config)


def test_restarts_give_like_learning_rates_again() -> None:
    """The last epoch of a cycle has its like in the other cycles only."""
    config = config_of(60, 5, 10)
    plans = [
        draws_of(history_of({39: ("gradient", 0.1)}, 60), config, seed=seed) for seed in range(40)
    ]
    places = {item.epoch for both in plans for plan in both for item in plan}
    # The peaks decay: the last epoch of the cycle before, the last but one of the next.
    assert places == {29, 48}
    rates = Doses.of(config).rates
    assert all(1 / 2.24 < rates[39] / rates[place] < 2.24 for place in places)


def test_long_noise_in_many_bursts_is_placed() -> None:
    """So many noisy epochs that the odds of each placement underflow."""
    epochs = 1200
    noisy: Noisy = {
        epoch: ("gradient", 0.1) for epoch in range(10, epochs) if epoch % 8 and epoch < 1100
    }
    config = config_of(epochs, 3, 30)
    history = history_of(noisy, epochs)
    own, plans = own_plan(history), draws_of(history, config)
    for plan in plans:
        assert broken_rules(plan, own, config) == []
    assert len(plans) == 2
