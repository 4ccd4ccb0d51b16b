"""Every random draw of a run: one seed for each (run seed, stream, epoch).

Because a stream's draws in an epoch depend on nothing else, epoch e's batches are the same whatever
noise was drawn, and whether or not the run was interrupted before it.
"""

import hashlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Stream = Literal["init", "data", "noise", "model", "augment", "item"]


def stream_seed(seed: int, stream: Stream, epoch: int = 0) -> int:
    """The seed of one stream in one epoch, in [0, 2^63).

    A hash and no sum such as ``seed + epoch``: neighbouring seeds, streams and epochs share no
    draws. torch's CPU generator reads the low 32 bits only, which a hash fills as well as the rest.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(
    seed: int, stream: Stream, epoch: int = 0, device: "torch.device | str" = "cpu"
) -> "torch.Generator":
    """A new generator on ``device``, at the start of one stream's draws in one epoch."""
    import torch

    return torch.Generator(device=device).manual_seed(stream_seed(seed, stream, epoch))
