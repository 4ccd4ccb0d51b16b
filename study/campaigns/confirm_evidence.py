"""What a confirmation's runs say beside their values: who collapsed, was lost, or had no noise."""

from collections.abc import Callable, Sequence

from study.records.ledger_view import TrialRecord
from study.statistics.collapse import has_collapsed
from study.statistics.looks import Evidence
from study.statistics.paired import Paired
from trainables.metrics import DIVERGED

Runs = Callable[[int], Sequence[TrialRecord | None]]
"""Seed → the runs of one side there; a trial may have more than one placebo."""


def evidence_of(
    sample: Paired, own: Runs, reference: Runs, *, images: int | None, whole: bool
) -> Evidence:
    """The paired differences of two sides, with what explains those that are missing.

    ``images``: of the validation set; None: not known, then only what diverged has collapsed.
    ``whole``: no further seed will come. With several runs on a seed one that collapsed is enough.
    """
    seeds = sample.seeds
    collapsed = frozenset(s for s in seeds if any(_collapsed(run, images) for run in own(s)))
    beside = frozenset(s for s in seeds if any(_collapsed(run, images) for run in reference(s)))
    return Evidence(
        sample,
        collapsed=collapsed,
        baseline_collapsed=beside,
        without_baseline=frozenset(
            s
            for s in sample.left_out
            if s not in beside
            and not (any(map(_lost, own(s))) or all(map(_complete, reference(s))))
        ),
        untrained=frozenset(s for s in seeds if not any(run and run.finished for run in own(s))),
        without_noise=frozenset(s for s in seeds if all(map(_without_noise, own(s)))),
        whole=whole,
    )


def _complete(run: TrialRecord | None) -> bool:
    return run is not None and run.state == "complete"


def _lost(run: TrialRecord | None) -> bool:
    return run is not None and run.finished and not _complete(run)


def _collapsed(run: TrialRecord | None, images: int | None) -> bool:
    if run is None or not run.finished:
        return False
    if run.state == "failed":
        # Of a run that failed otherwise nothing is known.
        return run.reason.startswith(DIVERGED)
    classes = run.config["data"].get("classes")
    if not classes or images is None:
        return False
    return has_collapsed(run.history, classes=len(classes), images=images)


def _without_noise(run: TrialRecord | None) -> bool:
    return run is not None and _complete(run) and not any(row.injected for row in run.history)
