"""Confirmations from Python: ``run_confirm(StudyConfig, ConfirmConfig)``, as the command does it.

The best configurations of a search are trained on fresh seeds beside the baseline, from whose
checkpoints they start, and so is the placebo of each. All are evaluated on the test set, which
nothing has read before. A confirmation has a ledger of its own, under ``STORAGE/NAME/confirm``, and
an experiment of its own in MLflow; the search's records stay what they are. Each step skips what
the ledger says is done, so the same call goes on with what was interrupted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search_spaces.registry import get_space
from study.campaigns.baseline import DescribeRun, baseline_histories
from study.campaigns.campaign import FLUSH_SECONDS, STOPPING, no_space_left, read_images
from study.campaigns.confirm_plan import (
    DECIDING,
    ROLES,
    ConfirmConfig,
    ConfirmRun,
    Role,
    config_file,
    confirm_folder,
    planned_confirmation,
    stored_confirmation,
)
from study.campaigns.confirmation import Confirmation, first_noise
from study.campaigns.live import live_view
from study.campaigns.session import Session, connected
from study.checks import check_study
from study.config import StudyConfig
from study.errors import InterruptedStudyError, StudyFailedError
from study.records.events import ArtifactEvent, NoteEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState, read_ledger
from study.statistics.comparison import Verdict
from study.tune.interrupts import interruptible
from trainables.data.dataset import Dataset
from trainables.errors import InputError
from trainables.metrics import TEST_FIGURES

if TYPE_CHECKING:  # Ray and MLflow are imported once all that can be refused is refused.
    from study.tracking.projector import LedgerProjector
    from trainables.tune_trainable import TrialSpec


def run_confirm(
    study: StudyConfig, confirm: ConfirmConfig, *, console: Console | None = None
) -> Confirmation:
    """Confirm the best configurations of a study on fresh seeds, or go on with it.

    Args:
        study: the study as it is stored (``study.campaigns.resume.resumed``).
        confirm: how many configurations and seeds.
        console: where to show progress; None: nowhere.

    Returns:
        What the ledgers say at the end; ``noise-analysis confirm`` reads the same.

    Raises:
        InputError: for bad input, before anything is started or written.
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if runs could not be trained or recorded.
    """
    study = check_study(study)
    folder = StudyFolder.fetched(storage_of(study), study.name)
    search = read_ledger(folder.ledger)
    confirm = planned_confirmation(study, search, confirm, stored_confirmation(folder))
    check_seeds(confirm)
    dataset = read_images(study, console)
    home = confirm_folder(folder)
    # In MLflow it stands beside the search, not among its trials.
    settings = study.model_copy(update={"name": f"{study.name}-confirm"})
    stopping = interruptible(f"{settings.name}: {STOPPING}")
    with no_space_left(settings, "the same command"), connected(study), home.locked(), stopping:
        # Another process may have begun, or extended, the confirmation while the images were read.
        confirm = planned_confirmation(study, search, confirm, stored_confirmation(folder))
        session = Session(home, settings, console)
        return _ConfirmRun(study, confirm, search, folder, session, dataset).to_the_end()


def check_seeds(confirm: ConfirmConfig) -> None:
    """Refuse seeds beyond the largest.

    Raises:
        InputError: if there are no such seeds.
    """
    if confirm.fresh_seeds[-1] >= 2**63:
        raise InputError(f"seed = {confirm.fresh_seeds[-1]}: the fresh seeds end below 2**63")


@dataclass
class _ConfirmRun:
    """One process's part of a confirmation, from the lock to the verdict."""

    study: StudyConfig
    confirm: ConfirmConfig
    search: LedgerState
    folder: StudyFolder
    session: Session
    dataset: Dataset

    def to_the_end(self) -> Confirmation:
        """Train what is missing, then record the verdict, however the training ended."""
        import study.tune.runner  # noqa: F401  (before MLflow is imported in its thread)

        session, home = self.session, self.session.folder
        before = stored_confirmation(self.folder)
        write_json(config_file(self.folder), self.confirm.model_dump(mode="json"))
        session.begin(objectives=(DECIDING,), asked=self._asked())
        ended: StudyState = "failed"
        with session.mirrored() as projector:
            try:
                session.put_in_order()
                self._record_origin()
                self._say_grown(before)
                with live_view(session.console, self._view, home.ledger, self._standing):
                    self._train()
                self._say_odd()
                ended = "complete"
            except KeyboardInterrupt:
                ended = "interrupted"
            finally:
                self._record_end(ended, projector)
        if ended == "interrupted":
            raise InterruptedStudyError(
                f"{session.config.name}: interrupted; what is finished is kept. The same command "
                "goes on"
            )
        return self._now()

    def _now(self) -> Confirmation:
        return Confirmation(
            self.folder, self.study, self.search, self.confirm, self.session.state()
        )

    def _asked(self) -> str:
        confirm, seeds = self.confirm, self.confirm.fresh_seeds
        how = "in a sequential design, " if confirm.design else ""
        return (
            f"Do {', '.join(confirm.trials)}, the best of {self.study.name}, beat their baseline "
            f"on the test set, on fresh seeds ({how}{seeds[0]} to {seeds[-1]})? And do they beat "
            "their placebos, which have the same noise at random epochs?"
        )

    def _record_origin(self) -> None:
        known = self.search.study
        origin = {"confirms": self.study.name, "confirms_id": known.uid if known else ""}
        self.session.append(
            NoteEvent(None, origin), ArtifactEvent(None, config_file(self.folder).name)
        )

    def _say_grown(self, before: ConfirmConfig | None) -> None:
        if before is None:
            return
        if self.confirm.seeds > before.seeds and self.session.state().trials:
            self.session.note(
                f"seeds were added ({before.seeds}, then {self.confirm.seeds}) after a look at the "
                "result: the error level is not kept; --sequential keeps it"
            )
        new = [trial for trial in self.confirm.trials if trial not in before.trials]
        if new:
            self.session.note(f"added after the first start: {', '.join(new)}")

    def _say_odd(self) -> None:
        """Say of which trials the comparisons mean something else."""
        now = self._now()
        for trial in self.confirm.trials:
            if now.promised[trial].never_injected:
                self.session.note(
                    f"{trial} never injected in the search, where it equals its baseline"
                )
            if now.has_no_placebo(trial):
                self.session.note(
                    f"{trial} has no placebo: its noise fills the epochs after its warm-up and "
                    "can't lie elsewhere"
                )

    @property
    def _view(self) -> StudyConfig:
        """The confirmation as the live view counts it."""
        runs = 2 * len(self.confirm.trials) * self.confirm.seeds
        view = {
            "name": self.session.config.name,
            "objective": ("best_val_accuracy",),
            "baseline_seeds": self.confirm.seeds,
            "configs": None,
            "trials": runs,
        }
        return self.study.model_copy(update=view)

    def _standing(self, _view: StudyConfig, state: LedgerState) -> str:
        now = Confirmation(self.folder, self.study, self.search, self.confirm, state)
        words = []
        for trial, sample in now.samples(DECIDING).items():
            known = sample.complete
            if known:
                mean = sum(known) / len(known)
                words.append(f"{trial} {mean:+.4f} (n = {len(known)})")
        if not words:
            return "no configuration has a finished run beside its baseline yet"
        return "test accuracy beside the baseline: " + ", ".join(words)

    # The training.

    def _train(self) -> None:
        from study.tune.capacity import capacity
        from study.tune.connect import ray_session
        from study.tune.runner import put_datasets

        if self._now().finished:
            self.session.say(
                f"{self.session.config.name}: complete already, nothing is left to run"
            )
            return
        with ray_session(self.study):
            room = capacity(self.study)
            self.session.say(
                f"{self.session.config.name}: {', '.join(self.confirm.trials)} and their placebos "
                f"on fresh seeds from {self.confirm.first_seed} on. {room.describe(self.study)}"
            )
            references = put_datasets([(self.study.train, self.dataset)])
            while not self._now().finished:
                # In a sequential design each round adds the seeds up to the next look.
                for role in ROLES:
                    self._run(role, references)

    def _run(self, role: Role, references: dict[str, Any]) -> None:
        from study.tune.jobs import Job, JobSearcher
        from study.tune.ledger_callback import LedgerCallback
        from study.tune.runner import run_trials

        runs = self._now().missing(role)
        if not runs:
            return
        state = self.session.state()
        tests = baseline_tests(state)
        spec = self._spec(references, state, tests)
        callback = LedgerCallback(
            self.session.folder.ledger,
            DescribeRun(self.study.train, spec.policy),
            baseline_histories(state),
            tests,
        )
        jobs = [Job(run.key, run.role, run.overrides) for run in runs]
        run_trials(self.study, spec, JobSearcher(jobs), samples=len(jobs), callbacks=[callback])
        self._check_ended(runs)

    def _check_ended(self, runs: list[ConfirmRun]) -> None:
        state = self.session.state()
        lost = [
            run.key
            for run in runs
            if (record := state.trials.get(run.key)) is None or not record.finished
        ]
        if lost:
            raise StudyFailedError(
                f"{self.session.config.name}: {len(lost)} runs have no recorded end, the first is "
                f"{lost[0]}. What is finished is kept; the same command goes on"
            )
        failed = [state.trials[run.key] for run in runs if state.trials[run.key].state == "failed"]
        if len(failed) == len(runs) and runs[0].role == "baseline":
            raise StudyFailedError(
                f"{failed[0].key}: {failed[0].reason}. Without the baseline nothing can be compared"
            )

    def _spec(
        self,
        references: dict[str, Any],
        state: LedgerState,
        tests: Mapping[str, dict[str, float]],
    ) -> "TrialSpec":
        from study.tune.capacity import several_nodes
        from study.tune.runner import gpu_memory_fraction
        from trainables.tune_trainable import TrialSpec

        study, now = self.study, self._now()
        histories = baseline_histories(state)
        budget = study.fork_disk_mb * 1e6 / self.confirm.seeds
        return TrialSpec(
            base=study.train.model_dump_json(),
            policy=get_space(study.space).policy,
            checkpoint_root=self.session.folder.checkpoint_root,
            datasets=references,
            baselines={
                digest: [row.to_dict() for row in history] for digest, history in histories.items()
            },
            fork=study.fork == "auto",
            fork_first=first_noise([now.train_config(trial) for trial in self.confirm.trials]),
            fork_disk_bytes=int(budget),
            memory_fraction=gpu_memory_fraction(study),
            tell_node=several_nodes(),
            evaluate_test=True,
            baseline_tests=dict(tests),
        )

    # The end.

    def _record_end(self, ended: StudyState, projector: "LedgerProjector") -> None:
        session, now = self.session, self._now()
        verdict = None
        if now.samples(DECIDING) and ended == "complete":
            verdict = "; ".join(f"{t}: {c.verdict}" for t, c in by_verdict(now).items())
        session.append(StudyEndEvent(ended, best=verdict))
        timeout = FLUSH_SECONDS if ended == "complete" else 5.0
        if not projector.flush(timeout=timeout):
            session.say(
                "MLflow does not have everything yet; it is kept, and the same command sends it"
            )


def by_verdict(confirmation: Confirmation) -> dict[str, Any]:
    """The comparisons in the deciding metric: what is better first."""
    order = list(Verdict)
    found = confirmation.verdicts()
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].verdict)))


def baseline_tests(state: LedgerState) -> dict[str, dict[str, float]]:
    """Digest of a complete baseline → its figures on the test set."""
    return {
        record.baseline: {name: record.values[name] for name in TEST_FIGURES}
        for record in state.by_role("baseline")
        if record.state == "complete" and all(name in record.values for name in TEST_FIGURES)
    }
