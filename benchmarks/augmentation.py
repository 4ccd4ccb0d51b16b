"""What TrivialAugmentWide costs an image of 32×32, on one core: the median of some rounds.

``python -m benchmarks.augmentation``
"""

import statistics
import time

import torch

from trainables.config import DataConfig
from trainables.data.augmentation import make_augmentation

_IMAGES = 256
_ROUNDS = 15


def main() -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (_IMAGES, 32, 32, 3), generator=random, dtype=torch.uint8)
    augment = make_augmentation(DataConfig(augment="trivial"))
    assert augment is not None
    times = []
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        augment(pixels, random)
        times.append((time.perf_counter() - began) / _IMAGES)
    # The first one imports.
    rounds = sorted(times[1:])
    print(
        f"{1e3 * statistics.median(rounds):.3f} ms an image "
        f"({1e3 * rounds[0]:.3f} to {1e3 * rounds[-1]:.3f} in {_ROUNDS} rounds)"
    )


if __name__ == "__main__":
    main()
