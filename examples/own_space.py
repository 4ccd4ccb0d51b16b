"""A space of one's own, with conditions, and a metric of one's own: what a mistake costs.

    noise-study run --space own_space:around_what_i_know --metric own_space:cost \
        --objective tail_val_cost --decide-by final_test_cost --range noise/window=3

Run as a script it shows both without a study, and trains at a point of the space.
"""

from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from torch import Tensor

from trainables.config import TrainConfig
from trainables.metric_config import metric


def around_what_i_know(base: TrainConfig) -> dict[str, Any]:
    """Two signals, each with its own threshold; the timing follows the epoch budget."""
    return {
        "description": "stuck or on a plateau, in the first half of training",
        "dimensions": {
            "noise/signals": ["stuck", "val_loss_plateau"],
            "noise/patience": IntDistribution(0, 3),
            "noise/plateau_delta": FloatDistribution(1e-4, 1e-1, log=True),
            "noise/warmup_epochs": IntDistribution(0, base.epochs // 2),
            "noise/magnitude_min": "1e-3..1:log",
            "noise/trigger_epochs": 1,
            "noise/window": 2,
        },
        "conditions": {
            "noise/patience": {"noise/signals": "stuck"},
            "noise/plateau_delta": {"noise/signals": "val_loss_plateau"},
        },
        "opening": [{"noise/signals": "stuck", "noise/patience": 1, "noise/magnitude_min": 0.1}],
    }


@metric("min", "euros", worst=10.0, margin=0.05)
def cost(logits: Tensor, labels: Tensor) -> float:
    """What an image costs on average: 1 if it is taken for another class, 10 for class 0."""
    wrong = logits.argmax(1) != labels
    return float((wrong * (1.0 + 9.0 * (labels == 0))).mean())


if __name__ == "__main__":
    import torch

    from search_spaces.own_space import checked_document, own_spec
    from search_spaces.ranged import check_points, with_ranges
    from study.api import SingleRunOptions, train_run
    from trainables.config import apply_overrides

    base = TrainConfig(epochs=20)
    document = checked_document(around_what_i_know(base), "own_space")
    space = with_ranges(own_spec("own_space", document), {"noise/window": 3})
    for name, distribution in space.distributions(base).items():
        print(name, distribution)
    print(check_points(space, base).without, "of 256 points can't begin")
    labels = torch.arange(100) % 10
    print("cost of always class 1:", cost(torch.eye(10)[torch.ones(100, dtype=torch.long)], labels))
    point = {**document["opening"][0], "noise/trigger_epochs": 1, "noise/window": 2}
    small = {"data/image_size": 16, "model/classifier": "TinyCNN"}
    small |= {"noise/warmup_epochs": 1, "epochs": 4}
    measured = {"measured": ["own_space:cost"], "noise/policy": "on_stagnation"}
    config = apply_overrides(base, {**small, **measured, **space.overrides(point)})
    result = train_run(config, SingleRunOptions(save_as="point"))
    print(f"cost of a training: {result.metrics['test_cost']:.2f} euros")
