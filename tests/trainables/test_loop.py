"""The loop: against a plain loop, against itself interrupted, against its baseline."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.support.runs import EAGER, device_data, run, same_weights, small_config, training
from trainables.checkpoint import load_state, save_state
from trainables.config import OptimizerConfig
from trainables.data.image_sets import load_dataset
from trainables.epoch_details import Detail
from trainables.loop import train_epochs
from trainables.lr_schedule import learning_rate
from trainables.metrics import objective_value
from trainables.models.registry import build_model
from trainables.noise.fork import annotate
from trainables.random_streams import generator, stream_seed
from trainables.tasks.image_task import ImageTraining, clean_images


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_policy_off_equals_a_plain_loop_without_a_controller(optimizer: str) -> None:
    config = small_config(optimizer={"optimizer": optimizer, "lr": 0.01, "lr_restart_period": 2})
    history, ours = run(config)

    data = device_data(config)
    torch.manual_seed(stream_seed(config.seed, "init"))
    model = build_model("BabyCNN", 10).to(memory_format=torch.channels_last)
    if optimizer == "SGD":
        plain: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3
        )
    else:
        plain = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-3)
    step = 0
    for epoch in range(config.epochs):
        losses = []
        model.train()
        for images, labels in data.train_batches(config.seed, epoch, 32):
            for group in plain.param_groups:
                group["lr"] = learning_rate(
                    OptimizerConfig(lr=0.01, lr_restart_period=2),
                    step,
                    steps_per_epoch=data.steps_per_epoch(32),
                    epochs=5,
                )
            plain.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            plain.step()
            losses.append(loss.item())
            step += 1
        assert history[epoch].train_loss == sum(losses) / len(losses)
        assert history[epoch].lr == plain.param_groups[0]["lr"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, ours.model.state_dict()[name]), name


def test_statistics_are_the_methods() -> None:
    config = small_config(epochs=1)
    under_way = training(config)
    before = [p.detach().clone() for p in under_way.parameters]
    norms: list[float] = []

    def on_step(done: int, steps: int) -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in under_way.parameters]).norm()))  # type: ignore[union-attr]

    row = under_way.run_epoch(on_step)
    update = torch.cat(
        [(p - b).flatten() for p, b in zip(under_way.parameters, before, strict=True)]
    )
    assert row.grad_norm == pytest.approx(sum(norms) / len(norms), rel=1e-5)
    assert row.weight_update_norm == pytest.approx(float(update.norm()), rel=1e-5)
    images, labels = zip(*device_data(config).eval_batches("val"), strict=True)
    under_way.model.eval()
    with torch.no_grad():
        logits = under_way.model(torch.cat(images))
    assert row.val_loss == pytest.approx(float(F.cross_entropy(logits, torch.cat(labels))))
    assert row.val_accuracy == pytest.approx(
        float((logits.argmax(1) == torch.cat(labels)).float().mean())
    )


@pytest.mark.parametrize(
    "noise",
    [
        {},
        EAGER,
        EAGER | {"distribution": "uniform", "schedule": "cosine"},
        EAGER | {"scaling": "step", "magnitude_min": 0.1},
        {"policy": "always", "kind": "gradient", "magnitude": 0.3},
        {"policy": "always", "kind": "weight", "magnitude": 0.1},
        {"policy": "always", "kind": "weight", "magnitude": 0.01, "permanent": True},
        {"policy": "always", "kind": "input", "magnitude": 0.3},
        {"policy": "always", "kind": "label", "magnitude": 0.3},
    ],
)
@pytest.mark.parametrize("interrupted_after", [1, 3])
def test_a_resumed_run_equals_the_uninterrupted_one(
    noise: dict[str, Any], interrupted_after: int, tmp_path: Path
) -> None:
    config = small_config(noise)
    whole, end = run(config)

    first = training(config)
    for _ in range(interrupted_after):
        first.run_epoch()
    save_state(tmp_path / "run.ckpt", first.state_dict())
    second = training(config)
    second.load_state_dict(load_state(tmp_path / "run.ckpt"))
    list(train_epochs(second))

    assert second.history == whole
    assert same_weights(second, end)
    assert second.best is not None
    assert end.best is not None
    assert second.best.row == end.best.row
    for name, tensor in end.best.weights.items():
        assert torch.equal(tensor, second.best.weights[name])


def test_the_same_run_twice_is_bit_identical_and_another_seed_is_not() -> None:
    one, end = run(small_config(EAGER))
    two, again = run(small_config(EAGER))
    assert one == two
    assert same_weights(end, again)
    assert run(small_config(EAGER, seed=1))[0] != one


@pytest.mark.parametrize("warmup", [0, 2, 3])
def test_a_trial_equals_its_baseline_up_to_its_first_injection(warmup: int) -> None:
    noise = EAGER | {"warmup_epochs": warmup}
    config = small_config(noise)
    baseline, _ = run(small_config())
    trial, _ = run(config)
    begins = next(row.epoch for row in trial if row.injected)
    assert begins == max(warmup, 2)
    assert tuple(trial[:begins]) == annotate(baseline[:begins], config.noise, config.epochs)
    assert trial[begins].train_loss != baseline[begins].train_loss


def test_noise_of_each_kind_changes_training_and_is_recorded() -> None:
    baseline, _ = run(small_config(epochs=1))
    for kind in ("gradient", "weight", "input", "label"):
        config = small_config({"policy": "always", "kind": kind, "magnitude": 0.2}, epochs=1)
        under_way = training(config, detail=Detail(noise_norms=True))
        (row,) = train_epochs(under_way)
        assert (row.noise_kind, row.noise_magnitude, row.noise_phase) == (kind, 0.2, "injecting")
        assert row.val_loss != baseline[0].val_loss
        assert under_way.details is not None
        record = under_way.details.noise
        if kind == "label":
            assert record is None
        else:
            assert record is not None
            # Relative noise of 0.2 adds a fifth of the norm at a right angle, nearly.
            assert record.after / record.before == pytest.approx((1 + 0.2**2) ** 0.5, rel=0.02)


def test_noise_of_scaling_step_moves_the_weights_by_that_multiple_of_their_initial_size() -> None:
    # A rate that stays: the noise alone moves the weights, by u · RMS a step, times the square
    # root of the steps.
    optimizer = {"lr": 0.02, "momentum": 0.0, "weight_decay": 0.0, "lr_restart_period": 10**6}
    noise = {"policy": "always", "kind": "gradient", "scaling": "step", "magnitude": 2.0}
    config = small_config(noise, epochs=2, optimizer=optimizer)
    under_way = training(config)
    initial = torch.cat([p.detach().flatten() for p in under_way.parameters])
    rms = float(initial.square().mean().sqrt())
    expected = 2.0 * rms * (under_way.steps_per_epoch * initial.numel()) ** 0.5
    for row in train_epochs(under_way):
        # By the weights at the run's start, though they have grown since.
        assert row.weight_update_norm == pytest.approx(expected, rel=0.05)


def test_momentum_counts_in_scaling_step() -> None:
    noise = {"policy": "always", "kind": "gradient", "scaling": "step", "magnitude": 0.5}
    steps = [
        training(small_config(noise, optimizer={"momentum": momentum})) for momentum in (0.0, 0.75)
    ]
    sizes = [one.perturbed.parameters.gradient_unit for one in steps]
    assert sizes[0] == pytest.approx(4 * sizes[1])


def test_grad_norm_does_not_read_its_own_noise() -> None:
    quiet, _ = run(small_config({"policy": "always", "magnitude": 0.0}, epochs=1))
    base, _ = run(small_config(epochs=1))
    assert quiet[0].grad_norm == base[0].grad_norm

    def first_norm(magnitude: float) -> float:
        config = small_config(
            {"policy": "always", "magnitude": magnitude},
            epochs=1,
            data={"synthetic_train": 80, "batch_size": 64},
        )
        return run(config)[0][0].grad_norm

    # One step an epoch: its gradient is taken before any noise, however strong.
    assert first_norm(5.0) == first_norm(0.0)


def test_layers_limit_the_noise() -> None:
    config = small_config(
        {"policy": "always", "kind": "weight", "magnitude": 0.5, "layers": ["fc"]}, epochs=1
    )
    under_way = training(config, detail=Detail(noise_norms=True))
    under_way.run_epoch()
    assert under_way.details is not None
    assert under_way.details.noise is not None
    assert set(under_way.details.noise.layers) == {"fc1.weight", "fc1.bias"}


def test_the_best_weights_are_those_of_the_best_validation_epoch() -> None:
    _, end = run(small_config(EAGER, optimizer={"lr": 0.1, "lr_restart_period": 5}))
    assert end.best is not None
    best = end.best.row
    assert best.val_accuracy == max(row.val_accuracy for row in end.history)
    result = end.evaluate_best("val")
    assert (result.accuracy, result.loss) == (best.val_accuracy, best.val_loss)


NETWORK = "tests.support.runs:net_with_state"


@pytest.mark.parametrize("noise", [EAGER, {"policy": "always", "kind": "label", "magnitude": 0.3}])
def test_measuring_the_clean_gap_changes_no_other_number(noise: dict[str, Any]) -> None:
    fields = {"epochs": 12, "model": {"classifier": NETWORK}}
    without, end = run(small_config(noise, **fields))
    measured, same_end = run(small_config(noise, clean_gap=True, **fields))
    assert [dataclasses.replace(row, clean_train_accuracy=None) for row in measured] == without
    assert same_weights(end, same_end)
    # The objective needs the last ten epochs only.
    known = [row.epoch for row in measured if row.clean_train_accuracy is not None]
    assert known == list(range(2, 12))
    assert all("clean_train_accuracy" not in row.to_dict() for row in without)


def test_weight_noise_in_the_last_epoch_looks_like_a_gain_but_not_by_the_clean_gap() -> None:
    settings: dict[str, Any] = {"data": {"synthetic_train": 600}, "clean_gap": True}
    settings["optimizer"] = {"lr": 0.02, "lr_restart_period": 1}
    loud = {"policy": "planned", "plan": [[4, "weight", 2.0]], "scaling": "relative"}
    config = small_config(loud, **settings)
    history, end = run(config)
    last, before = history[-1], history[-2]
    assert last.train_accuracy < before.train_accuracy - 0.2
    # By hand: the weights as they are left, images and labels as they are in the file.
    dataset = load_dataset(config.data)
    count = clean_images(len(dataset.train_labels), config.epochs)
    chosen = [number * len(dataset.train_labels) // count for number in range(count)]
    assert len(set(chosen)) == count
    pad = dataset.pad
    pixels = torch.tensor(dataset.train_images[chosen])[:, pad : pad + 32, pad : pad + 32]
    images = (pixels.float() / 255 - torch.tensor(dataset.mean)) / torch.tensor(dataset.std)
    with torch.inference_mode():
        logits = end.model.eval()(images.permute(0, 3, 1, 2))
    right = (logits.argmax(1) == torch.tensor(dataset.train_labels[chosen])).float().mean()
    assert last.clean_train_accuracy == pytest.approx(float(right))
    clean = [row.clean_train_accuracy for row in history]
    assert None not in clean
    expected = sum(c - row.val_accuracy for c, row in zip(clean, history, strict=True)) / 5  # type: ignore[operator]
    assert objective_value("generalization_gap", history) == pytest.approx(expected)


def test_a_fork_has_its_baselines_clean_figures(tmp_path: Path) -> None:
    late = EAGER | {"warmup_epochs": 3}
    whole, end = run(small_config(late, clean_gap=True))
    first = next(row.epoch for row in whole if row.injected)
    assert first >= 3
    baseline = training(small_config(clean_gap=True))
    for _ in range(first):
        baseline.run_epoch()
    save_state(tmp_path / "fork.ckpt", baseline.state_dict())
    forked = training(small_config(late, clean_gap=True))
    forked.load_state_dict(load_state(tmp_path / "fork.ckpt"))
    list(train_epochs(forked))
    assert forked.history == whole
    assert same_weights(forked, end)
    assert None not in [row.clean_train_accuracy for row in whole]


@pytest.mark.parametrize("train_images", [1, 7, 300, 45_000])
@pytest.mark.parametrize("epochs", [1, 5, 10, 30, 100, 1000])
def test_the_clean_gap_evaluates_three_and_a_half_per_cent_of_the_images_at_most(
    train_images: int, epochs: int
) -> None:
    count = clean_images(train_images, epochs)
    assert 1 <= count <= train_images
    evaluated = count * min(epochs, 10)
    assert count == 1 or evaluated <= 0.035 * epochs * train_images
    # No fewer than that allows, but for what is left over in dividing.
    assert count == train_images or evaluated > 0.035 * epochs * train_images - 10


def test_a_checkpoint_of_another_run_is_refused() -> None:
    one = training(small_config())
    other = training(small_config(seed=7))
    with pytest.raises(ValueError, match="other settings"):
        other.load_state_dict(one.state_dict())


def test_details_hold_what_was_asked_for() -> None:
    detail = Detail(per_class=True, train_per_class=True, optimizer_norms=True)
    under_way = training(small_config(epochs=1), detail=detail)
    row = under_way.run_epoch()
    found = under_way.details
    assert found is not None
    assert found.train_per_class is not None
    assert len(found.train_per_class) == 10
    counts = under_way.steps_per_epoch * 32
    accuracies = [entry[0] for entry in found.train_per_class if entry is not None]
    assert min(accuracies) <= row.train_accuracy <= max(accuracies)
    assert counts == 256
    assert found.optimizer_norms["momentum"] > 0


def test_metrics_survive_json() -> None:
    history, _ = run(small_config(EAGER))
    for row in history:
        assert dataclasses.replace(row) == type(row).from_dict(row.to_dict())


def test_bf16_runs_and_differs() -> None:
    base, _ = run(small_config(epochs=1))
    low, _ = run(small_config(epochs=1, precision="bf16"))
    assert low[0].train_loss != base[0].train_loss
    assert low[0].train_loss == pytest.approx(base[0].train_loss, rel=0.05)


def test_bf16_trains_as_fp32_does_with_all_that_a_step_may_have() -> None:
    more = {"clip_norm": 0.5, "accumulate": 2, "label_smoothing": 0.1, "ema": 0.9}
    base, low = (
        run(small_config(epochs=2, precision=precision, optimizer=dict(more)))[0]
        for precision in ("fp32", "bf16")
    )
    assert [row.train_loss for row in low] != [row.train_loss for row in base]
    for a, b in zip(base, low, strict=True):
        assert b.train_loss == pytest.approx(a.train_loss, rel=0.05)
        assert b.val_loss == pytest.approx(a.val_loss, rel=0.05)
        assert b.grad_norm == pytest.approx(a.grad_norm, rel=0.1)


def test_training_reports_progress_by_step() -> None:
    seen: list[tuple[int, int]] = []
    under_way: ImageTraining = training(small_config(epochs=1))
    under_way.run_epoch(lambda done, steps: seen.append((done, steps)))
    steps = under_way.steps_per_epoch
    assert seen == [(done, steps) for done in range(1, steps + 1)]


@pytest.mark.parametrize("distribution", ["gaussian", "uniform"])
@pytest.mark.parametrize(
    ("kind", "permanent"),
    [("gradient", False), ("weight", False), ("weight", True), ("input", False), ("label", False)],
)
def test_a_noisy_epoch_equals_a_plain_loop_that_adds_the_noise_by_hand(
    kind: str, permanent: bool, distribution: str
) -> None:
    # Where the noise goes in, what sees it and what the statistics are taken of, step by step.
    noise = {"policy": "always", "kind": kind, "magnitude": 0.3, "permanent": permanent}
    config = small_config(noise | {"distribution": distribution}, epochs=1)
    history, ours = run(config)

    data = device_data(config)
    torch.manual_seed(stream_seed(config.seed, "init"))
    model = build_model("BabyCNN", 10).to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9, nesterov=True, weight_decay=1e-3)
    random = generator(config.seed, "noise", 0)

    def drawn(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Noise of standard deviation 0.3 · RMS for each tensor, all of one draw."""
        flat = torch.empty(sum(t.numel() for t in tensors))
        if distribution == "gaussian":
            flat.normal_(0.0, 1.0, generator=random)
        else:
            flat.uniform_(-(3**0.5), 3**0.5, generator=random)
        pieces = flat.split([t.numel() for t in tensors])
        return [
            0.3 * t.detach().pow(2).mean().sqrt() * piece.as_strided(t.shape, t.stride())
            for t, piece in zip(tensors, pieces, strict=True)
        ]

    start = [p.detach().clone() for p in parameters]
    losses, norms, hits = [], [], 0
    steps = data.steps_per_epoch(32)
    settings = OptimizerConfig(lr=0.02, lr_restart_period=5)
    for step, (images, labels) in enumerate(data.train_batches(config.seed, 0, 32)):
        rate = learning_rate(settings, step, steps_per_epoch=steps, epochs=1)
        optimizer.param_groups[0]["lr"] = rate
        clean = [p.detach().clone() for p in parameters]
        shown, targets = images, labels
        if kind == "label":
            chosen = torch.rand(len(labels), generator=random) < 0.3
            targets = torch.where(chosen, torch.randint(10, (32,), generator=random), labels)
        if kind == "input":
            shown = images + drawn([images])[0]
        if kind == "weight":
            with torch.no_grad():
                for p, n in zip(parameters, drawn(parameters), strict=True):
                    p.add_(n)
        optimizer.zero_grad()
        logits = model(shown)
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        if kind == "weight" and not permanent:
            with torch.no_grad():
                for p, c in zip(parameters, clean, strict=True):
                    p.copy_(c)
        gradients = [p.grad for p in parameters if p.grad is not None]
        losses.append(loss.item())
        norms.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        hits += int((logits.argmax(1) == labels).sum())
        if kind == "gradient":
            for g, n in zip(gradients, drawn(gradients), strict=True):
                g.add_(n)
        optimizer.step()

    (row,) = history
    moved = torch.cat([(p - s).flatten() for p, s in zip(parameters, start, strict=True)])
    assert row.train_loss == pytest.approx(sum(losses) / steps, rel=1e-5)
    assert row.train_accuracy == pytest.approx(hits / (32 * steps))
    assert row.grad_norm == pytest.approx(sum(norms) / steps, rel=1e-5)
    assert row.weight_update_norm == pytest.approx(float(moved.detach().norm()), rel=1e-4)
    assert row.lr == pytest.approx(rate)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
