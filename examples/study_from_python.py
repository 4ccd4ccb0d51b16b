"""A study from Python: a pinned baseline, four trials of static noise, a race, what they gained."""

from study.api import run_study
from study.config import StudyConfig
from trainables.config import DataConfig, OptimizerConfig, TrainConfig

config = StudyConfig(
    name="from-python",
    trials=4,
    race_seeds=4,
    space="static_noise",
    train=TrainConfig(
        data=DataConfig(dataset="digits", batch_size=64),
        optimizer=OptimizerConfig(lr=0.01, lr_restart_period=5),
        epochs=5,
    ),
)
summary = run_study(config)
for trial in summary.trials:
    print(trial.trial_id, trial.state, trial.value, trial.mean_difference, trial.n)
