"""Checkpoints: everything a run needs to go on exactly, whole or not at all.

A checkpoint file is a header (magic, SHA-256 of the rest) and what ``torch.save`` writes of plain
containers and tensors. It is written to a temporary file, synchronised and renamed, so that a full
disk or a kill leaves the previous file whole; a file cut short or damaged is noticed by its
checksum; and it is read with ``weights_only=True``, so that nothing in it is ever executed.

Torch, whose import takes seconds, is imported once something is encoded or decoded.
"""

import hashlib
import io
from typing import Any

from trainables.errors import CheckpointError
from trainables.files import write_atomically
from trainables.object_store import Location

_MAGIC = b"noise-checkpoint-1\n"
_DIGEST_BYTES = 32
_OF_A_RUN = ("config", "history", "model", "optimizer", "best_epoch", "best_weights")
"""What the checkpoint of a run has in every version (``Training.state_dict``)."""
_OF_A_TASK = ("config", "history", "task", "best_epoch", "best_weights")
"""The same of a task of one's own."""


def encode(state: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint file for ``state`` (tensors and plain containers only)."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def payload_of(content: bytes, *, where: str = "checkpoint") -> bytes:
    """What ``torch.save`` wrote, its checksum checked; a ``CheckpointError`` if damaged."""
    header = len(_MAGIC) + _DIGEST_BYTES
    if not content.startswith(_MAGIC) or len(content) < header:
        raise CheckpointError(f"{where}: not a checkpoint of this project, or cut short")
    payload = content[header:]
    if hashlib.sha256(payload).digest() != content[len(_MAGIC) : header]:
        raise CheckpointError(f"{where}: damaged (its checksum does not fit)")
    return payload


def decode(content: bytes, *, where: str = "checkpoint") -> dict[str, Any]:
    """The inverse of ``encode``, on the CPU; a ``CheckpointError`` if damaged or something else."""
    import torch

    payload = payload_of(content, where=where)
    try:
        state = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    except Exception as error:  # Unpickling what is foreign may raise anything.
        raise CheckpointError(f"{where}: can't be read ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{where}: holds a {type(state).__name__}, no state of a run")
    return state


def decode_run(content: bytes, *, where: str = "checkpoint") -> dict[str, Any]:
    """The same for the checkpoint of a run; a ``CheckpointError`` if it lacks a part of one."""
    state = decode(content, where=where)
    of_it = _OF_A_TASK if "task" in state else _OF_A_RUN
    lacking = [name for name in of_it if name not in state]
    if lacking:
        raise CheckpointError(f"{where}: not the checkpoint of a run, lacks {', '.join(lacking)}")
    return state


def save_state(path: Location, state: dict[str, Any]) -> int:
    """Write a checkpoint atomically; returns its size in bytes."""
    content = encode(state)
    write_atomically(path, content)
    return len(content)


def load_state(path: Location) -> dict[str, Any]:
    """Read a checkpoint; a ``CheckpointError`` if it is missing, damaged or something else."""
    return decode(_read(path), where=str(path))


def load_run(path: Location) -> dict[str, Any]:
    """Read the checkpoint of a run; a ``CheckpointError`` also if it lacks a part of one."""
    return decode_run(_read(path), where=str(path))


def _read(path: Location) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from None
