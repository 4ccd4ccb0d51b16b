"""Batches that processes of their own read ahead, in their order."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapStyle

from trainables.data.dataset import Labels, Pixels
from trainables.errors import InputError

Read = Callable[[Labels, int], Pixels]
Asked = tuple[Labels, int]


class _Batches(MapStyle[torch.Tensor | InputError]):
    """Batch n of a pass as item n."""

    def __init__(self, read: Read, asked: Sequence[Asked]) -> None:
        self._read = read
        self._asked = asked

    def __len__(self) -> int:
        return len(self._asked)

    def __getitem__(self, number: int) -> torch.Tensor | InputError:
        try:
            return torch.from_numpy(self._read(*self._asked[number]))
        except InputError as error:
            # Raised here, it would come with the worker's traceback in its message.
            return error


def read_ahead(read: Read, asked: Sequence[Asked], workers: int) -> Iterator[Pixels]:
    """What ``read`` gives for each, by as many processes; its errors are raised here."""
    loader = DataLoader(
        _Batches(read, asked),
        batch_size=None,
        num_workers=min(workers, len(asked)),
        collate_fn=_as_it_is,
        # Else it would draw from torch's global generator.
        generator=torch.Generator().manual_seed(0),
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch.numpy()


def _as_it_is(batch: object) -> object:
    return batch
