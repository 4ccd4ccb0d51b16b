"""``noise-study sync``, ``verify``, ``ui``, ``list`` and ``clean``."""

import shlex
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from study.commands.dispatch import NOISE_STUDY, subcommand
from study.commands.places import StorageOptions, StudyName
from study.commands.settings import option, positional
from study.records.remote import DATABASE
from trainables.errors import InputError
from trainables.uris import redact_uri


@dataclass(frozen=True)
class SyncOptions(StudyName):
    """Which study, and which MLflow it is sent to."""

    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri", help="MLflow tracking URI", value="URI", default="the study's own"
        ),
    ] = ""


@subcommand(f"{NOISE_STUDY} sync", SyncOptions)
def sync(options: SyncOptions) -> int:
    """Send to MLflow what it could not take while the study ran."""
    from study.campaigns.sync import sync_study

    report = sync_study(options.where, options.name, options.tracking_uri or None)
    if report.error is not None:
        print(
            f"{NOISE_STUDY}: MLflow can't be written to ({report.error}); {report.behind} bytes "
            f"and {report.files_left} files wait to be sent. Try again later",
            file=sys.stderr,
        )
        return 1
    print(f"{options.name}: {report.events} records sent, MLflow has everything")
    return 0


@dataclass(frozen=True)
class VerifyOptions(SyncOptions):
    """Which study, and which MLflow it is held against."""


@subcommand(f"{NOISE_STUDY} verify", VerifyOptions)
def verify(options: VerifyOptions) -> int:
    """Hold a study's ledger, checkpoints, Optuna's journal, results and MLflow against each other,
    and its confirmation's, or a grid's: say what is missing, doubled, different or damaged (exit
    code 1). Nothing is changed.
    """
    from study.campaigns.verify import verify_study

    found = verify_study(options.where, options.name, options.tracking_uri or None)
    for finding in found.findings:
        print(finding)
    for remark in found.remarks:
        print(f"note: {remark}")
    print(f"{options.name}: {found.sentence()}")
    return 1 if found.findings else 0


@dataclass(frozen=True)
class UiOptions(StorageOptions):
    """Which studies' MLflow, and where it listens."""

    name: tyro.conf.Positional[
        Annotated[str, positional("NAME", "a study, whose table of runs is opened; none: all")]
    ] = ""
    tracking_uri: Annotated[
        str,
        option(
            "--tracking-uri", help="MLflow tracking URI", value="URI", default="STORAGE/mlflow.db"
        ),
    ] = ""
    port: Annotated[int, option("--port", help="port on 127.0.0.1", value="INT")] = 5000


@subcommand(f"{NOISE_STUDY} ui", UiOptions)
def ui(options: UiOptions) -> int:
    """Open MLflow on 127.0.0.1 with the studies' store."""
    from study.tracking.addresses import resolve_uri
    from study.tracking.ui import open_when_ready, pages_of, serve_ui

    where = options.where
    storage = where.folder
    uri = resolve_uri(options.tracking_uri or None, storage)
    if where.remote is not None and not (options.tracking_uri or (storage / DATABASE).exists()):
        words = shlex.join([NOISE_STUDY, "sync", "NAME", *where.words])
        raise InputError(
            f"storage = {where.shown}: MLflow on this machine knows no study of it yet; fill it "
            f"from a study's records with: {words}"
        )
    if not options.tracking_uri and not storage.is_dir():
        raise InputError(
            f"storage = {where.shown}: there is no such folder, so no study; give another "
            "(--storage)"
        )
    address = f"http://127.0.0.1:{options.port}"
    if options.name:
        address += f"/{pages_of(uri, options.name)}"
    print(f"MLflow with {redact_uri(uri)} (Ctrl-C ends it):\n  {address}", flush=True)
    open_when_ready(address)
    return serve_ui(uri, storage, port=options.port)


@subcommand(f"{NOISE_STUDY} list", StorageOptions)
def list_studies(options: StorageOptions) -> int:
    """List the studies under a storage folder."""
    from study.campaigns.housekeeping import studies_table

    Console().print(studies_table(options.where))
    return 0


@subcommand(f"{NOISE_STUDY} clean", StudyName)
def clean(options: StudyName) -> int:
    """Remove the checkpoints that nothing needs any more, and say how much."""
    from study.campaigns.housekeeping import clean_study

    print(clean_study(options.where, options.name))
    return 0
