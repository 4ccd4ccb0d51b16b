"""What a study may be called, and how the address of a cluster is written."""

import re

from trainables.errors import InputError

_ADDRESS = re.compile(r"(ray://)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}")

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

TAKEN_NAMES = frozenset({"mlflow.db", "mlartifacts", "register.jsonl"})
"""What a storage folder holds beside its studies."""


def is_address(text: str) -> bool:
    """Whether a text is an address of a Ray cluster that a driver can use."""
    return text == "auto" or _ADDRESS.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Refuse what no study can be called: so no name leads out of the storage folder."""
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise InputError(
            f"name = {name!a}: no name of a study, which has letters, digits, '.', '_' and '-', at "
            "most 100 of them, a letter or digit first"
        )
