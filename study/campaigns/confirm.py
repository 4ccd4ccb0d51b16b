"""Confirmations from Python: ``run_confirm(StudyConfig, ConfirmConfig)``, as the command does it.

The best configurations of a search are trained on fresh seeds beside the baseline, from whose
checkpoints they start, and so are the controls of each, its placebo and its clock. All are
evaluated on the test set, which nothing has read before. A confirmation has a ledger of its own,
under ``STORAGE/NAME/confirm``, and an experiment of its own in MLflow; the search's records stay
what they are. Each step skips what the ledger says is done, so the same call goes on with what was
interrupted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from search_spaces.registry import get_space
from study.campaigns.campaign import Campaign, Phase, held, read_images
from study.campaigns.confirm_plan import (
    DECIDING,
    STEPS,
    ConfirmConfig,
    config_file,
    confirm_folder,
    planned_confirmation,
    stored_confirmation,
)
from study.campaigns.confirmation import Confirmation, by_verdict, first_noise
from study.campaigns.live import Counted
from study.campaigns.own_code import checked_with_code
from study.campaigns.session import Session
from study.checks import check_runs
from study.config import StudyConfig
from study.records.events import ArtifactEvent, NoteEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import LedgerState, read_ledger
from study.records.own_code import is_present
from trainables.errors import InputError

if TYPE_CHECKING:
    from study.tracking.projector import LedgerProjector
    from study.tune.capacity import Capacity


def run_confirm(
    study: StudyConfig,
    confirm: ConfirmConfig,
    *,
    console: Console | None = None,
    fetched: bool = False,
) -> Confirmation:
    """Confirm the best configurations of a study on fresh seeds, or go on with it.

    Args:
        study: the study as it is stored (``study.campaigns.resume.resumed``).
        confirm: how many configurations and seeds.
        console: where to show progress; None: nowhere.
        fetched: the study's records were just brought from its object store (``resumed``).

    Raises:
        InterruptedStudyError: after Ctrl-C; finished and unfinished runs are kept.
        StudyFailedError: if runs could not be trained or recorded.
    """
    check_runs(study)
    folder = StudyFolder.of(storage_of(study), study.name)
    study = folder.with_tuned_base(checked_with_code(study, folder, fetched))
    search = read_ledger(folder.ledger)
    check_same_code(folder, study, search)
    confirm = planned_confirmation(study, search, confirm, stored_confirmation(folder))
    if confirm.fresh_seeds[-1] >= 2**63:
        raise InputError(f"seed = {confirm.fresh_seeds[-1]}: the fresh seeds end below 2**63")
    [dataset] = read_images([("reading images", study.train.data)], console)
    home = confirm_folder(folder)
    # In MLflow it stands beside the search, not among its trials.
    settings = study.model_copy(update={"name": f"{study.name}-confirm"})
    with held(settings, home):
        # Another process may have begun, or extended, the confirmation while the images were read.
        before = stored_confirmation(folder)
        confirm = planned_confirmation(study, search, confirm, before)
        return _ConfirmCampaign(
            config=settings,
            session=Session(home, settings, console),
            images=[(study.train, dataset)],
            objectives=(DECIDING,),
            asked=asked(study, confirm),
            policy=get_space(study.space).policy,
            begun=Confirmation(folder, study, search, confirm, read_ledger(home.ledger)),
            before=before,
        ).to_the_end()


def check_same_code(folder: StudyFolder, study: StudyConfig, search: LedgerState) -> None:
    """Refuse to go on with a confirmation of what was trained with another source."""
    stored, home = stored_confirmation(folder), confirm_folder(folder)
    if stored is None:
        return
    searched = [search.trials[key] for key in stored.trials if key in search.trials]
    begun = read_ledger(home.ledger).trials.values()
    if not all(is_present(study, record) for record in (*searched, *begun)):
        raise InputError(
            f"name = {study.name!r}: its confirmation was begun before the source of "
            f"{study.train.model.classifier} was changed; move {home.path} away to begin anew"
        )


def asked(study: StudyConfig, confirm: ConfirmConfig) -> str:
    seeds = confirm.fresh_seeds
    how = "in a sequential design, " if confirm.design else ""
    clocks = " and their clocks, which have it from the warm-up's end on" if confirm.clock else ""
    return (
        f"Do {', '.join(confirm.trials)}, the best of {study.name}, beat their baseline "
        f"on the test set, on fresh seeds ({how}{seeds[0]} to {seeds[-1]})? And do they beat "
        f"their placebos, which have the same noise at random epochs{clocks}?"
    )


@dataclass(kw_only=True)
class _ConfirmCampaign(Campaign[StudyConfig, Confirmation]):
    """The best of a search, the controls of each and the baseline, on fresh seeds.

    ``begun``: as its ledger was when this process began; ``before``: how it was configured.
    """

    begun: Confirmation
    before: ConfirmConfig | None

    def store(self) -> None:
        write_json(config_file(self.begun.folder), self.begun.config.model_dump(mode="json"))

    def counted(self) -> Counted:
        confirm = self.begun.config
        return Counted(
            name=self.config.name,
            objective="best_val_accuracy",
            epochs=self.config.train.epochs,
            trials=(1 + len(confirm.controls)) * len(confirm.trials) * confirm.seeds,
            baselines=confirm.seeds,
            standing=self._standing,
            time_budget=self.config.time_budget,
            spared=lambda state: replace(self.begun, state=state).spared(),
        )

    def _standing(self, state: LedgerState) -> str:
        words = []
        for trial, sample in replace(self.begun, state=state).samples(DECIDING).items():
            known = sample.complete
            if known:
                mean = sum(known) / len(known)
                words.append(f"{trial} {mean:+.4f} (n = {len(known)})")
        if not words:
            return "no configuration has a finished run beside its baseline yet"
        return "test accuracy beside the baseline: " + ", ".join(words)

    def _now(self) -> Confirmation:
        return replace(self.begun, state=self.session.state())

    def put_in_order(self) -> None:
        super().put_in_order()
        begun, known = self.begun, self.begun.search.study
        origin = {"confirms": begun.study.name, "confirms_id": known.uid if known else ""}
        self.session.append(
            NoteEvent(None, origin), ArtifactEvent(None, config_file(begun.folder).name)
        )
        before, confirm = self.before, begun.config
        if before is None:
            return
        if confirm.seeds > before.seeds and self.session.state().trials:
            self.session.note(
                f"seeds were added ({before.seeds}, then {confirm.seeds}) after a look at the "
                "result: the error level is not kept; --sequential keeps it"
            )
        new = [trial for trial in confirm.trials if trial not in before.trials]
        if new:
            self.session.note(f"added after the first start: {', '.join(new)}")

    def closing(self) -> None:
        """Note of which trials the comparisons mean something else."""
        now = self._now()
        for trial in now.config.trials:
            if now.promised[trial].never_injected:
                self.session.note(
                    f"{trial} never injected in the search, where it equals its baseline"
                )
            if now.has_no_placebo(trial):
                neither = "neither placebo nor clock" if now.config.clock else "no placebo"
                self.session.note(
                    f"{trial} has {neither}: its noise fills the epochs after its warm-up and "
                    "can't lie elsewhere"
                )

            own = now.own_clock(trial)
            if own:
                # Said, not recorded: the number grows with the seeds, and the report has it.
                self.session.say(
                    f"{trial} is its own clock on {len(own)} of {now.config.seeds} seeds: its "
                    "noise began there as soon as its signals could be heard, or never"
                )

    # The training: round by round, the baselines, the configurations, their controls.

    def is_complete(self) -> bool:
        return self._now().finished

    def opening(self, room: "Capacity") -> str:
        confirm = self.begun.config
        controls = " and ".join(f"their {role}s" for role in confirm.controls)
        without = "" if confirm.clock else " (it was begun without clocks)"
        return (
            f"{self.config.name}: {', '.join(confirm.trials)}, {controls} on fresh seeds from "
            f"{confirm.first_seed} on{without}. {room.describe(self.config)}"
        )

    def phases(self, room: "Capacity") -> Iterator[Phase]:
        """In a sequential design each round adds the seeds up to the next look."""
        now = self._now()
        spec = {
            "fork_first": first_noise([now.train_config(trial) for trial in now.config.trials]),
            "fork_disk_bytes": int(self.config.fork_disk_mb * 1e6 / now.config.seeds),
            "evaluate_test": True,
        }
        while not self._now().finished:
            for roles in STEPS:
                now = self._now()
                runs = [run for role in roles for run in now.missing(role)]
                if runs:
                    yield Phase(runs, spec=spec, needed="any" if "baseline" in roles else None)

    # The end.

    def write_end(self, ended: StudyState, projector: "LedgerProjector") -> Confirmation:
        now = self._now()
        verdict = ""  # One of an earlier end does not hold any more.
        if now.samples(DECIDING) and ended == "complete":
            verdict = "; ".join(f"{t}: {c.verdict}" for t, c in by_verdict(now).items())
        self.session.append(StudyEndEvent(ended, tags={"verdict": verdict}))
        if not self.flush(projector):
            self.say_unsent()
        return self._now()
