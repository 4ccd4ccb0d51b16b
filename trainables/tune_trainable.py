"""The only file of training that knows Ray: a class Trainable round a trial's training.

``setup`` and ``reset_config`` only store the configuration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from trainables.trial_spec import TrialSpec


@dataclass(frozen=True)
class SpecInStore:
    """A specification in Ray's object store, to be named in configurations."""

    reference: ray.ObjectRef

    @classmethod
    def put(cls, spec: TrialSpec) -> "SpecInStore":
        return cls(ray.put(spec))

    def __deepcopy__(self, memo: dict[int, Any]) -> "SpecInStore":
        # Tune copies configurations.
        return self


class NoiseTrainable(tune.Trainable):
    """One trial: one epoch a step, forked from its baseline where that is possible.

    Its configuration is ``{"key", "role", "overrides_json", "spec"}``, the last a ``SpecInStore``,
    with ``baseline_json`` where its baseline is not in the ``TrialSpec``.
    """

    def setup(self, config: dict[str, Any]) -> None:
        # Torch, whose import takes seconds: workers need it, the driver of a study does not.
        from trainables.trial_training import TrialTraining

        self._fetched: SpecInStore | None = None
        self._trial = TrialTraining(ray.get, _node_name)
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial into this actor."""
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        if config["spec"] != self._fetched:
            self._spec: TrialSpec = ray.get(config["spec"].reference)
            self._fetched = config["spec"]
        self._trial.take(self._spec, config)

    def step(self) -> dict[str, Any]:
        """Train one epoch; the first call also loads what there is to start from."""
        return self._trial.step()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | None:
        self._trial.save(Path(checkpoint_dir) / "trial.ckpt")
        return None

    def load_checkpoint(self, checkpoint: Any) -> None:
        path = Path(checkpoint) / "trial.ckpt"
        if path.exists():
            self._trial.load(path)


def _node_name() -> str:
    context = ray.get_runtime_context()
    return f"{ray.util.get_node_ip_address()} {context.get_node_id()[:8]}"
