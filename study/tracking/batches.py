"""Parameters, metrics and tags in pieces that MLflow accepts in one call."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PARAMETERS_A_CALL = 100
_METRICS_A_CALL = 900
MAX_PARAMETER = 6000
_MAX_TAG = 5000


def dataset_input(source: Mapping[str, Any]) -> tuple[str, str]:
    text = json.dumps(source, sort_keys=True)
    return text, hashlib.sha256(text.encode()).hexdigest()[:8]


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value, _MAX_TAG) for key, value in tags.items()}


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def calls(
    metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
) -> Iterator[list[Sequence[Any]]]:
    """Cut into calls that keep MLflow's limits: metrics, parameters and tags of each."""
    rest = _METRICS_A_CALL - 2 * _PARAMETERS_A_CALL
    lists = ((metrics, rest), (params, _PARAMETERS_A_CALL), (tags, _PARAMETERS_A_CALL))
    count = max(-(-len(items) // size) for items, size in lists)
    for i in range(count):
        yield [items[i * size : (i + 1) * size] for items, size in lists]
