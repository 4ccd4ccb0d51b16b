"""One run of the training loop: no files, no Ray, no MLflow; the statistics of each epoch."""

from trainables.config import DataConfig, OptimizerConfig, TrainConfig
from trainables.data.device_data import DeviceData
from trainables.data.image_sets import load_dataset
from trainables.epochs import epoch_number
from trainables.loop import train_epochs
from trainables.noise_config import NoiseConfig
from trainables.tasks.image_task import ImageTraining

config = TrainConfig(
    data=DataConfig(dataset="digits", batch_size=64),
    optimizer=OptimizerConfig(lr_restart_period=8),
    noise=NoiseConfig(policy="on_stagnation", warmup_epochs=2, window=2, trigger_epochs=1),
    epochs=8,
)
training = ImageTraining(config, DeviceData(load_dataset(config.data), config.device))
for row in train_epochs(training):
    print(
        epoch_number(row.epoch),
        row.noise_phase,
        row.noise_kind,
        round(row.val_accuracy, 4),
        *row.signals,
    )
test = training.evaluate_best("test")
best = epoch_number(training.best.row.epoch) if training.best else None
print(f"best epoch {best}, test {test.accuracy:.4f}")
