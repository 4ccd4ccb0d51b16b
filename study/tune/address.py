"""Which cluster a command means: by its option, or by its environment."""

import os

from study.config import RunsConfig
from study.names import is_address
from trainables.errors import InputError
from trainables.uris import redact_uri


def address_of(config: RunsConfig) -> str | None:
    """The cluster to use: the one given, or RAY_ADDRESS, which ``ray job submit`` sets.

    It is what ``auto`` means, too, where it is set. None: this machine.
    """
    if config.address not in {None, "auto"}:
        return config.address
    address = os.environ.get("RAY_ADDRESS", "")
    if address in {"", "local"}:
        return config.address
    if not is_address(address):
        raise InputError(
            f"RAY_ADDRESS = {redact_uri(address)!r}: allowed: auto, HOST:PORT, ray://HOST:PORT; "
            "set it so, unset it, or give --address"
        )
    return address
