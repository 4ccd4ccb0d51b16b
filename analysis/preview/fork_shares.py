"""How a search space forks on a study's baseline, as it is and calibrated."""

from dataclasses import dataclass

from rich.table import Table

from analysis.reading import BaselineHistory, StudyView
from search_spaces.calibration import CalibratedSpace, as_written, calibrate
from search_spaces.own_space import is_own_space
from search_spaces.registry import SpaceSpec
from search_spaces.shares import ForkShares, shares
from study.formats import DASH
from study.search.own_space import named_space, space_of
from study.search.space import read_space
from trainables.epochs import epoch_number
from trainables.errors import InputError


@dataclass(frozen=True)
class SpaceForks:
    """A space's sampled configurations on one baseline, before and after calibration.

    ``source``: whose baseline it is; ``notes``: what calibration set and left out.
    """

    space: str
    source: str
    before: ForkShares
    after: ForkShares
    notes: tuple[str, ...]


def space_forks(
    view: StudyView, baseline: BaselineHistory, space: str | None = None, *, n: int = 1000
) -> SpaceForks:
    """Sample ``n`` configurations of a space before and after calibration. No training.

    ``space``: None is the study's own, with the calibration it searched with.
    """
    name = space or view.config.space
    spec = space_of(view.config) if space is None else named_space(space, view.config.train)
    if spec.policy != "on_stagnation":
        raise InputError(
            f"space = {name!r}: its noise begins in the first epoch, whatever the baseline"
        )
    if len(baseline.rows) < baseline.epochs - 1:
        raise InputError(
            f"{baseline.source}: {len(baseline.rows)} of {baseline.epochs} epochs are recorded; "
            "the shares need the whole baseline"
        )
    base = view.config.train
    after = _calibrated(view, baseline, spec)
    return SpaceForks(
        space=name,
        source=baseline.source,
        before=shares(spec, base, baseline.rows, n=n),
        after=shares(spec, base, baseline.rows, n=n, distributions=after.distributions),
        notes=after.notes,
    )


def _calibrated(view: StudyView, baseline: BaselineHistory, spec: SpaceSpec) -> CalibratedSpace:
    """The space as the study fixed it, or calibrated now where it did not."""
    own = baseline.config.seed == view.config.seeds[0] and view.config.calibrate
    if own and view.config.space == spec.name and view.folder.space.exists():
        return read_space(view.folder)
    if is_own_space(spec.name):
        return as_written(spec, spec.distributions(view.config.train))
    return calibrate(spec, view.config.train, baseline.rows)


def shares_table(found: SpaceForks) -> Table:
    table = Table(title=f"{found.before.n} configurations of space {found.space} on {found.source}")
    table.add_column("")
    table.add_column("as written", justify="right")
    table.add_column("calibrated", justify="right")
    both = (found.before, found.after)
    table.add_row("never inject", *(f"{s.never:.1%}" for s in both))
    table.add_row("inject at the first epoch possible", *(f"{s.at_first:.1%}" for s in both))
    for index, label in enumerate(("first", "10 %", "25 %", "half", "75 %", "90 %", "last")):
        table.add_row(f"noise begins in epoch: {label}", *(_fork(s, index) for s in both))
    table.add_row(
        "epochs in which it can begin",
        *(f"{epoch_number(s.first_possible)}–{s.epochs}" for s in both),
    )
    table.add_row("epochs trained ÷ reported", *(f"{s.trained:.1%}" for s in both))
    return table


def _fork(found: ForkShares, index: int) -> str:
    return f"{epoch_number(found.forks[index]):g}" if found.forks else DASH
