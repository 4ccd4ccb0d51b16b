"""A finished study looked at by others: in MLflow, its registry, and optuna-dashboard."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from analysis.commands.analysis import main as analyse
from analysis.export.register import find_winner
from analysis.reading import StudyView, load_study
from analysis.report.evaluation import PairedFigures, paired_figures
from study.tracking.addresses import run_link, view_link
from study.tracking.ui import ui_command, ui_environment
from tests.support.browser import NEEDS_BROWSER, Browser, open_browser
from tests.support.servers import free_port, served
from trainables.checkpoint import load_state
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.evaluation import evaluate
from trainables.models.registry import build_model

pytestmark = pytest.mark.slow

MODEL = "winner of small"


@pytest.fixture(scope="module")
def storage(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the study that may be changed."""
    folder = tmp_path_factory.mktemp("browsed") / "studies"
    shutil.copytree(searched, folder)
    return folder


@pytest.fixture(scope="module")
def view(storage: Path) -> StudyView:
    """The study."""
    # The stored configuration names the folder in which it ran.
    found = load_study(storage, "small")
    config = found.config.model_copy(update={"storage": str(storage)})
    return StudyView(found.folder, config, found.state)


@pytest.fixture(scope="module")
def client(storage: Path) -> MlflowClient:
    return MlflowClient(uri(storage))


def uri(storage: Path) -> str:
    return f"sqlite:///{storage}/mlflow.db"


def runs(client: MlflowClient) -> dict[str, Any]:
    """MLflow's runs by trial key, the parent's under its role."""
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=100)
    return {run.data.tags.get("trial_id", "study"): run for run in found}


def final_network(view: StudyView, key: str) -> tuple[torch.nn.Module, DeviceData]:
    """A run's final weights, which decide, in its network, built by hand, and its data."""
    path = view.folder.checkpoints / key / "final.ckpt"
    config = view.train_config(key)
    data = DeviceData(load_dataset(config.data), "cpu")
    model = build_model(config.model.classifier, 10)
    model.load_state_dict(load_state(path)["model"])
    return model.eval(), data


def weights_of(view: StudyView) -> str:
    """The run whose checkpoint holds the best trial's weights."""
    assert view.best is not None
    return f"baseline-seed{view.best.seed}" if view.best.never_injected else view.best.trial_id


# --- by class, and how sharp -------------------------------------------------------------------


def test_figures_by_class_are_those_of_the_weights(view: StudyView, tmp_path: Path) -> None:
    said: list[str] = []
    found = paired_figures(view, tmp_path / "kept.json", said.append)
    assert isinstance(found, PairedFigures)
    assert (found.part, found.seeds) == ("val", (3,))
    assert "validation data" in found.sentences()[0]
    keys = ["baseline-seed3", found.key]
    if view.state.trials[found.key].first_injection_epoch is None:
        keys[1] = keys[0]
    for key, figures in zip(keys, found.runs[0], strict=True):
        model, data = final_network(view, key)
        expected = evaluate(model, data.eval_batches("val"), 10)
        assert figures.per_class == pytest.approx(expected.per_class_accuracy)
        recorded = view.state.trials[key].history
        assert expected.accuracy == recorded[-1].val_accuracy
    assert len(said) == len(set(keys))
    assert paired_figures(view, tmp_path / "kept.json", said.append) == found
    assert len(said) == len(set(keys)), "what is kept is not computed again"


def test_without_checkpoints_it_says_why(view: StudyView, tmp_path: Path) -> None:
    shutil.copytree(view.folder.path, tmp_path / "small")
    shutil.rmtree(tmp_path / "small" / "checkpoints")
    found = paired_figures(load_study(tmp_path, "small"), tmp_path / "kept.json", print)
    assert isinstance(found, str)
    assert "final weights" in found


# --- the registry ------------------------------------------------------------------------------


def register(storage: Path, *words: str) -> int:
    command = ["export", "small", "--storage", str(storage), "--tracking-uri", uri(storage)]
    return analyse([*command, "--out", str(storage / "exported"), "--register", MODEL, *words])


def test_a_winner_that_does_not_win_is_refused(
    storage: Path, view: StudyView, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    winner = find_winner(view)
    assert not winner.beats
    assert "not confirmed" in winner.reason
    assert register(storage) == 2
    assert "--force" in capsys.readouterr().err
    assert not (storage / "exported").exists()
    assert not client.search_registered_models()


def test_the_registered_winner_predicts_what_its_weights_do(
    storage: Path, view: StudyView, client: MlflowClient, tmp_path: Path
) -> None:
    assert register(storage, "--force") == 0
    version = client.get_model_version_by_alias(MODEL, "champion")
    model, data = final_network(view, weights_of(view))
    pixels = load_dataset(view.config.train.data).val_images[:40]
    with torch.inference_mode():
        expected = torch.cat([model(images) for images, _ in data.eval_batches("val")])[:40]
    np.save(tmp_path / "pixels.npy", pixels)
    # As its users do: another process, the registry's address, none of this project's code.
    code = (
        "import sys, numpy, mlflow; mlflow.set_tracking_uri(sys.argv[1]); "
        "model = mlflow.pyfunc.load_model(sys.argv[2]); "
        "numpy.save(sys.argv[4], model.predict(numpy.load(sys.argv[3]))); "
        "assert not {'trainables', 'study'} & set(sys.modules)"
    )
    files = [str(tmp_path / name) for name in ("pixels.npy", "logits.npy")]
    command = [sys.executable, "-c", code, uri(storage), f"models:/{MODEL}@champion", *files]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(files[1]), expected, rtol=1e-4, atol=1e-4)
    assert version.tags["trial_id"] == find_winner(view).key
    said = {name: version.tags[name] for name in ("confirmed", "forced", "decide_by")}
    decided = "final_test_accuracy"
    assert said == {"confirmed": "not confirmed", "forced": "true", "decide_by": decided}
    assert version.run_id == runs(client)[version.tags["trial_id"]].info.run_id


def test_what_is_registered_has_no_pickle_but_signature_example_and_metrics(
    client: MlflowClient, view: StudyView
) -> None:
    version = client.get_model_version_by_alias(MODEL, "champion")
    logged = client.get_logged_model(version.tags["model_id"])
    folder = Path(logged.artifact_location.removeprefix("file://"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert "data/model.pt2" in files
    assert any("input_example" in name for name in files)
    assert not any(name.endswith((".pkl", ".pth")) for name in files)
    with zipfile.ZipFile(folder / "data" / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".pkl")]
    signature = Model.load(str(folder)).signature
    (inputs,), (outputs,) = signature.inputs.inputs, signature.outputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype("uint8"), (-1, 32, 32, 3))
    assert (outputs.type, outputs.shape) == (np.dtype("float32"), (-1, 10))
    metrics = {metric.key: metric.value for metric in logged.metrics}
    history = view.state.trials[version.tags["trial_id"]].history
    assert metrics["val_accuracy"] == history[-1].val_accuracy


def test_baselines_and_winner_are_logged_models_of_their_runs(
    client: MlflowClient, view: StudyView
) -> None:
    known = runs(client)
    best = view.summary.best
    for key in ("baseline-seed3", "baseline-seed4", str(best)):
        run = client.get_run(known[key].info.run_id)
        models = [client.get_logged_model(m.model_id) for m in run.outputs.model_outputs]
        (model,) = [m for m in models if m.name == f"BabyCNN-{key}"]
        assert str(model.status) == "READY"
        values = {metric.key: metric.value for metric in model.metrics}
        assert values["best_val_accuracy"] == view.state.trials[key].values["best_val_accuracy"]
        (used,) = run.inputs.dataset_inputs
        assert (used.dataset.name, model.metrics[0].dataset_name) == ("digits", "digits")
        assert model.metrics[0].dataset_digest == used.dataset.digest


# --- in a browser ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def own_problems(browser: Browser) -> list[str]:
    """What went wrong, but for a question of MLflow's own page: whether its server has users."""
    return [line for line in browser.problems() if "/users/current" not in line]


@NEEDS_BROWSER
def test_mlflow_shows_what_the_study_asked_and_its_runs(
    storage: Path, view: StudyView, client: MlflowClient, browser: Browser
) -> None:
    command = ["report", "small", "--storage", str(storage), "--tracking-uri", uri(storage)]
    assert analyse([*command, "--no-pictures", "--no-evaluate"]) == 0
    parent, port = runs(client)["study"], free_port()
    experiment, run_id = parent.info.experiment_id, parent.info.run_id
    link = run_link(experiment, run_id, "report.html")
    assert client.get_run(run_id).data.tags["mlflow.note.content"].count(link) == 1
    environment = ui_environment(uri(storage), storage)
    pages = ui_command("127.0.0.1", port)
    with served(pages, port, "health", env=environment, cwd=storage) as address:
        browser.look(width=1280)
        browser.open(f"{address}/{run_link(experiment, run_id)}")
        shown = browser.wait_for("Does noise help BabyCNN on digits", "report.html", "digits")
        assert "Pinned baseline" in shown
        # "First" where several share the best value.
        assert "Best trial" in shown or "First trial" in shown
        assert not own_problems(browser)
        assert not browser.foreign_requests()
        browser.open(f"{address}/{view_link(experiment)}")
        shown = browser.wait_for("trial-0005", "baseline-seed4", "role", "difference", "status")
        assert all(key in shown for key in view.state.trials)
        # The baselines first.
        assert max(map(shown.index, ("baseline-seed3", "baseline-seed4"))) < shown.index("trial-")
        assert not own_problems(browser)
        assert not browser.foreign_requests()
        browser.open(f"{address}/{link}")
        with browser.inside_frame():
            browser.wait_for("Study small", "To reproduce it")
            assert browser.run("return document.querySelectorAll('.main-svg').length") > 10
        assert not own_problems(browser)


@NEEDS_BROWSER
def test_optuna_dashboard_opens_the_journal(
    storage: Path, view: StudyView, browser: Browser
) -> None:
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists():
        pytest.skip("no optuna-dashboard here: pip install optuna-dashboard")
    port = free_port()
    command = [str(program), str(view.folder.journal), "--port", str(port)]
    with served(command, port, "dashboard") as address:
        browser.look(width=1280)
        browser.open(f"{address}/dashboard")
        browser.wait_for("small", "MAXIMIZE")
        browser.open(f"{address}/dashboard/studies/0/trials")
        browser.wait_for("Trial 0", "noise/")
        assert not browser.problems()
        assert not browser.foreign_requests()
