"""Confirmations from Python: ``run_confirm(StudyConfig, ConfirmConfig)``, as the command does it.

The best configurations of a search are trained on fresh seeds beside the baseline, from whose
checkpoints they start, and so are the controls of each, its placebo and its clock. All are
evaluated on the test set, which no search reads, and registered before anything is trained. A
confirmation has a ledger of its own, under ``STORAGE/NAME/confirm``, and an experiment of its own
in MLflow; the search's records stay what they are. Each step skips what the ledger says is done, so
the same call goes on with what was interrupted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from study.campaigns.campaign import Campaign, held
from study.campaigns.confirm_plan import (
    STEPS,
    TEST_IMAGES,
    ConfirmConfig,
    better_since,
    config_file,
    confirm_folder,
    margin_note,
    planned_confirmation,
    stored_confirmation,
    with_margin,
)
from study.campaigns.confirm_register import (
    register_end,
    register_of,
    register_plan,
    test_set_of,
)
from study.campaigns.confirm_runs import first_noise
from study.campaigns.confirmation import (
    Confirmation,
    by_verdict,
    check_confirmed,
    check_same_code,
)
from study.campaigns.contrast import why_no_placebo
from study.campaigns.counted import confirm_counted
from study.campaigns.images import study_images
from study.campaigns.live import Counted
from study.campaigns.own_code import checked_with_code
from study.campaigns.phase import Phase
from study.campaigns.session import Session, check_records
from study.campaigns.verdicts import Judgement
from study.checks import check_runs
from study.config import StudyConfig
from study.errors import StudyFailedError
from study.records.events import ArtifactEvent, NoteEvent, StudyEndEvent, StudyState
from study.records.folder import StudyFolder, storage_of
from study.records.json_files import write_json
from study.records.ledger_view import read_ledger
from study.records.register import RegisterError
from study.records.summary import VALIDATION_IMAGES
from study.search.own_space import space_of
from trainables.data.dataset import KnownImages
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
    check_records(folder, study)
    search = read_ledger(folder.ledger)
    check_same_code(folder, study)
    confirm = planned_confirmation(study, search, confirm, stored_confirmation(folder))
    check_confirmed(folder, study, search, confirm)
    if confirm.fresh_seeds[-1] >= 2**63:
        raise InputError(f"seed = {confirm.fresh_seeds[-1]}: the fresh seeds end below 2**63")
    _check_register(folder)
    _, images = study_images(study.train, console)
    home = confirm_folder(folder)
    # In MLflow it stands beside the search, not among its trials.
    settings = study.model_copy(update={"name": f"{study.name}-confirm"})
    check_records(home, settings)
    with held(settings, home, [dataset for _, dataset in images]):
        # Another process may have begun, or extended, the confirmation while the images were read.
        before = stored_confirmation(folder)
        confirm = planned_confirmation(study, search, confirm, before)
        confirm = with_margin(confirm, study, test_set_of(study.train, images).images or None)
        return _ConfirmCampaign(
            config=settings,
            session=Session(home, settings, console),
            images=images,
            objectives=(confirm.decide_by or study.decide_by,),
            asked=asked(study, confirm),
            policy=space_of(study).policy,
            begun=Confirmation(folder, study, search, confirm, read_ledger(home.ledger)),
            before=before,
        ).to_the_end()


def _check_register(folder: StudyFolder) -> None:
    try:
        register_of(folder).check_writable()
    except RegisterError as error:
        raise InputError(
            f"storage = {folder.path.parent}: {error}; what reads a test set is registered first, "
            "so make it writable"
        ) from None


def asked(study: StudyConfig, confirm: ConfirmConfig) -> str:
    seeds = confirm.fresh_seeds
    how = "in a sequential design, " if confirm.looks else ""
    clocks = " and their clocks, which have it from the warm-up's end on" if confirm.clock else ""
    return (
        f"Do {', '.join(confirm.trials)}, the best of {study.name}, beat their baseline "
        f"in {study.train.metrics[study.decide_by].words}, on fresh seeds "
        f"({how}{seeds[0]} to {seeds[-1]})? "
        f"And do they beat their placebos, which have the same noise at random epochs{clocks}?"
    )


def added_seeds(confirm: ConfirmConfig, before: int) -> str:
    """What adding seeds does to the verdicts, said before any of them is trained."""
    if confirm.judged == "as_before":
        return (
            f"seeds were added ({before}, then {confirm.seeds}) after a look at the "
            "result: the error level is not kept; --sequential keeps it"
        )
    planned = confirm.planned_seeds
    if confirm.extendable:
        return (
            f"what the {planned} planned seeds leave undecided goes on to {confirm.seeds} with the "
            "share of the error set aside for that (--extendable)"
        )
    return (
        f"what the {planned} planned seeds leave undecided gets {confirm.seeds}, its figures are "
        "shown, and its verdict is withheld: seeds added after a look at the result do not keep "
        "the error level, unless a confirmation is begun with --extendable"
    )


def answer_tags(now: Confirmation, judged: Mapping[str, Judgement]) -> dict[str, str]:
    """What MLflow shows of the end; empty texts take the place of an earlier end's."""
    said = {trial: found.short_with_bound for trial, found in judged.items()}
    worth = {trial: now.pairing_gain(trial).sentence() for trial in judged}
    return {
        name: "; ".join(f"{trial}: {text}" for trial, text in texts.items())
        for name, texts in (("verdict", said), ("pairing", worth))
    }


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
        return confirm_counted(self.begun, self.config)

    def _now(self) -> Confirmation:
        return replace(self.begun, state=self.session.state())

    def put_in_order(self) -> None:
        super().put_in_order()
        self._register_plan()
        begun, known = self.begun, self.begun.search.study
        origin = {"confirms": begun.study.name, "confirms_id": known.uid if known else ""}
        for _, dataset in self.images:
            origin[TEST_IMAGES] = str(len(dataset.test_labels))
            # What a search of an earlier version does not say.
            origin[VALIDATION_IMAGES] = str(len(dataset.val_labels))
        self.session.append(
            NoteEvent(None, origin), ArtifactEvent(None, config_file(begun.folder).name)
        )
        before, confirm = self.before, begun.config
        if before is None:
            images = self._test_set.images or None
            self.session.note(margin_note(begun.study, images))
            return
        added = confirm.seeds > before.seeds and bool(self.session.state().trials)
        if confirm.judged == "by_answers":
            added = confirm.extended and not self._now().finished
        if added:
            self.session.note(added_seeds(confirm, before.seeds))
        new = [trial for trial in confirm.trials if trial not in before.trials]
        if new:
            self.session.note(f"added after the first start: {', '.join(new)}")

    @property
    def _test_set(self) -> KnownImages:
        return test_set_of(self.begun.study.train, self.images)

    def _register_plan(self) -> None:
        try:
            register_plan(self._now(), self._test_set, self.before)
        except RegisterError as error:
            raise StudyFailedError(
                f"{self.config.name}: {error}. Nothing is trained: what reads a test set is "
                f"registered first. Go on with: {self.again}"
            ) from None

    def closing(self) -> None:
        """Note of which trials the comparisons mean something else."""
        now = self._now()
        for trial in now.config.trials:
            if now.promised[trial].never_injected:
                self.session.note(
                    f"{trial} never injected in the search, where it equals its baseline"
                )
            reason = why_no_placebo(now, trial)
            if reason:
                neither = "neither placebo nor clock"
                none = neither if now.config.clock and now.has_no("clock", trial) else "no placebo"
                self.session.note(f"{trial} has {none}: {reason}")

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
        best = better_since(self.begun.study, self.begun.search, confirm)
        if best is not None:
            without += (
                f". {best}, the best by now, came after this was begun, whose configurations are "
                f"fixed; to confirm it, remove {self.begun.folder.path / 'confirm'} first"
            )
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
        judged = by_verdict(now) if ended == "complete" else {}
        self.session.append(StudyEndEvent(ended, tags=answer_tags(now, judged)))
        if ended == "complete":
            self._register_end(now, {trial: found.word for trial, found in judged.items()})
        if not self.flush(projector):
            self.say_unsent()
        return self._now()

    def _register_end(self, now: Confirmation, verdicts: dict[str, str]) -> None:
        try:
            register_end(now, self._test_set, verdicts)
        except RegisterError as error:
            self.session.say(
                f"the end of {self.config.name} is not registered: {error}. The same command "
                "registers it later; nothing else is lost"
            )
