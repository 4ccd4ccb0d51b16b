"""Evaluating the weights in checkpoints; the one part of a report that needs torch."""

import time
from collections.abc import Callable
from typing import Any

import torch

from analysis.reading import StudyView
from analysis.report.wanted import Wanted
from study.campaigns.confirm_register import register_of
from study.records.register import new_entry, note_reading
from study.run.results import SHARPNESS_DRAWS, SHARPNESS_EPSILON
from trainables.checkpoint import decode_run
from trainables.config import TrainConfig
from trainables.data.dataset import KnownImages
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.errors import CheckpointError
from trainables.evaluation import evaluate, sharpness
from trainables.loop import weights_of
from trainables.models.registry import build_configured, to_memory_format

_PATIENCE = 60.0
"""Seconds that one model's sharpness may take; it is left out where it would take longer."""


class CheckpointReader:
    """Evaluates checkpoints; the data set is read when it is first needed."""

    def __init__(self, view: StudyView, say: Callable[[str], None]) -> None:
        self._view = view
        self._say = say
        self._test_set: KnownImages | None = None
        self._registered = False
        self._data: DeviceData | None = None

    def classes(self, config: TrainConfig) -> tuple[str, ...]:
        return tuple(self._dataset(config).classes)

    def _dataset(self, config: TrainConfig) -> DeviceData:
        if self._data is None:
            cuda = config.device.startswith("cuda") and torch.cuda.is_available()
            device = torch.device(config.device if cuda else "cpu")
            dataset = load_dataset(config.data)
            self._test_set = dataset.test_set
            self._data = DeviceData(dataset, device)
        return self._data

    def _register_reading(self, wanted: Wanted) -> None:
        """Register that a report reads the test set: once, however many runs it is read for."""
        if wanted.part == "val" or self._registered:
            return
        assert self._test_set is not None
        entry = new_entry(
            self._test_set,
            what="read",
            by="noise-analysis report",
            name=self._view.name,
            trials=(wanted.key,),
            seeds=tuple(wanted.checkpoints),
        )
        note_reading(register_of(self._view.folder), entry, self._say)
        self._registered = True

    def evaluate(self, content: bytes, where: str, wanted: Wanted) -> dict[str, Any]:
        """Accuracy by class and sharpness; or CheckpointError, for a damaged checkpoint."""
        weights = weights_of(decode_run(content, where=where), wanted.weights)
        if weights is None:
            raise CheckpointError("no epoch with finite statistics was complete")
        config, data = wanted.config, self._dataset(wanted.config)
        self._register_reading(wanted)
        model = build_configured(config, len(data.classes))
        model.load_state_dict(dict(weights[0]))
        model = to_memory_format(model.to(data.device), data.device)
        began = time.monotonic()
        found = evaluate(
            model, data.eval_batches(wanted.part), len(data.classes), precision=config.precision
        )
        took = (time.monotonic() - began) * (SHARPNESS_DRAWS + 1)
        drop = None
        if took <= _PATIENCE:
            drop = sharpness(
                model,
                lambda: data.eval_batches(wanted.part),
                len(data.classes),
                epsilon=SHARPNESS_EPSILON,
                draws=SHARPNESS_DRAWS,
                seed=0,
                precision=config.precision,
            ).mean_drop
        return {"per_class": list(found.per_class_accuracy), "sharpness": drop}
