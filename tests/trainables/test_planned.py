"""Policy ``planned``: exactly the noise that the plan says, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.commands.reference_options import ReferenceOptions, resolve_run
from tests.support.runs import EAGER, baseline_config, run, same_weights, small_config
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.noise.controller import fork_epoch, replay
from trainables.noise.fork import baseline_digest
from trainables.noise_config import NoiseConfig
from trainables.settings import parse_config

PLAN = ((1, "gradient", 0.3), (2, "weight", 0.05), (4, "label", 0.2))


def planned(**changes: Any) -> NoiseConfig:
    return NoiseConfig.model_validate({"policy": "planned", "plan": PLAN, **changes})


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"policy": "planned"}, "planned follows a plan"),
        ({"policy": "off", "plan": PLAN}, "no other policy has one"),
        ({"policy": "on_stagnation", "plan": PLAN}, "no other policy has one"),
        ({"policy": "planned", "plan": [PLAN[1], PLAN[0]]}, "epoch 1 after epoch 2"),
        ({"policy": "planned", "plan": [PLAN[0], PLAN[0]]}, "epoch 1 after epoch 1"),
        ({"policy": "planned", "plan": [(-1, "weight", 0.1)]}, "greater than or equal to 0"),
        ({"policy": "planned", "plan": [(1, "weight", -0.1)]}, "greater than or equal to 0"),
        ({"policy": "planned", "plan": [(1, "weigth", 0.1)]}, "'weight'"),
        ({"policy": "planned", "plan": [(5, "weight", 0.1)]}, "at least 6 epochs"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(noise: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(TrainConfig, {"epochs": 5, "noise": noise})


def test_the_controller_follows_the_plan_to_the_letter() -> None:
    # Decay is in the magnitudes already: the schedule plays no part.
    noise = planned(schedule="cosine", weight_ratio=0.1, magnitude=9, warmup_epochs=4)
    history, _ = run(baseline_config(small_config()))
    decided = list(replay(history, noise, 5))
    found = [(n, i.kind, i.magnitude) for n, i in enumerate(decided) if i.injecting]
    assert tuple(found) == PLAN
    assert {i.severity for i in decided} == {0.0}
    assert [i.phase for i in decided] == ["off", "injecting", "injecting", "off", "injecting"]
    assert fork_epoch(history, noise, 5) == noise.earliest_injection() == 1


@pytest.mark.parametrize("scaling", ["relative", "step"])
def test_planning_what_a_trial_did_repeats_it_bit_for_bit(scaling: str) -> None:
    trial, end = run(small_config({**EAGER, "schedule": "linear", "scaling": scaling}))
    plan = [(r.epoch, r.noise_kind, r.noise_magnitude) for r in trial if r.injected]
    assert len(plan) >= 2
    again, same_end = run(small_config({"policy": "planned", "plan": plan, "scaling": scaling}))
    assert [r.val_loss for r in again] == [r.val_loss for r in trial]
    assert same_weights(end, same_end)
    other, _ = run(small_config({"policy": "planned", "plan": plan[1:], "scaling": scaling}))
    assert other[-1].val_loss != trial[-1].val_loss


def test_a_placebos_baseline_is_that_of_its_trial() -> None:
    trial, placebo = small_config(EAGER), small_config({"policy": "planned", "plan": PLAN})
    assert baseline_digest(trial) == baseline_digest(placebo)


def test_a_run_is_repeated_from_its_file_and_its_baseline_trained_beside_it(
    tmp_path: Path,
) -> None:
    config = small_config({"policy": "planned", "plan": PLAN, "distribution": "uniform"})
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json())
    assert json.loads(file.read_text())["noise"]["plan"][0] == [1, "gradient", 0.3]
    assert resolve_run("readme", str(file), {}, ReferenceOptions()).config == config
    beside = resolve_run("readme", str(file), {"noise/policy": "off"}, ReferenceOptions()).config
    assert baseline_config(config) == baseline_config(beside)
    assert (beside.noise.policy, beside.noise.plan) == ("off", ())
