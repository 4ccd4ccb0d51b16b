"""The winner's weights in MLflow's model registry, and whether it has earned the place.

The registered model takes raw pixels, uint8 (B, size, size, channels), and gives logits,
float32 (B, classes): normalisation is part of it.
"""

import shlex
import statistics as stats
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from analysis.export.tracking import find_runs, tracking_uri
from analysis.reading import StudyView, weights_that_decide
from analysis.report.figures import better_by
from study.campaigns.confirmation import Confirmation, confirmation_of
from study.records.folder import storage_of
from study.records.planned_run import baseline_key
from study.statistics.answers import Answer
from trainables.checkpoint import load_run
from trainables.config import TrainConfig
from trainables.data.dataset import Dataset, PerChannel
from trainables.data.image_decoding import Decoding
from trainables.data.image_sets import load_dataset, resolve_data
from trainables.data.registry import is_photos
from trainables.epochs import epoch_number
from trainables.errors import CheckpointError, InputError
from trainables.loop import weights_of
from trainables.metrics import EpochMetrics, WhichWeights, is_better
from trainables.models.registry import build_configured
from trainables.object_store import Location
from trainables.paths import given_path
from trainables.uris import redact_uri

if TYPE_CHECKING:  # Importing the store's module is cheap, but only registering needs it.
    from study.tracking.registry import ModelToLog, RegisteredModel

_EXAMPLES = 8
"""Images of the input example: more than one, or the exported graph has a fixed batch size."""


@dataclass(frozen=True)
class Winner:
    """Which trial is a study's winner, and whether it has earned the name.

    Attributes:
        confirmed: the verdict of its confirmation; None where it has none.
        reason: in words, for people.
        metrics: the figures of the reason.
    """

    key: str
    confirmed: str | None
    reason: str
    metrics: Mapping[str, float]

    @property
    def beats(self) -> bool:
        """Whether it is confirmed to be better; what a search promises may be luck."""
        return self.confirmed == Answer.BETTER


def find_winner(view: StudyView) -> Winner:
    """The winner: by the confirmation's verdicts where there are any, else the search's best."""
    confirmation = confirmation_of(view.folder, view.config, view.state)
    confirmed = None if confirmation is None else _confirmed(confirmation)
    return confirmed or _searched(view)


def _confirmed(found: Confirmation) -> Winner | None:
    judged = [(trial, said) for trial, said in found.verdicts().items() if said.n]
    if not judged:
        return None
    samples = found.samples(found.decide_by)
    gains = {trial: stats.fmean(samples[trial].complete) for trial, _ in judged}
    sign = 1 if found.deciding.mode == "max" else -1
    key, best = min(judged, key=lambda item: (item[1].place, -sign * gains[item[0]]))
    tests = [found.value("confirm", key, s, found.decide_by) for s in found.config.fresh_seeds]
    values = [value for value in tests if value is not None]
    metrics = {
        f"confirmed_{found.decide_by}": stats.fmean(values),
        f"confirmed_{found.decide_by}_difference": gains[key],
        "confirmed_seeds": float(best.n),
    }
    words = found.deciding.words
    reason = f"confirmed on fresh seeds, {words} beside the baseline: {best.sentence}"
    return Winner(key, best.word, reason, metrics)


def _searched(view: StudyView) -> Winner:
    best = view.best
    if best is None:
        raise InputError(
            f"study {view.name!r}: no trial is complete yet, so there is none to register"
        )
    name, gain = view.config.objective[0], better_by(view, best)
    metrics = {} if gain is None else {f"{name}_gain": gain}
    if gain is None:
        reason = (
            "it is not confirmed on fresh seeds, nor has its seed a baseline to compare it with"
        )
    else:
        seeds = "of its seed" if best.place is None else f"on {best.n} seeds of the race"
        reason = (
            f"{gain:+.4f} better in {name} than the baseline {seeds}, which may be luck: it is not "
            "confirmed on fresh seeds"
        )
    return Winner(best.trial_id, None, reason, metrics)


def check_winner(view: StudyView, name: str, *, force: bool) -> Winner:
    if not name.strip() or set(name) & set("/:"):
        raise InputError(f"--register = {name!r}: give a name without / and :")
    task = view.config.train.task.name
    if task is not None:
        raise InputError(
            f"--register = {name!r}: the registry needs a model that it can build, and a task of "
            f"your own ({task}) does not say how; leave it out, export without it, and register "
            "your model from your own code"
        )
    winner = find_winner(view)
    if not winner.beats and not force:
        again = shlex.join(["noise-study", "confirm", view.name, *storage_of(view.config).words])
        remedy = "" if winner.confirmed else f"confirm it with: {again}; "
        raise InputError(
            f"--register = {name!r}: {winner.key} is not confirmed to be better than the baseline "
            f"({winner.reason}); {remedy}--force registers it all the same, and its tags say so"
        )
    return winner


class PixelClassifier(nn.Module):
    """A network with its normalisation in front: pixels in, logits out.

    The same two roundings as in training (``DeviceData``).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, mean: PerChannel, std: PerChannel) -> None:
        super().__init__()
        self.network = network
        scale = torch.tensor([1 / (255 * s) for s in std])
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)])
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 (B, size, size, channels) → float32 (B, classes)."""
        normalised = pixels.float() * self.scale + self.shift
        logits: Tensor = self.network(normalised.permute(0, 3, 1, 2))
        return logits


@dataclass(frozen=True)
class TrainedWeights:
    """A trial's weights that decide, on the CPU; ``epoch``: after which they were taken."""

    source: Location
    weights: Mapping[str, Tensor]
    epoch: int | None
    which: WhichWeights


def winner_weights(view: StudyView, key: str, file: str = "") -> TrainedWeights:
    """The weights of a trial that the study decides by, the best or the final ones.

    From a file, or from the final checkpoint that the study kept.
    """
    if file:
        return _from_file(view, given_path(file, "--weights"), key)
    which = weights_that_decide(view.config)
    path: Location = view.folder.checkpoints / key / "final.ckpt"
    record = view.state.trials[key]
    if not path.exists() and record.first_injection_epoch is None:
        # It never injected: it is its baseline, bit for bit.
        path = (
            view.folder.checkpoints
            / baseline_key(record.seed, view.config.code_changes)
            / "final.ckpt"
        )
    try:
        state = load_run(path)
    except CheckpointError as error:
        raise InputError(_how_to_train(view, key, str(error))) from None
    found = weights_of(state, which)
    if found is None:
        raise InputError(f"{path}: no epoch with finite statistics was complete")
    return TrainedWeights(path, *found, which)


def _how_to_train(view: StudyView, key: str, why: str) -> str:
    file = {"best": "the .pth file", "final": "the final_weights.pth"}
    return (
        f"{key}: its weights are not there ({why}). Train it again, bit for bit: noise-analysis "
        f"export {view.name} --storage {view.config.storage}, then noise-train --config with the "
        "file of this trial, then --register with --weights and "
        f"{file[weights_that_decide(view.config)]} that it wrote"
    )


def _from_file(view: StudyView, path: Path, key: str) -> TrainedWeights:
    from study.run.weights_file import read_weights

    found, config = read_weights(path), view.train_config(key)
    if found.config is None or not _same_run(TrainConfig.model_validate(found.config), config):
        raise InputError(f"--weights = {path}: not the weights of a run with {key}'s settings")
    which = weights_that_decide(view.config)
    best = _best(view.state.trials[key].history)
    epoch = best.epoch if which == "best" and best is not None else config.epochs - 1
    if found.epoch != epoch:
        its = "an unknown epoch" if found.epoch is None else f"epoch {epoch_number(found.epoch)}"
        raise InputError(
            f"--weights = {path}: the weights after {its}; the study "
            f"decides by {view.config.decide_by}, the {which} weights, which are those after epoch "
            f"{epoch_number(epoch)}"
        )
    return TrainedWeights(path, found.model, found.epoch, which)


def _same_run(one: TrainConfig, other: TrainConfig) -> bool:
    """Whether two runs are the same; one recorded by an earlier version names no source."""
    codes = {c.code for c in (one, other)} - {None}
    left_out: Any = {"model": {"code"}, "codes": True}
    return len(codes) <= 1 and one.model_dump(exclude=left_out) == other.model_dump(
        exclude=left_out
    )


def build_classifier(
    config: TrainConfig, dataset: Dataset, weights: Mapping[str, Tensor]
) -> PixelClassifier:
    """The network with its weights and normalisation, on the CPU, in eval mode."""
    network = build_configured(config, len(dataset.classes))
    network.load_state_dict(dict(weights))
    return PixelClassifier(network, dataset.mean, dataset.std).eval()


def register_winner(
    view: StudyView,
    name: str,
    *,
    tracking: str | None = None,
    force: bool = False,
    weights_file: str = "",
) -> "tuple[RegisteredModel, Winner]":
    """Register the winner's weights as ``name`` in MLflow, with the alias ``champion``.

    Args:
        view: the study.
        name: the registered model's name.
        tracking: MLflow's store; None: the study's own.
        force: also if it is not confirmed to be better; its tags say so.
        weights_file: a .pth file of the winner's; empty: the checkpoint that the study kept.

    Raises:
        InputError: also if the model that MLflow gives back predicts something else.
        StoreUnavailableError: if MLflow doesn't answer.
    """
    from study.tracking.registry import register_model

    winner = check_winner(view, name, force=force)
    config = view.train_config(winner.key)
    trained = winner_weights(view, winner.key, weights_file)
    dataset = load_dataset(config.data)
    model = model_to_log(view, winner, config, dataset, trained)
    found = find_runs(view, tracking)
    if found is None or winner.key not in found.runs:
        raise InputError(
            f"study {view.name!r} is not in MLflow at {redact_uri(tracking_uri(view, tracking))}; "
            f"send it there with: noise-study sync {view.name} --storage {view.config.storage}"
        )
    run_id = found.runs[winner.key]
    version = register_model(found.store.connection, name, found.experiment, run_id, model)
    return version, winner


def model_to_log(
    view: StudyView, winner: Winner, config: TrainConfig, dataset: Dataset, trained: TrainedWeights
) -> "ModelToLog":
    from study.tracking.registry import ModelToLog

    module = build_classifier(config, dataset, trained.weights)
    example = dataset.val_images[:_EXAMPLES]
    with torch.inference_mode():
        outputs = module(torch.from_numpy(example.copy())).numpy()
    data = resolve_data(config.data, dataset)
    size, channels = dataset.shape
    tags = {
        "study": view.name,
        "trial_id": winner.key,
        "confirmed": "not confirmed" if winner.confirmed is None else str(winner.confirmed),
        "forced": str(not winner.beats).lower(),
        "decide_by": view.config.decide_by,
        "reason": winner.reason,
        "classes": ", ".join(dataset.classes),
    }
    params = {"classifier": config.model.classifier, "dataset": config.data.dataset}
    params |= {"image_size": str(size), "channels": str(channels)}
    params |= {"seed": str(config.seed), "epochs": str(config.epochs)}
    params |= {"weights": trained.which, f"{trained.which}_epoch": str(trained.epoch)}
    description = (
        f"The winner of study **{view.name}**, {winner.key}: {config.model.classifier} on "
        f"{config.data.what}. {winner.reason}.\n\nInput: pixels, uint8 (images, {size}, {size}, "
        f"{channels}), {'RGB' if channels == 3 else 'grey'}. Output: logits "
        f"of {len(dataset.classes)} classes: {tags['classes']}."
    )
    decoding = Decoding.of(config.data) if is_photos(config.data.dataset) else None
    if config.optimizer.average_words:
        description += f" {config.optimizer.average_words}"
    if decoding is not None:
        description += f" {decoding.recipe}, as the model's metadata say under `preprocessing`."
    return ModelToLog(
        module,
        example,
        outputs,
        params=params,
        tags=tags,
        metrics={**_figures(view, winner.key, trained.which), **winner.metrics},
        dataset=(config.data.dataset, data.model_dump(mode="json")),
        description=description,
        preprocessing={} if decoding is None else asdict(decoding),
    )


def _best(history: Sequence[EpochMetrics]) -> EpochMetrics | None:
    best: EpochMetrics | None = None
    for row in history:
        if row.finite and is_better(row, best):
            best = row
    return best


def _figures(view: StudyView, key: str, which: WhichWeights) -> dict[str, float]:
    """The statistics of the epoch after which the weights were taken."""
    history = view.state.trials[key].history
    row = _best(history) if which == "best" else history[-1]
    if row is None:
        return {}
    names = ("val_accuracy", "val_loss", "train_accuracy", "train_loss")
    return {name: getattr(row, name) for name in names}
