"""The images that a campaign trains on, read with a bar where there is a console."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress as ProgressBars
from rich.progress import TaskID

from study.campaigns.session import Session
from study.records.events import NoteEvent
from study.records.summary import VALIDATION_IMAGES
from trainables.config import DataConfig, TrainConfig
from trainables.data.dataset import Dataset
from trainables.data.image_listing import MOST_NAMED, some
from trainables.data.image_sets import load_dataset, resolve_data

if TYPE_CHECKING:
    from trainables.data.inspection import Inspection


def study_images(
    train: TrainConfig, console: Console | None
) -> tuple[TrainConfig, list[tuple[TrainConfig, Dataset]]]:
    """A study's base run with what its images fill in; and they, none of a task of one's own.

    They stand beside the run as it was given: a confirmation's runs are like that.
    """
    if train.task.name is not None:
        return train, []
    [dataset] = read_images([("reading images", train.data)], console)
    try_metrics(train, dataset)
    resolved = train.model_copy(update={"data": resolve_data(train.data, dataset)})
    return resolved, [(train, dataset)]


def try_metrics(train: TrainConfig, dataset: Dataset) -> None:
    """Refuse further metrics that fail on as many classes, before anything is trained."""
    if train.measured:
        from trainables.classifier_metrics import check_measures

        check_measures(train.measured, len(dataset.classes))


def weights_notes(runs: Iterable[tuple[TrainConfig, Dataset]]) -> list[str]:
    """What of a file of weights runs start from, a sentence a classifier; none without a file.

    Args:
        runs: as ``check_train`` returned them in this process, each with its images.
    """
    return [_weights_note(*each) for each in runs if each[0].model.weights is not None]


def _weights_note(train: TrainConfig, dataset: Dataset) -> str:
    from trainables.models.pretrained import what_fits

    found = what_fits(train.model, train.data.shape, len(dataset.classes))
    skipped = [f"{name} ({why})" for name, why in found.skipped.items()]
    return (
        f"runs of {train.model.classifier} start from {len(found.loaded)} tensors of "
        f"{found.source}; not loaded: {some(skipped, MOST_NAMED) or 'none'}"
    )


def left_out_note(dataset: Dataset) -> str:
    """A sentence on the image files that were left out; empty if none were."""
    names = dataset.left_out
    if not names:
        return ""
    return (
        f"{len(names)} image files can't be read and were left out (--skip-broken): "
        f"{some(names, MOST_NAMED)}."
    )


def read_images(wanted: Sequence[tuple[str, DataConfig]], console: Console | None) -> list[Dataset]:
    """Read data sets, each with a bar of its title where there is a console."""
    if console is None:
        return [load_dataset(data) for _, data in wanted]
    with ProgressBars(console=console, transient=True) as bars:
        return [load_dataset(data, _bar(bars, title)) for title, data in wanted]


def inspected(config: DataConfig, console: Console) -> "Inspection":
    """Look at a data set, with a bar while photos are decoded."""
    from trainables.data.inspection import inspect_data

    with ProgressBars(console=console, transient=True) as bars:
        return inspect_data(config, _bar(bars, "reading images"))


def _bar(bars: ProgressBars, title: str) -> Callable[[int, int], None]:
    tasks: list[TaskID] = []

    def progress(done: int, total: int) -> None:
        if not tasks:
            tasks.append(bars.add_task(title, total=total))
        bars.update(tasks[0], completed=done)

    return progress


def record_images(session: Session, images: Sequence[tuple[TrainConfig, Dataset]]) -> None:
    """Record once what one validation image is worth in an accuracy, where all sets agree."""
    study = session.state().study
    counts = {len(dataset.val_labels) for _, dataset in images}
    if len(counts) == 1 and not (study is not None and VALIDATION_IMAGES in study.tags):
        session.append(NoteEvent(None, {VALIDATION_IMAGES: str(counts.pop())}))
