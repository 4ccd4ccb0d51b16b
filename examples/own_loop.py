"""A training loop of one's own, stuck without noise, freed by it: what ``AdaptiveNoise`` asks for.

The lines that mention noise are all that was added.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from trainables.adaptive_noise import AdaptiveNoise

EPOCHS = 60
# A study's best_config.json does as well; a policy "off" is the baseline.
NOISE = {
    "policy": "on_stagnation",
    "signals": ["grad_norm_plateau", "low_weight_update", "stuck"],
    "scaling": "step",
    "magnitude_min": 0.15,
    "magnitude_extra": 0.0,
    "schedule": "exponential",
    "grad_plateau_threshold": 1.0,
    "warmup_epochs": 3,
    "window": 3,
    "patience": 1,
    "trigger_epochs": 1,
    "cooldown_min": 1,
    "cooldown_extra": 0,
}


def deep_network() -> nn.Sequential:
    """Twenty layers from small weights: their signal dies, and plain training never starts."""
    widths = [64, *[50] * 19]
    layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]  # noqa: B905, RUF007
    network = nn.Sequential(*layers, nn.Linear(50, 10))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1) if parameter.dim() > 1 else nn.init.zeros_(parameter)
    return network


def train(settings: dict[str, object]) -> float:
    """Train; returns the last epoch's validation accuracy."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images / 8 - 1).float()
    digits = TensorDataset(pixels, torch.tensor(labels))
    training, validation = random_split(digits, [1500, 297])
    network = deep_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    noise = AdaptiveNoise(network, settings, epochs=EPOCHS, seed=0, optimizer=optimizer)
    for _ in range(EPOCHS):
        why = noise.explain()
        with noise.epoch() as e:
            for x, y in DataLoader(training, batch_size=128, shuffle=True, drop_last=True):
                optimizer.zero_grad()
                with e.forward(x, y) as (noisy_x, noisy_y):
                    loss = F.cross_entropy(network(noisy_x), noisy_y)
                    loss.backward()
                e.before_step(loss)  # measures the gradients, and adds their noise
                optimizer.step()
            with torch.no_grad():
                x, y = validation[:]
                logits = network(x)
            accuracy = float((logits.argmax(1) == y).float().mean())
            row = e.validated(F.cross_entropy(logits, y), accuracy)  # what the noise learns from
        if row.epoch % 10 == 3:
            print(f"accuracy {accuracy:.3f}; {why}")
    return accuracy


if __name__ == "__main__":
    without = train({"policy": "off"})
    print(f"without noise {without:.3f}, with adaptive noise {train(NOISE):.3f}")
