"""How a classifier is trained: against plain loops, resumed, forked, and what is evaluated."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.support.runs import (
    EAGER,
    NOISES,
    baseline_config,
    device_data,
    run,
    same_weights,
    small_config,
    training,
)
from trainables.checkpoint import load_state, save_state
from trainables.config import TrainConfig
from trainables.data.augmentation import make_augmentation
from trainables.evaluation import evaluate
from trainables.loop import train_epochs, weights_of
from trainables.lr_schedule import Schedule
from trainables.metrics import EpochMetrics
from trainables.models.registry import build_model
from trainables.noise.fork import baseline_digest
from trainables.random_streams import stream_seed
from trainables.tasks.image_task import ImageTraining

OWN = "tests.support.own_recipes"
RECIPES: dict[str, dict[str, Any]] = {
    "SGD without Nesterov": {"optimizer": {"nesterov": False}},
    "AdamW": {"optimizer": {"optimizer": "AdamW", "lr": 0.002}},
    "one-cycle and warm-up": {
        "optimizer": {"lr_schedule": "one-cycle", "lr_warmup_epochs": 1.5},
    },
    "step": {"optimizer": {"lr_schedule": "step", "lr_step_epochs": 1, "lr_step_factor": 0.5}},
    "constant": {"optimizer": {"lr_schedule": "constant", "lr_warmup_fraction": 0.3}},
    "clipped": {"optimizer": {"clip_norm": 0.5}},
    "smoothed": {"optimizer": {"label_smoothing": 0.1}},
    "averaged": {"optimizer": {"ema": 0.95}},
    "accumulated": {"optimizer": {"accumulate": 4}},
    # Batches of 32: the last slice is smaller.
    "sliced": {"slice": 5},
    "accumulated in slices": {"optimizer": {"accumulate": 2}, "slice": 15},
    "trivial": {"data": {"augment": "trivial"}},
    "own": {
        "data": {"augment": f"{OWN}:erase"},
        "optimizer": {
            "optimizer": f"{OWN}:SignMomentum",
            "lr": 0.001,
            "lr_schedule": f"{OWN}:inverse_root",
        },
    },
    "all": {
        "data": {"augment": f"{OWN}:jittered"},
        "model": {"classifier": "tests.support.runs:net_with_state"},
        "optimizer": {
            "optimizer": "AdamW",
            "lr": 0.002,
            "lr_schedule": "one-cycle",
            "lr_warmup_epochs": 1,
            "clip_norm": 1.0,
            "label_smoothing": 0.1,
            "ema": 0.9,
            "accumulate": 2,
        },
    },
}


def config_of(recipe: str, noise: dict[str, Any] | None = None) -> TrainConfig:
    """A small run trained so, whose noise may begin after two epochs."""
    return small_config(noise, **RECIPES[recipe])


@pytest.mark.parametrize("recipe", RECIPES)
def test_resumed_and_forked_runs_equal_those_from_epoch_0(recipe: str, tmp_path: Path) -> None:
    config = config_of(recipe, EAGER)
    whole, end = run(config)
    begins = next(row.epoch for row in whole if row.injected)
    assert 0 < begins < 4
    for source, epochs in ((config, 4), (baseline_config(config), begins)):
        first = training(source)
        for _ in range(epochs):
            first.run_epoch()
        save_state(tmp_path / "run.ckpt", first.state_dict())
        torch.manual_seed(77)
        second = training(config)
        second.load_state_dict(load_state(tmp_path / "run.ckpt"))
        list(train_epochs(second))
        assert second.history == whole
        assert same_weights(second, end)
        assert second.test_figures() == end.test_figures()


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_is_another_training_with_a_digest_of_its_own(recipe: str) -> None:
    plain, changed = small_config(), config_of(recipe)
    assert baseline_digest(plain) != baseline_digest(changed)
    assert run(plain)[0] != run(changed)[0]


# --- against a plain loop --------------------------------------------------------------------


def by_hand(config: TrainConfig) -> ImageTraining:
    """The run of "all", without a network's state, as a plain loop of torch's own parts.

    Returns:
        a fresh training whose model has the loop's weights.
    """
    settings, data = config.optimizer, device_data(config)
    torch.manual_seed(stream_seed(config.seed, "init"))
    model = build_model(config.model.classifier, 10).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    steps, step = data.steps_per_epoch(32), 0
    schedule = Schedule(settings, steps_per_epoch=steps, epochs=config.epochs)
    augment = make_augmentation(config.data)
    for epoch in range(config.epochs):
        torch.manual_seed(stream_seed(config.seed, "model", epoch))
        for images, labels in data.train_batches(config.seed, epoch, 32, augment):
            optimizer.zero_grad()
            for x, y in zip(images.chunk(2), labels.chunk(2), strict=True):
                loss = F.cross_entropy(model(x), y, label_smoothing=settings.label_smoothing)
                (loss / 2).backward()
            assert settings.clip_norm is not None
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            for group in optimizer.param_groups:
                group["lr"] = schedule(step)
            optimizer.step()
            step += 1
    under_way = training(config)
    under_way.model.load_state_dict(model.state_dict())
    return under_way


def test_all_of_it_equals_a_plain_loop() -> None:
    recipe = {key: dict(value) for key, value in RECIPES["all"].items() if key != "model"}
    config = small_config(**recipe)
    _, ours = run(config)
    theirs = by_hand(config).model.state_dict()
    for name, tensor in ours.model.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=2e-4, atol=2e-6)


def test_noise_is_added_to_clipped_gradients_and_the_norm_is_that_before() -> None:
    always = {"policy": "always", "kind": "gradient", "magnitude": 0.7, "scaling": "absolute"}
    free = training(small_config(always))
    clipped = training(small_config(always, optimizer={"clip_norm": 0.01}))
    seen: list[float] = []
    for under_way in (free, clipped):
        parameters = under_way.parameters
        step = under_way.optimizer.step

        def watched(parameters: list[Any] = parameters, step: Any = step) -> None:
            seen.append(float(torch.cat([p.grad.flatten() for p in parameters]).std()))
            step()

        under_way.optimizer.step = watched  # type: ignore[method-assign]
        under_way.run_epoch()
    rows = [under_way.history[0] for under_way in (free, clipped)]
    # What the signals read is not clipped; what is left of the gradient does not hide the noise.
    assert min(row.grad_norm for row in rows) > 0.5
    assert all(std == pytest.approx(0.7, rel=0.02) for std in seen[len(seen) // 2 :])


def test_clipping_holds_the_norm_that_the_optimizer_gets() -> None:
    under_way = training(small_config(optimizer={"clip_norm": 0.3}))
    norms: list[float] = []
    step = under_way.optimizer.step

    def watched() -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in under_way.parameters]).norm()))
        step()

    under_way.optimizer.step = watched  # type: ignore[method-assign]
    row = under_way.run_epoch()
    assert max(norms) <= 0.3 + 1e-5
    assert row.grad_norm > 0.3


def test_accumulated_passes_are_the_step_of_the_whole_batch() -> None:
    """BabyCNN has no BatchNorm: only rounding differs."""
    whole, _ = run(small_config())
    parts, _ = run(small_config(optimizer={"accumulate": 4}))
    for one, other in zip(whole, parts, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-3)
        assert other.lr == one.lr


KINDS = {**NOISES, "gradient": {"policy": "always", "kind": "gradient", "magnitude": 0.5}}


def first_gradients(config: TrainConfig) -> tuple[list[torch.Tensor], EpochMetrics]:
    """What the optimizer gets in the first step, noise included, and the row of its epoch."""
    under_way = training(config)
    seen: list[list[torch.Tensor]] = []
    step = under_way.optimizer.step

    def watched() -> None:
        seen.append([p.grad.clone() for p in under_way.parameters if p.grad is not None])
        step()

    under_way.optimizer.step = watched  # type: ignore[method-assign]
    row = under_way.run_epoch()
    return seen[0], row


def assert_same_gradients(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """But for rounding, by which one image's largest of a pool may be another pixel.

    Which it is depends on the processor. A slice that counts wrongly is off by far more.
    """
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm()) <= 0.02 * float(other.norm())


@pytest.mark.parametrize("classifier", ["BabyCNN", "TinyCNN", "DeepMLP"])
@pytest.mark.parametrize("size", [1, 5, 16, 31])
def test_slices_give_the_gradient_of_the_whole_batch(classifier: str, size: int) -> None:
    fields: dict[str, Any] = {"model": {"classifier": classifier}, "epochs": 2}
    whole, row = first_gradients(small_config(optimizer={"label_smoothing": 0.1}, **fields))
    sliced, its_row = first_gradients(
        small_config(optimizer={"label_smoothing": 0.1}, slice=size, **fields)
    )
    assert_same_gradients(sliced, whole)
    for name in ("train_loss", "grad_norm", "weight_update_norm", "val_loss"):
        assert getattr(its_row, name) == pytest.approx(getattr(row, name), rel=2e-3)
    assert its_row.train_accuracy == pytest.approx(row.train_accuracy, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("permanent", [False, True])
def test_noise_is_drawn_once_a_batch_whatever_its_slices(kind: str, permanent: bool) -> None:
    noise = {**KINDS[kind], "permanent": permanent and kind == "weight"}
    whole, row = first_gradients(small_config(noise, epochs=5))
    sliced, its_row = first_gradients(small_config(noise, epochs=5, slice=5))
    assert_same_gradients(sliced, whole)
    assert its_row.train_loss == pytest.approx(row.train_loss, rel=2e-3)


@pytest.mark.parametrize("kind", ["gradient", "weight", "input", "label"])
def test_noise_of_no_strength_leaves_a_sliced_baseline_as_it_is(kind: str) -> None:
    history, end = run(small_config({"policy": "always", "kind": kind, "magnitude": 0.0}, slice=5))
    baseline, its_end = run(small_config(slice=5))
    assert same_weights(end, its_end)
    for one, other in zip(history, baseline, strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "grad_norm"):
            assert getattr(one, name) == getattr(other, name)


def test_a_slice_that_holds_the_batch_is_the_batch() -> None:
    whole, end = run(small_config())
    for size in (32, 1000):
        sliced, its_end = run(small_config(slice=size))
        assert sliced == whole
        assert same_weights(its_end, end)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_every_kind_goes_with_all_of_it(kind: str) -> None:
    history, _ = run(config_of("all", NOISES[kind]))
    assert any(row.injected for row in history)
    assert all(row.finite for row in history)


# --- what is smoothed, and what is evaluated -------------------------------------------------


def test_smoothing_is_of_the_training_loss_alone() -> None:
    smoothed = training(small_config(optimizer={"label_smoothing": 0.3, "lr": 1e-12}))
    plain = training(small_config(optimizer={"lr": 1e-12}))
    one, other = smoothed.run_epoch(), plain.run_epoch()
    # Hardly anything is trained: the same logits, other losses in training alone.
    assert one.val_loss == pytest.approx(other.val_loss, abs=1e-6)
    assert abs(one.train_loss - other.train_loss) > 1e-4


def test_the_average_is_what_is_validated_tested_and_kept(tmp_path: Path) -> None:
    config = small_config(optimizer={"ema": 0.8}, clean_gap=True)
    history, end = run(config)
    assert end.task.average is not None
    assert end.evaluated is end.task.average.model
    found = evaluate(end.evaluated, end.data.eval_batches("val"), 10, per_class=False)
    assert history[-1].val_loss == found.loss
    trained = evaluate(end.model, end.data.eval_batches("val"), 10, per_class=False)
    assert trained.loss != found.loss
    figures = end.test_figures()
    tested = evaluate(end.evaluated, end.data.eval_batches("test"), 10, per_class=False)
    assert figures["final_test_loss"] == tested.loss
    save_state(tmp_path / "run.ckpt", end.state_dict())
    stored = weights_of(load_state(tmp_path / "run.ckpt"), "final")
    assert stored is not None
    for name, tensor in end.evaluated.state_dict().items():
        assert torch.equal(stored[0][name], tensor)
    # It changes nothing of the training itself.
    plain, other = run(small_config(clean_gap=True))
    assert [row.train_loss for row in plain] == [row.train_loss for row in history]
    assert [row.weight_update_norm for row in plain] == [r.weight_update_norm for r in history]
    assert same_weights(other, end)
