"""Which seeds a study's runs use: a block for each purpose, disjoint however much each grows.

What is chosen on some seeds is judged on others: the search has the study's own seeds
(``train.seed`` and those that follow), and race, confirmation and tuning have blocks far from them.
A block depends on the study's seed alone, so that a study that goes on finds its seeds again.
"""

from typing import Literal

from trainables.errors import InputError

Purpose = Literal["race", "confirmation", "tuning"]

BLOCK = 10_000
"""The seeds of one block, and at most those of the search."""

_REGION = 1_000 * BLOCK
_ORDER: dict[Purpose, int] = {"race": 1, "confirmation": 2, "tuning": 3}
_SHIFT = 100_000_000


def block_start(purpose: Purpose, seed: int) -> int:
    """The first seed that a study with ``seed`` has for a purpose."""
    start = _ORDER[purpose] * _REGION + seed % 1_000 * BLOCK
    last_region = max(_ORDER.values())
    # The search's own seeds would lie among the blocks.
    inside = _REGION - BLOCK < seed < (last_region + 1) * _REGION
    return start + _SHIFT if inside else start


def block_of(purpose: Purpose, seed: int) -> range:
    """All seeds that a study with ``seed`` may use for a purpose."""
    start = block_start(purpose, seed)
    return range(start, start + BLOCK)


def seeds_of(purpose: Purpose, seed: int, count: int) -> tuple[int, ...]:
    """The first ``count`` seeds that a study with ``seed`` has for a purpose."""
    if not 0 <= count <= BLOCK:
        raise InputError(f"seeds of the {purpose} = {count}: at most {BLOCK:,}")
    return tuple(block_of(purpose, seed)[:count])


def race_seeds(seed: int, count: int) -> tuple[int, ...]:
    return seeds_of("race", seed, count)


def confirmation_start(seed: int) -> int:
    return block_start("confirmation", seed)


def tuning_seeds(seed: int, count: int) -> tuple[int, ...]:
    return seeds_of("tuning", seed, count)
