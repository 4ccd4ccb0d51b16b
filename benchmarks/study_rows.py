"""Whole studies: ours, and the same under stock Ray Tune, OptunaSearch and MLflowLoggerCallback."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.child import call
from benchmarks.rows import Benchmark, Goal, Measured, Options, Pair, cores

EPOCHS = 20
"""Reports of each trial that does no work."""


def _replay_config(storage: str, trials: int, *, early_stopping: bool) -> Any:
    from study.config import StudyConfig

    return StudyConfig.model_validate(
        {
            "name": "bench",
            "storage": storage,
            "trials": trials,
            "space": "adaptive_noise",
            "early_stopping": early_stopping,
            "baseline_seeds": 1,
            "train": {
                "epochs": EPOCHS,
                "data": {
                    "dataset": "synthetic",
                    "synthetic_train": 300,
                    "synthetic_test": 50,
                    "batch_size": 32,
                },
                "optimizer": {"lr_restart_period": EPOCHS},
            },
        }
    )


@contextmanager
def _timed(owner: Any, names: tuple[str, ...], spent: dict[str, float]) -> Iterator[None]:
    """Add up the time in some methods; a call within another of them counts once."""
    depth = 0

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                depth -= 1
                if not depth:
                    spent[owner.__name__] = (
                        spent.get(owner.__name__, 0.0) + time.perf_counter() - began
                    )

        return timed

    originals = {name: getattr(owner, name) for name in names}
    for name, method in originals.items():
        setattr(owner, name, wrap(method))
    try:
        yield
    finally:
        for name, method in originals.items():
            setattr(owner, name, method)


# In child processes. Ray is started before the clock, on both sides: it is no cost of a trial.


def our_replay(*, trials: int, early_stopping: bool) -> dict[str, float]:
    """Seconds of a whole study of trials that do no work, its baseline and results included."""
    import optuna

    import study.tune.connect
    import study.tune.runner
    from benchmarks.replay import ReplayTrainable
    from study.api import run_study
    from study.search.searcher import StudySearcher

    study.tune.runner.NoiseTrainable = ReplayTrainable  # type: ignore[attr-defined]
    spent: dict[str, float] = {}
    sampler = ("infer_relative_search_space", "sample_relative", "sample_independent")
    searcher = ("suggest", "on_trial_result", "on_trial_complete")
    with tempfile.TemporaryDirectory() as storage:
        config = _replay_config(storage, trials, early_stopping=early_stopping)
        with (
            study.tune.connect.ray_session(config),
            _timed(optuna.samplers.TPESampler, sampler, spent),
            _timed(StudySearcher, searcher, spent),
        ):
            _wake_up_ray()
            began = time.perf_counter()
            summary = run_study(config)
            took = time.perf_counter() - began
        ended = [trial for trial in summary.trials if trial.state in {"complete", "pruned"}]
        if len(ended) < trials:
            raise RuntimeError(f"{len(ended)} of {trials} trials ended")
    return {
        "seconds": took,
        "sampler": spent.get("TPESampler", 0.0),
        "searcher": spent.get("StudySearcher", 0.0),
    }


def stock_replay(*, trials: int) -> float:
    """Seconds of the same number of trials as a user would write them."""
    import ray
    from ray import tune

    from benchmarks.replay import curve, numbers_of, result_of

    def train(config: Mapping[str, Any]) -> None:
        rows = curve(str(sorted(config.items())), EPOCHS)
        for done in range(1, EPOCHS + 1):
            result = numbers_of(result_of(rows[:done], "trial", EPOCHS))
            result.pop("training_iteration")  # Tune counts these itself
            tune.report(result)

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    _wake_up_ray()
    with tempfile.TemporaryDirectory() as storage:
        began = time.perf_counter()
        results = _stock_tuner(train, Path(storage), trials).fit()
        took = time.perf_counter() - began
    if results.errors or len(results) < trials:
        raise RuntimeError(f"stock Tune ended {len(results)} trials, {len(results.errors)} failed")
    ray.shutdown()
    return took


def _stock_tuner(train: Any, storage: Path, trials: int, configs: Any = None) -> Any:
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from search_spaces.registry import get_space

    options: dict[str, Any] = {}
    if configs is None:
        base = _replay_config(str(storage), trials, early_stopping=False).train
        space = {
            # Stock OptunaSearch nests keys with slashes and takes no lists as choices.
            path.replace("/", "."): distribution
            for path, distribution in get_space("adaptive_noise").distributions(base).items()
        }
        goal = {"metric": "best_val_accuracy", "mode": "max"}
        options = {**goal, "num_samples": trials, "search_alg": OptunaSearch(space, **goal)}
    return tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"index": tune.grid_search(configs)} if configs is not None else None,
        tune_config=tune.TuneConfig(max_concurrent_trials=cores(), **options),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(storage),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{storage}/mlflow.db", experiment_name="bench"
                )
            ],
        ),
    )


def _wake_up_ray() -> None:
    """Start the first worker, so that neither side waits for it."""
    import ray

    @ray.remote  # type: ignore[untyped-decorator]
    def nothing() -> None:
        return None

    ray.get(nothing.remote())


def _study_train(quick: bool) -> dict[str, Any]:
    epochs = 8 if quick else 12
    return {
        "epochs": epochs,
        "data": {
            "dataset": "synthetic",
            # A tenth of the training images is set apart for validation.
            "synthetic_train": 640 if quick else 10_000,
            "synthetic_test": 100 if quick else 1000,
            "batch_size": 128,
        },
        "optimizer": {"lr": 0.01, "lr_restart_period": epochs},
    }


def study_points(*, count: int, quick: bool) -> list[dict[str, Any]]:
    """Configurations drawn from the search space, once, for both sides."""
    import optuna

    from search_spaces.registry import get_space
    from trainables.config import TrainConfig

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    base = TrainConfig.model_validate(_study_train(quick))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    space = get_space("adaptive_noise").distributions(base)
    return [study.ask(space).params for _ in range(count)]


def our_study(*, points: list[dict[str, Any]], quick: bool) -> dict[str, float]:
    from study.api import run_study
    from study.config import StudyConfig

    with tempfile.TemporaryDirectory() as storage:
        config = StudyConfig.model_validate(
            {
                "name": "bench",
                "storage": storage,
                "configs": points,
                "space": "adaptive_noise",
                "train": _study_train(quick),
            }
        )
        summary = run_study(config)
        failed = [trial for trial in summary.trials if trial.state == "failed"]
        values = [trial.metrics.get("best_val_accuracy") or 0.0 for trial in summary.trials]
        return {"failed": len(failed), "best": max(values, default=0.0)}


def stock_study(*, points: list[dict[str, Any]], quick: bool) -> dict[str, float]:
    """Run them with the conventional loop under stock Tune, baseline runs included."""
    import ray
    from ray import tune

    from trainables.config import DataConfig, TrainConfig, apply_overrides
    from trainables.data.image_sets import load_dataset

    base = TrainConfig.model_validate(_study_train(quick))

    def train(config: Mapping[str, Any]) -> None:
        from benchmarks.conventional import ConventionalRun
        from benchmarks.replay import numbers_of

        run_config = apply_overrides(base, config["index"])
        dataset = load_dataset(DataConfig.model_validate(base.data.model_dump()))
        inner = slice(dataset.pad, dataset.pad + 32)
        run = ConventionalRun(
            run_config,
            (dataset.train_images[:, inner, inner], dataset.train_labels),
            (dataset.val_images, dataset.val_labels),
            workers=0,
        )
        best = 0.0
        for row in run.epochs():
            best = max(best, row.val_accuracy)
            tune.report({**numbers_of(row.to_dict()), "best_val_accuracy": best})

    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    configs = [{"noise/policy": "on_stagnation", **point} for point in points]
    # Ours trains the baseline on two seeds, and so must whoever wants to compare.
    configs += [{"noise/policy": "off", "seed": seed} for seed in (0, 1)]
    with tempfile.TemporaryDirectory() as storage:
        results = _stock_tuner(train, Path(storage), len(configs), configs).fit()
        values = [result.metrics.get("best_val_accuracy", 0.0) for result in results]
    failed = len(results.errors)
    ray.shutdown()
    return {"failed": failed, "best": max(values)}


def _trial_overhead(options: Options) -> Measured:
    trials = 4 if options.quick else 64
    pairs = []
    for _ in range(options.rounds):
        a = call("benchmarks.study_rows:our_replay", trials=trials, early_stopping=False)
        b = call("benchmarks.study_rows:stock_replay", ours=False, trials=trials)
        pairs.append((a["seconds"] / trials, b / trials))
    return Measured(
        pairs,
        f"{trials} trials of {EPOCHS} reports; ours includes the baseline's run, the summary and "
        "the wait until MLflow has everything",
    )


def _study_vs_stock(options: Options) -> Measured:
    count = 2 if options.quick else 16
    points = call("benchmarks.study_rows:study_points", count=count, quick=options.quick)
    pairs: list[Pair] = []
    best = []
    for _ in range(options.rounds):
        took = []
        for ours in (True, False):
            name = "our_study" if ours else "stock_study"
            began = time.perf_counter()
            result = call(
                f"benchmarks.study_rows:{name}", ours=ours, points=points, quick=options.quick
            )
            took.append(time.perf_counter() - began)
            if result["failed"]:
                raise RuntimeError(f"{name}: {result['failed']:.0f} trials failed")
            best.append(result["best"])
        pairs.append((took[0], took[1]))
    return Measured(
        pairs,
        "wall time from the start of the process to its end; ours forks, as it does by "
        f"default. Best validation accuracy {best[0]:.3f} and {best[1]:.3f}. Of ours, by "
        "the times in the ledger, a quarter is no training: the start of Ray and its workers, and "
        "the end",
    )


def _scale_trials(options: Options) -> Measured:
    large, small = (8, 4) if options.quick else (options.scale_trials, 100)
    target = "benchmarks.study_rows:our_replay"
    b = call(target, trials=small, early_stopping=True)
    a = call(target, trials=large, early_stopping=True)
    share = a["sampler"] / a["seconds"]
    return Measured(
        [(1e3 * a["seconds"] / large, 1e3 * b["seconds"] / small)],
        f"{large} trials against {small}, {EPOCHS} epochs, early stopping on; of the large study's "
        f"time the sampler (TPE) takes {share:.0%} ({1e3 * a['sampler'] / large:.1f} ms a trial; "
        f"{1e3 * b['sampler'] / small:.1f} ms in the small one), the searcher with it "
        f"{a['searcher'] / a['seconds']:.0%}",
    )


BENCHMARKS = (
    Benchmark("trial_overhead", "s/trial", Goal(0.06, "<=", "ours"), "other/ours", _trial_overhead),
    Benchmark("study_vs_stock", "s", Goal(12.0, ">="), "other/ours", _study_vs_stock),
    Benchmark("scale_trials", "ms/trial", Goal(2.5, "<="), "ours/other", _scale_trials),
)
