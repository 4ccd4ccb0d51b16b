"""Settings that were found in one training, for a model of another one."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from trainables.config import TrainConfig
from trainables.models.registry import build_configured
from trainables.noise.assumed import AssumedBy, assumed_of
from trainables.noise.baseline_history import History, baseline_rows
from trainables.noise.loop_checks import Configuration, check_model, rates_of_groups, settings_of
from trainables.noise.perturbations import root_mean_square, select_parameters
from trainables.noise.travel import Scales, Travelled, travel
from trainables.noise_config import NoiseConfig
from trainables.random_streams import stream_seed


def travelled_for(
    model: nn.Module,
    config: Configuration,
    baseline_history: History,
    optimizers: Sequence[Optimizer],
    assumed: AssumedBy,
) -> Travelled:
    """What the settings are to be for ``model``, with its initial weights, beside its baseline."""
    noise, whole = settings_of(config)
    known = assumed_of(config, assumed, whole.epochs if whole else None)
    rows = baseline_rows(baseline_history, noise)
    return travel(noise, known, rows, _scales(noise, check_model(model), optimizers))


def _scales(
    noise: NoiseConfig, named: Mapping[str, Parameter], optimizers: Sequence[Optimizer]
) -> Scales:
    """What absolute magnitudes are converted by."""
    if noise.scaling != "absolute":
        return Scales()
    perturbed = select_parameters(named.items(), noise.layers)
    are_sgd = all(isinstance(optimizer, SGD) for optimizer in optimizers)
    rates = rates_of_groups(optimizers) if are_sgd else set()
    return Scales(
        root_mean_square(list(perturbed.values())) or None,
        rates.pop() if len(rates) == 1 else None,
    )


def initial_rms(run: TrainConfig, classes: int) -> float | None:
    """The RMS that a run's perturbed parameters had at its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(run.seed, "init"))
        model = build_configured(run, classes)
    perturbed = select_parameters(model.named_parameters(), run.noise.layers)
    return root_mean_square(list(perturbed.values())) or None
