"""What an epoch measures beside its loss: classes, norms, the noise injected."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.evaluation import EvalResult
from trainables.noise.perturbations import NoiseNorms, global_norm


@dataclass(frozen=True)
class Detail:
    """What a run records besides ``EpochMetrics``; a search asks for none of it."""

    per_class: bool = False
    train_per_class: bool = False
    noise_norms: bool = False
    optimizer_norms: bool = False


@dataclass(frozen=True)
class NoiseRecord:
    """L2 norms of what was perturbed, before and after, as means over the epoch's steps."""

    before: float
    after: float
    layers: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class EpochDetails:
    validation: EvalResult
    train_per_class: list[tuple[float, float] | None] | None = None
    noise: NoiseRecord | None = None
    optimizer_norms: dict[str, float] = field(default_factory=dict)


@dataclass
class Sums:
    """Statistics of the epoch under way, on the device; read once by ``row``."""

    losses: Tensor
    norms: Tensor
    correct: Tensor

    @classmethod
    def empty(cls, steps: int, device: torch.device) -> "Sums":
        return cls(
            losses=torch.zeros(steps, device=device),
            norms=torch.zeros(steps, device=device),
            correct=torch.zeros((), dtype=torch.int64, device=device),
        )


def mean_norms(norms: list[NoiseNorms], names: tuple[str, ...]) -> NoiseRecord:
    """Means over the epoch's steps of the norms before and after the noise, in all and by layer."""
    before = torch.stack([n.before for n in norms])
    after = torch.stack([n.after for n in norms])
    total = torch.stack([before.norm(dim=1).mean(), after.norm(dim=1).mean()]).tolist()
    rows = torch.stack([before.mean(0), after.mean(0)], dim=1).tolist()
    return NoiseRecord(
        before=total[0],
        after=total[1],
        layers={name: (row[0], row[1]) for name, row in zip(names, rows, strict=True)},
    )


def optimizer_norms(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Global L2 norm of each kind of the optimiser's state: momentum, or Adam's two moments."""
    names = {"momentum_buffer": "momentum", "exp_avg": "moment1", "exp_avg_sq": "moment2"}
    found: dict[str, list[Tensor]] = {}
    for state in optimizer.state.values():
        for key, name in names.items():
            if isinstance(state.get(key), Tensor):
                found.setdefault(name, []).append(state[key])
    return {name: float(global_norm(tensors)) for name, tensors in found.items()}


class ClassTotals:
    """Training loss and accuracy of each class over one epoch, kept on the device."""

    def __init__(self, classes: int, device: torch.device) -> None:
        # Rows: images, hits, sum of losses.
        self._sums = torch.zeros(3, classes, device=device)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits (B, C) and true labels (B,)."""
        losses = F.cross_entropy(logits, labels, reduction="none")
        hits = (logits.argmax(1) == labels).float()
        values = torch.stack([torch.ones_like(losses), hits, losses])
        self._sums.index_add_(1, labels, values)

    def result(self) -> list[tuple[float, float] | None]:
        """(accuracy, loss) of each class; None for a class without an image."""
        counts, hits, losses = self._sums.tolist()
        return [
            (hit / count, loss / count) if count else None
            for count, hit, loss in zip(counts, hits, losses, strict=True)
        ]
