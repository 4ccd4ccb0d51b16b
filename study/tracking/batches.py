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
    """A data set's settings as text, and their digest."""
    text = json.dumps(source, sort_keys=True)
    return text, hashlib.sha256(text.encode()).hexdigest()[:8]


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(value, _MAX_TAG) for key, value in tags.items()}


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def calls(
    metrics: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
) -> Iterator[tuple[Sequence[Any], Sequence[Any], Sequence[Any]]]:
    """Cut into calls that keep MLflow's limits, parameters and tags first."""
    heads = max(_pieces(params, _PARAMETERS_A_CALL), _pieces(tags, _PARAMETERS_A_CALL))
    for i in range(max(heads, _pieces(metrics, _METRICS_A_CALL - 2 * _PARAMETERS_A_CALL))):
        yield (
            _piece(metrics, i, _METRICS_A_CALL - 2 * _PARAMETERS_A_CALL),
            _piece(params, i, _PARAMETERS_A_CALL),
            _piece(tags, i, _PARAMETERS_A_CALL),
        )


def _pieces(items: Sequence[Any], size: int) -> int:
    return -(-len(items) // size)


def _piece(items: Sequence[Any], i: int, size: int) -> Sequence[Any]:
    return items[i * size : (i + 1) * size]
