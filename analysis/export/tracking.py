"""A study's runs in MLflow, found again: the report is put beside them, and linked."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.reading import StudyView
from trainables.errors import InputError
from trainables.uris import redact_uri

if TYPE_CHECKING:  # MLflow takes seconds; a study that is not in it never needs it.
    from study.tracking.store import MlflowStore


@dataclass(frozen=True)
class StudyRuns:
    """Where MLflow keeps a study: ids of the experiment and its parent run; trial → run's id."""

    store: "MlflowStore"
    experiment: str
    parent: str
    runs: dict[str, str]


def tracking_uri(view: StudyView, given: str | None) -> str:
    """The store that is meant: the one given, the study's own, or the storage folder's."""
    from study.records.folder import check_secrets
    from study.tracking.addresses import resolve_uri

    uri = given or view.config.tracking_uri
    # Only this address is used here.
    check_secrets(
        view.config.model_copy(update={"storage": "", "address": None, "tracking_uri": uri})
    )
    return resolve_uri(uri, view.folder.path.parent)


def find_runs(view: StudyView, given: str | None) -> StudyRuns | None:
    """The study's runs in MLflow, None if it is not there; or StoreUnavailableError."""
    from study.tracking.addresses import artifact_root
    from study.tracking.store import MlflowStore
    from study.tracking.types import STUDY_RUN

    uri = tracking_uri(view, given)
    known = view.state.study
    file = uri.partition(":///")[2]
    if known is None or (uri.startswith("sqlite") and not Path(file).is_file()):
        # Asking would make the file.
        return None
    store = MlflowStore(uri, artifact_root(uri, view.folder.path.parent))
    experiment = store.find_experiment(view.name)
    if experiment is None:
        return None
    runs = {key: run.run_id for key, run in store.find_runs(experiment, known.uid).items()}
    parent = runs.pop(STUDY_RUN, None)
    return None if parent is None else StudyRuns(store, experiment, parent, runs)


def attach_report(view: StudyView, given: str | None, report: Path) -> str:
    """Put a report beside the study's parent run in MLflow, whose description links to it.

    Returns what became of it, in a sentence; empty if the study is not in MLflow.
    """
    from study.tracking.types import NOTE_TAG, StoreRefusedError, StoreUnavailableError

    try:
        uri = redact_uri(tracking_uri(view, given))
        found = find_runs(view, given)
        if found is None:
            return ""
        found.store.log_file(found.parent, report)
        text = found.store.run(found.parent).data.tags.get(NOTE_TAG, "")
        found.store.log(found.parent, tags={NOTE_TAG: with_link(text, found, report.name)})
    except InputError as error:
        return f"the report could not be put into MLflow: {error}"
    except (StoreUnavailableError, StoreRefusedError) as error:
        return f"the report could not be put into MLflow at {uri}: {error}"
    return f"MLflow has it, too: the parent run of {view.name} links to {report.name}"


def with_link(text: str, found: StudyRuns, name: str) -> str:
    """A run's description with a link to an artifact, beside the link to the runs' table."""
    from study.tracking.addresses import run_link, view_link

    link = f"[{name}]({run_link(found.experiment, found.parent, name)})"
    if link in text:
        return text
    before, table, after = text.partition(f"({view_link(found.experiment)})")
    return f"{before}{table} · {link}{after}" if table else f"{text}\n\n{link}"
