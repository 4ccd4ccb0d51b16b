import itertools

import pytest

from study.records.seeds import (
    BLOCK,
    confirmation_start,
    race_seeds,
    seeds_of,
    tuning_seeds,
)
from trainables.errors import InputError


def test_the_blocks_begin_where_the_method_says() -> None:
    assert race_seeds(0, 3) == (10_000_000, 10_000_001, 10_000_002)
    assert confirmation_start(0) == 20_000_000
    assert tuning_seeds(0, 2) == (30_000_000, 30_000_001)
    assert race_seeds(7, 1) == (10_070_000,)
    assert confirmation_start(1_999) == 29_990_000
    assert tuning_seeds(42, 1) == (30_420_000,)


@pytest.mark.parametrize(
    "seed",
    [
        *(0, 1, 999, 1_000, 9_990_000, 9_990_001, 10_000_000, 20_000_000, 39_999_999, 40_000_000),
        *(110_000_000, 120_420_000, 2**63 - 1 - BLOCK),
    ],
)
def test_no_block_meets_another_or_the_searchs_seeds_when_all_are_full(seed: int) -> None:
    blocks = [
        range(seed, seed + BLOCK),
        *(
            range(start, start + BLOCK)
            for start in (
                race_seeds(seed, 1)[0],
                confirmation_start(seed),
                tuning_seeds(seed, 1)[0],
            )
        ),
    ]
    in_order = sorted(blocks, key=lambda block: block.start)
    for before, after in itertools.pairwise(in_order):
        assert before.stop <= after.start
    assert all(block.start >= 0 and block.stop <= 2**63 for block in blocks)


def test_studies_of_nearby_seeds_share_no_seed_either() -> None:
    assert not set(race_seeds(3, BLOCK)) & set(race_seeds(4, BLOCK))


def test_more_seeds_of_a_purpose_go_on_where_the_fewer_end() -> None:
    assert seeds_of("race", 5, 4)[:2] == seeds_of("race", 5, 2)


def test_a_block_has_an_end() -> None:
    assert len(race_seeds(0, BLOCK)) == BLOCK
    with pytest.raises(InputError, match=r"seeds of the race = 10001: at most 10,000"):
        race_seeds(0, BLOCK + 1)
