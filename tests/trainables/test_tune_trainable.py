"""The Trainable: its three starts (own checkpoint, baseline's, nothing) give the same numbers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from study.tune.connect import leave_ray
from tests.support.runs import EAGER, run, small_config
from trainables.config import TrainConfig
from trainables.data.image_sets import load_dataset
from trainables.metrics import EpochMetrics
from trainables.noise.fork import baseline_digest
from trainables.trial_checkpoints import baseline_folder
from trainables.trial_spec import TrialSpec, data_key
from trainables.tune_trainable import NoiseTrainable, SpecInStore

pytestmark = pytest.mark.slow

LATE = EAGER | {"warmup_epochs": 3}


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    leave_ray()


def _spec(root: Path, **fields: Any) -> TrialSpec:
    base = small_config()
    dataset = load_dataset(base.data)
    return TrialSpec(
        base=base.model_dump_json(),
        policy="on_stagnation",
        checkpoint_root=str(root),
        datasets={data_key(base): ray.put(dataset)},
        **fields,
    )


def _config(key: str, noise: dict[str, Any], role: str = "trial") -> dict[str, Any]:
    overrides = {f"noise/{name}": value for name, value in noise.items()}
    return {"key": key, "role": role, "overrides_json": json.dumps(overrides)}


def _trainable(config: dict[str, Any], spec: TrialSpec) -> NoiseTrainable:
    made = object.__new__(NoiseTrainable)
    made.setup({**config, "spec": SpecInStore.put(spec)})
    return made


def _to_the_end(trainable: NoiseTrainable) -> list[dict[str, Any]]:
    results = [trainable.step()]
    while not results[-1]["done"]:
        results.append(trainable.step())
    return results


def _row(result: dict[str, Any]) -> EpochMetrics:
    names = EpochMetrics.__dataclass_fields__
    return EpochMetrics.from_dict({name: result[name] for name in names if name in result})


@pytest.fixture
def study(tmp_path: Path) -> tuple[TrialSpec, TrainConfig]:
    """A finished baseline with its checkpoints, and what its trials get."""
    baseline = _trainable(
        _config("baseline-seed0", {"policy": "off"}, "baseline"), _spec(tmp_path, fork_first=1)
    )
    rows = [_row(result).to_dict() for result in _to_the_end(baseline)]
    digest = baseline_digest(small_config())
    return _spec(tmp_path, baselines={digest: rows}), small_config(LATE)


def _checkpoints(spec: TrialSpec) -> dict[str, Path]:
    folder = baseline_folder(Path(spec.checkpoint_root), baseline_digest(small_config()))
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("scaling", ["relative", "step"])
def test_a_forked_trial_equals_the_whole_run(
    study: tuple[TrialSpec, TrainConfig], scaling: str
) -> None:
    spec, _ = study
    noise = LATE | {"scaling": scaling}
    config = small_config(noise)
    assert set(_checkpoints(spec)) == {f"epoch-{done:05d}" for done in (1, 2, 3, 4)}
    results = _to_the_end(_trainable(_config("trial-0000", noise), spec))
    whole, _ = run(config)
    assert [_row(result) for result in results] == whole[3:]
    assert results[-1]["start_epoch"] == 3
    assert results[-1]["note"] == ""
    assert results[-1]["epochs_trained"] == 2
    assert results[-1]["first_injection_epoch"] == 3
    assert results[-1]["best_val_accuracy"] == max(row.val_accuracy for row in whole)


@pytest.mark.parametrize("missing", [False, True])
def test_without_its_checkpoint_a_trial_starts_earlier_says_so_and_ends_the_same(
    study: tuple[TrialSpec, TrainConfig], missing: bool
) -> None:
    spec, config = study
    found = _checkpoints(spec)
    for name in ("epoch-00003", "epoch-00002"):
        if missing:
            found[name].unlink()
        else:
            content = bytearray(found[name].read_bytes())
            content[len(content) // 2] ^= 1
            found[name].write_bytes(bytes(content))
    results = _to_the_end(_trainable(_config("trial-0000", LATE), spec))
    whole, _ = run(config)
    assert [_row(result) for result in results] == whole[1:]
    assert results[0]["start_epoch"] == 1
    assert "trained again from epoch 2 on, though the noise begins in epoch 4" in results[0]["note"]
    assert ("damaged" in results[0]["note"]) is not missing


def test_without_any_checkpoint_a_trial_trains_from_the_start(
    study: tuple[TrialSpec, TrainConfig],
) -> None:
    spec, config = study
    for path in _checkpoints(spec).values():
        path.unlink()
    results = _to_the_end(_trainable(_config("trial-0000", LATE), spec))
    whole, _ = run(config)
    assert [_row(result) for result in results] == whole
    assert "trained again from epoch 1 on, though the noise begins in epoch 4" in results[0]["note"]


@pytest.mark.parametrize(("seed", "kept"), [(0, 4), (1, 0)])
def test_only_the_baseline_that_trials_fork_from_keeps_checkpoints(
    seed: int, kept: int, tmp_path: Path
) -> None:
    spec = _spec(tmp_path, fork_first=1, fork_seed=seed)
    _to_the_end(_trainable(_config("baseline-seed0", {"policy": "off"}, "baseline"), spec))
    assert len(list(tmp_path.glob("baseline-*/epoch-*.ckpt"))) == kept


def test_a_trial_that_never_injects_is_the_baseline_at_once(
    study: tuple[TrialSpec, TrainConfig],
) -> None:
    spec, _ = study
    never = EAGER | {"signals": ["stuck"], "patience": 2}
    (result,) = _to_the_end(_trainable(_config("trial-0000", never), spec))
    whole, _ = run(small_config(never))
    assert not any(row.injected for row in whole)
    assert _row(result) == whole[-1]
    assert (result["epochs_trained"], result["first_injection_epoch"]) == (0, -1)


def test_an_actor_is_reused_and_forgets_everything(study: tuple[TrialSpec, TrainConfig]) -> None:
    spec, config = study
    trainable = _trainable(_config("trial-0000", EAGER), spec)
    _to_the_end(trainable)
    assert (
        trainable.reset_config({**_config("trial-0001", LATE), "spec": SpecInStore.put(spec)})
        is True
    )
    whole, _ = run(config)
    assert [_row(result) for result in _to_the_end(trainable)] == whole[3:]


def test_a_trial_tried_again_goes_on_from_its_own_checkpoint(
    study: tuple[TrialSpec, TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = study
    monkeypatch.setattr("trainables.trial_checkpoints._SHARE_OF_TIME", 1e9)
    first = _trainable(_config("trial-0000", EAGER), spec)
    for _ in range(2):
        first.step()  # the checkpoint of epoch 2 + 1 is written when the second step begins
    again = _trainable(_config("trial-0000", EAGER), spec)
    whole, _ = run(small_config(EAGER))
    assert [_row(result) for result in _to_the_end(again)] == whole[3:]


def test_tunes_own_checkpoints_work_too(
    study: tuple[TrialSpec, TrainConfig], tmp_path: Path
) -> None:
    spec, config = study
    first = _trainable(_config("trial-0000", LATE), spec)
    first.step()
    (tmp_path / "tune").mkdir()
    first.save_checkpoint(str(tmp_path / "tune"))
    second = _trainable(_config("other", LATE), spec)
    second.load_checkpoint(str(tmp_path / "tune"))
    whole, _ = run(config)
    assert _row(second.step()) == whole[4]
