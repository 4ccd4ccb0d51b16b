"""The global generators from which the code of others draws."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def generators_kept() -> Iterator[None]:
    """What is drawn from the global generators meanwhile leaves them as they were."""
    torch = sys.modules.get("torch")  # What draws from it has imported it.
    state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = None if torch is None else torch.get_rng_state()
    # torch.manual_seed in the code of others seeds GPUs, too.
    cuda = torch is not None and torch.cuda.is_initialized()
    cuda_states = torch.cuda.get_rng_state_all() if torch is not None and cuda else []
    try:
        yield
    finally:
        if torch is not None and cuda:
            torch.cuda.set_rng_state_all(cuda_states)
        random.setstate(state)
        np.random.set_state(numpy_state)
        if torch is not None and torch_state is not None:
            torch.set_rng_state(torch_state)


def seed_generators(seed: int) -> None:
    """Seed those of ``random``, ``numpy.random`` and torch (of the CPU)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.manual_seed(seed)
