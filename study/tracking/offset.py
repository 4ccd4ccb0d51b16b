"""How far MLflow has got in the ledger, known again after a crash."""

import hashlib
from pathlib import Path

_TAIL = 4096
"""Bytes before the offset by which the ledger is known again: more than a line that may be lost."""


def last_bytes(ledger: Path, offset: int) -> str:
    """A digest of the ledger's last bytes before ``offset``: other lines may lie there one day."""
    with ledger.open("rb") as file:
        file.seek(max(0, offset - _TAIL))
        return hashlib.sha256(file.read(min(offset, _TAIL))).hexdigest()[:16]
