"""One process's hold on a folder: records that are gone before it begins, or under its hands."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study.campaigns.baseline import DescribeRun
from study.campaigns.session import Session, check_records, check_store_shared
from study.config import StudyConfig
from study.errors import RecordsRemovedError
from study.records.events import StudyEvent
from study.records.folder import StudyFolder, storage_of
from study.records.ledger import Ledger
from study.tracking.addresses import artifact_root, resolve_uri
from study.tracking.store import MlflowStore
from study.tracking.sync import sync
from tests.support.ledgers import run_events
from trainables.config import TrainConfig
from trainables.errors import InputError


@pytest.fixture
def config(tmp_path: Path, empty_database: Path) -> StudyConfig:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return StudyConfig(name="kept", storage=str(tmp_path))


@pytest.fixture
def folder(config: StudyConfig) -> StudyFolder:
    folder = StudyFolder.of(config.storage, config.name)
    folder.path.mkdir()
    folder.write_config(config)
    return folder


@pytest.mark.parametrize(
    ("storage", "given", "refused"),
    [
        ("HERE", None, False),
        ("HERE", "http://127.0.0.1:1", False),
        ("HERE", "sqlite:///FOLDER/mlflow.db", False),
        ("HERE", "sqlite:///FOLDER/other.db", True),
        ("s3://bucket/studies", None, False),
        ("s3://bucket/studies", "sqlite:///FOLDER/mlflow.db", True),
    ],
)
def test_nodes_share_the_default_database_and_servers(
    storage: str, given: str | None, *, refused: bool, tmp_path: Path
) -> None:
    config = StudyConfig(name="shared", storage=storage.replace("HERE", str(tmp_path)))
    uri = given and given.replace("FOLDER", str(storage_of(config).folder))
    config = config.model_copy(update={"tracking_uri": uri})
    if not refused:
        check_store_shared(config, nodes=2)
        return
    with pytest.raises(InputError, match="the cluster has 2 nodes; leave it out"):
        check_store_shared(config, nodes=2)


def statuses(config: StudyConfig) -> list[str]:
    client = MlflowStore(resolve_uri(None, Path(config.storage))).connection.client
    experiment = client.get_experiment_by_name(config.name)
    return sorted(run.info.status for run in client.search_runs([experiment.experiment_id]))


def begun(folder: StudyFolder, config: StudyConfig) -> Session:
    session = Session(folder, config, None)
    session.begin(objectives=config.objective, asked="?")
    session.append(*run_events(0, 2)[:-1])
    return session


@pytest.mark.parametrize(
    "left",
    [
        lambda folder: folder.journal.write_text("{}\n"),
        lambda folder: folder.summary.write_text("{}"),
        lambda folder: folder.mlflow_offset.write_text("{}"),
        lambda folder: (folder.path / "checkpoints" / "trial-0000" / "final.ckpt").write_bytes(b""),
    ],
)
@pytest.mark.parametrize("ledger", [None, b"", b"no line of a ledger\n"])
def test_a_study_without_its_ledger_is_refused(
    left: Callable[[StudyFolder], object],
    ledger: bytes | None,
    config: StudyConfig,
    folder: StudyFolder,
) -> None:
    check_records(folder, config)
    (folder.path / "checkpoints" / "trial-0000").mkdir(parents=True)
    check_records(folder, config)
    left(folder)
    if ledger is not None:
        folder.ledger.write_bytes(ledger)
    with pytest.raises(InputError, match=r"ledger\.jsonl: .* Restore it .* remove .* --name"):
        check_records(folder, config)


def test_runs_in_mlflow_are_enough_to_refuse(config: StudyConfig, folder: StudyFolder) -> None:
    begun(folder, config)
    uri = resolve_uri(None, Path(config.storage))
    store = MlflowStore(uri, artifact_root(uri, Path(config.storage)))
    sync(folder.ledger, folder.mlflow_offset, store)
    folder.ledger.unlink()
    folder.mlflow_offset.unlink()
    with pytest.raises(InputError, match="there is runs of kept in MLflow"):
        check_records(folder, config)
    # Whoever removes the folder means it.
    shutil.rmtree(folder.path)
    check_records(folder, config)


def test_a_folder_removed_under_a_study_ends_it_and_its_runs(
    config: StudyConfig, folder: StudyFolder
) -> None:
    session = begun(folder, config)

    def run() -> None:
        with session.mirrored() as projector:
            assert projector.flush(60)
            assert statuses(config) == ["RUNNING", "RUNNING"]
            shutil.rmtree(folder.path)
            session.append(*run_events(0, 2)[-1:])

    with pytest.raises(RecordsRemovedError, match="was removed"):
        run()
    assert statuses(config) == ["KILLED", "KILLED"]
    assert not folder.path.exists()


def test_runs_of_a_killed_study_that_was_removed_do_not_stay_running(
    config: StudyConfig, folder: StudyFolder
) -> None:
    with begun(folder, config).mirrored() as projector:
        assert projector.flush(60)
    assert statuses(config) == ["RUNNING", "RUNNING"]
    shutil.rmtree(folder.path)
    with begun(folder, config).mirrored() as projector:
        assert projector.flush(60)
    assert statuses(config) == ["KILLED", "KILLED", "RUNNING", "RUNNING"]


def test_the_ledger_notices_that_it_was_removed_or_replaced(folder: StudyFolder) -> None:
    event = StudyEvent("kept", "uid", {}, time=time.time_ns() // 10**6)
    for harm in (Path.unlink, lambda path: path.rename(path.with_name("elsewhere"))):
        with Ledger(folder.ledger) as ledger:
            ledger.append(event)
            harm(folder.ledger)  # type: ignore[operator]
            with pytest.raises(RecordsRemovedError):
                ledger.append(event)
            folder.ledger.write_bytes(b"")
            with pytest.raises(RecordsRemovedError):
                ledger.append(event)


def test_an_invalid_point_has_a_record(config: StudyConfig) -> None:
    describe = DescribeRun(config.train, "always")
    point = {"key": "trial-0003", "role": "trial", "overrides_json": '{"noise/window": -7}'}
    start = describe(point)
    assert (start.key, start.overrides) == ("trial-0003", {"noise/window": -7})
    assert TrainConfig.model_validate(start.config) == config.train


def test_a_study_whose_first_line_is_lost_stays_the_same_in_mlflow(
    config: StudyConfig, folder: StudyFolder
) -> None:
    begun(folder, config)
    uri = resolve_uri(None, Path(config.storage))
    store = MlflowStore(uri, artifact_root(uri, Path(config.storage)))
    first = sync(folder.ledger, folder.mlflow_offset, store)
    lines = folder.ledger.read_bytes().splitlines(keepends=True)
    folder.ledger.write_bytes(b"".join(lines[1:]))
    begun(folder, config)
    second = sync(folder.ledger, folder.mlflow_offset, store)
    assert second.run_ids == first.run_ids
    assert len(statuses(config)) == 2
