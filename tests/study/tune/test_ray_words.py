"""Ray's texts about failures that the study handles go to a file, its other messages pass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray._private.worker as ray_worker

from study.tune.ray_words import ray_words_in

DEAD = "A worker died or was killed while executing a task by an unexpected system error."
OTHER = "The disk is nearly full."


def test_each_message_goes_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    def show(data: Mapping[str, Any], **_: Any) -> None:
        shown.append(data["lines"])

    monkeypatch.setattr(ray_worker, "print_to_stdstream", show)
    log = tmp_path / "ray.log"
    with ray_words_in(log):
        for lines in ([DEAD, OTHER], [OTHER, DEAD], [DEAD]):
            data = {"pid": "raylet", "lines": lines, "is_err": False}
            ray_worker.print_to_stdstream(data, ignore_prefix=False)
        data = {"pid": 7, "lines": [DEAD], "is_err": False}
        ray_worker.print_to_stdstream(data, ignore_prefix=False)
    assert shown == [[OTHER], [OTHER], [DEAD]]
    assert log.read_text() == f"{DEAD}\n" * 3
