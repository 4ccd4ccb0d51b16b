"""A grid from Python: two learning rates, each with noise and beside its pinned baseline."""

from study.api import run_experiment
from study.campaigns.experiment_grid import ExperimentConfig
from trainables.config import DataConfig, OptimizerConfig, TrainConfig
from trainables.noise_config import NoiseConfig

config = ExperimentConfig(
    name="grid-from-python",
    lrs=(0.01, 0.02),
    distributions=("gaussian",),
    train=TrainConfig(
        data=DataConfig(dataset="digits", batch_size=64),
        optimizer=OptimizerConfig(lr_restart_period=5),
        noise=NoiseConfig(policy="always", kind="weight", magnitude=0.05),
        epochs=5,
    ),
)
result = run_experiment(config)
for run in result.runs:
    print(run.key, run.state, run.figures, run.differences)
