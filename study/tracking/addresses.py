"""Where MLflow is: the tracking URI, artifacts, and links to its pages."""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from trainables.errors import InputError
from trainables.paths import given_path
from trainables.uris import redact_uri

VIEW_KEY = "noise-study"
"""Name of the shared view of the runs table that every study gets."""

_TRAINING = "workflowType=machine_learning"
"""Without it MLflow's pages open on prompts and traces."""

ENVIRONMENT = {
    # No study of ours tells other hosts about itself.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Whoever calls retries: MLflow's own retries block for minutes, and repeat the creation of a
    # run whose answer was lost, which makes two of it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_SQLITE = b"SQLite format 3\0"
"""What a database begins with (sqlite.org/fileformat.html)."""

_SERVERS = frozenset({"http", "https", "databricks"})
_SCHEMES = _SERVERS | {"sqlite", "postgresql", "mysql", "mssql"}


def resolve_uri(given: str | None, storage: Path) -> str:
    """The tracking URI to use: ``given``, or an SQLite file in the storage folder.

    A relative SQLite file is meant from the current folder, which Tune changes: it is made
    absolute here.
    """
    if given is None:
        return _file_uri("sqlite", Path(storage).expanduser().resolve() / "mlflow.db")
    try:
        parts = urlsplit(given)
    except ValueError as error:
        raise InputError(f"tracking_uri = {redact_uri(given)!a}: {error}") from None
    if parts.scheme.partition("+")[0] == "sqlite":
        file = given_path(given.partition(":///")[2], "tracking_uri")
        return _file_uri(parts.scheme, file.resolve())
    if parts.scheme.partition("+")[0] in _SCHEMES or given == "databricks":
        return given
    raise InputError(
        f"tracking_uri = {redact_uri(given)!r}: not a store that MLflow writes to (plain folders "
        "are none any more); give http://HOST:PORT, sqlite:///FILE, or a database's URI"
    )


def _file_uri(scheme: str, file: Path) -> str:
    """The URI of a database in a file; refused where something else lies, as a pipe, that waits."""
    uri = f"{scheme}:///{file}"
    if file.is_dir():
        raise InputError(f"tracking_uri = {uri!a}: a folder; give a file")
    if file.exists() and not file.is_file():
        raise InputError(f"tracking_uri = {uri!a}: no regular file")
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store."""
    return Path(uri.partition(":///")[2]) if uri.startswith("sqlite") else None


def check_uri(given: str | None, storage: Path) -> None:
    """Refuse what can be no store. No server is contacted: one that is away stops no study."""
    uri = resolve_uri(given, storage)
    path = sqlite_file(uri)
    if path is None:
        return
    if path.exists():
        with path.open("rb") as file:
            beginning = file.read(len(_SQLITE))
        if beginning not in (b"", _SQLITE):
            raise InputError(f"tracking_uri = {uri!a}: no SQLite database")
    elif given is not None and not path.parent.is_dir():
        raise InputError(f"tracking_uri = {uri!a}: there is no folder {path.parent}")


def artifact_root(uri: str, storage: Path) -> str | None:
    """Where artifacts go if the store itself doesn't say: an absolute URI, or None (a server)."""
    if is_server(uri):
        return None
    file = uri.partition(":///")[2] if uri.startswith("sqlite") else ""
    folder = Path(file).parent if file else Path(storage).expanduser().resolve()
    return (folder / "mlartifacts").as_uri()


def prepare_environment() -> None:
    """Set MLflow's environment for this process and its children, where the user has not."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def is_server(uri: str) -> bool:
    return urlsplit(uri).scheme in _SERVERS or uri == "databricks"


def run_link(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """The address of a run's page (or of one of its artifacts) within MLflow's pages."""
    tail = f"/artifacts/{quote(artifact)}" if artifact else ""
    return f"#/experiments/{experiment_id}/runs/{run_id}{tail}?{_TRAINING}"


def view_link(experiment_id: str) -> str:
    return f"#/experiments/{experiment_id}/runs?{_TRAINING}&viewStateShareKey={VIEW_KEY}"


def models_link(experiment_id: str) -> str:
    return f"#/experiments/{experiment_id}/models?{_TRAINING}"
