"""``AdaptiveNoise``: a loop of one's own that has it equals the project's loop, bit for bit."""

import copy
import dataclasses
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import multiprocessing as mp
from torch.nn import functional as F

from tests.support.runs import EAGER, device_data, run, same_weights, small_config
from trainables.adaptive_noise import AdaptiveNoise
from trainables.config import TrainConfig
from trainables.errors import InputError
from trainables.lr_schedule import Schedule
from trainables.metrics import EpochMetrics
from trainables.models.registry import build_configured
from trainables.noise.assumed import Assumed
from trainables.optimizers import make_optimizer
from trainables.random_streams import stream_seed

KINDS: list[dict[str, Any]] = [
    {},
    EAGER,
    {"policy": "always", "kind": "gradient", "magnitude": 0.3, "schedule": "cosine"},
    {"policy": "always", "kind": "weight", "magnitude": 0.1, "distribution": "uniform"},
    {"policy": "always", "kind": "weight", "magnitude": 0.02, "permanent": True},
    {"policy": "always", "kind": "input", "magnitude": 0.5},
    {"policy": "always", "kind": "label", "magnitude": 0.3},
    {"policy": "always", "kind": "gradient", "magnitude": 0.1, "scaling": "step"},
    {"policy": "always", "kind": "gradient", "magnitude": 0.1, "layers": ["weight"]},
]


class OwnLoop:
    """What a user would write, in the order of draws of ``noise-train``."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.data = device_data(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "init"))
            self.model = build_configured(config, 10).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(
            config.optimizer, list(self.model.parameters()), torch.device("cpu")
        )
        self.noise = AdaptiveNoise(
            self.model,
            config,
            epochs=config.epochs,
            seed=config.seed,
            optimizer=self.optimizer,
            classes=10,
        )

    def epoch(self) -> EpochMetrics:
        config, steps = self.config, self.data.steps_per_epoch(32)
        epoch = len(self.noise.history)
        schedule = Schedule(config.optimizer, steps_per_epoch=steps, epochs=config.epochs)
        torch.manual_seed(stream_seed(config.seed, "model", epoch))
        self.model.train()
        right = 0
        with self.noise.epoch() as e:
            for step, (x, y) in enumerate(self.data.train_batches(config.seed, epoch, 32)):
                with e.forward(x, y) as (noisy, labels):
                    self.optimizer.zero_grad()
                    logits = self.model(noisy)
                    loss = F.cross_entropy(logits, labels)
                    loss.backward()
                e.before_step(loss)
                schedule.set(self.optimizer, epoch * steps + step)
                self.optimizer.step()
                right += int((logits.argmax(1) == y).sum())
            loss_now, accuracy = self.validate()
            return e.validated(loss_now, accuracy, right / (steps * 32))

    def validate(self) -> tuple[float, float]:
        self.model.eval()
        losses, right, seen = 0.0, 0, 0
        with torch.no_grad():
            for x, y in self.data.eval_batches("val"):
                logits = self.model(x).float()
                losses += float(F.cross_entropy(logits, y, reduction="sum").double())
                right += int((logits.argmax(1) == y).sum())
                seen += len(y)
        return losses / seen, right / seen


@pytest.mark.parametrize("noise", KINDS, ids=lambda noise: "-".join(map(str, noise.values()))[:40])
def test_a_loop_of_ones_own_equals_noise_train(noise: dict[str, Any]) -> None:
    config = small_config(noise)
    history, ours = run(config)
    own = OwnLoop(config)
    for row in history:
        assert _nearly(own.epoch(), row)
    assert same_weights(own, ours)


def _nearly(one: EpochMetrics, other: EpochMetrics) -> bool:
    """Equal, but for the rounding of the validation loss, which each loop sums in its own way."""
    assert one.val_loss == pytest.approx(other.val_loss, rel=1e-6)
    return dataclasses.replace(one, val_loss=other.val_loss) == other


def test_an_interrupted_loop_goes_on_with_the_same_noise() -> None:
    config = small_config({**EAGER, "scaling": "step"})
    whole = OwnLoop(config)
    rows = [whole.epoch() for _ in range(5)]
    first = OwnLoop(config)
    for _ in range(3):
        first.epoch()
    kept = json.loads(json.dumps(first.noise.state_dict()))
    weights = copy.deepcopy((first.model.state_dict(), first.optimizer.state_dict()))
    second = OwnLoop(config)
    second.model.load_state_dict(weights[0])
    second.optimizer.load_state_dict(weights[1])
    second.noise.load_state_dict(kept)
    assert [*second.noise.history, second.epoch(), second.epoch()] == rows
    assert same_weights(second, whole)


# What a small loop on a linear model does, to look at single steps.


class Line:
    """Squared error of a linear model: its gradients are known."""

    def __init__(self, noise: dict[str, Any], **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 1, bias=False)
        self.x, self.y = torch.randn(16, 4), torch.randn(16, 1)
        self.noise = AdaptiveNoise(self.model, noise, epochs=4, **options)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return F.mse_loss(self.model(x), y)

    @property
    def gradient(self) -> Tensor:
        assert self.model.weight.grad is not None
        return self.model.weight.grad.clone()


GRADIENT = {"policy": "always", "kind": "gradient", "magnitude": 0.5, "scaling": "absolute"}
WEIGHT = {"policy": "always", "kind": "weight", "magnitude": 0.5, "scaling": "absolute"}


def test_accumulated_gradients_get_one_draw_a_step() -> None:
    line = Line(GRADIENT)
    with line.noise.epoch() as e:
        for half in (slice(0, 8), slice(8, 16)):
            with e.forward(line.x[half], line.y[half]) as (x, y):
                (line.loss(x, y) / 2).backward()
        clean = line.gradient
        e.before_step(1.0)
        noise = line.gradient - clean
        e.validated(1.0)
    whole = Line(GRADIENT)
    with whole.noise.epoch() as e:
        with e.forward(whole.x, whole.y) as (x, y):
            whole.loss(x, y).backward()
        torch.testing.assert_close(whole.gradient, clean)
        before = whole.gradient
        e.before_step(1.0)
        torch.testing.assert_close(whole.gradient - before, noise)
        e.validated(1.0)


def test_all_micro_batches_of_a_step_see_the_same_noisy_weights_and_the_next_step_others() -> None:
    line = Line(WEIGHT)
    clean = line.model.weight.detach().clone()
    seen = []
    with line.noise.epoch() as e:
        for _ in range(2):
            for _ in range(2):
                with e.forward(line.x, line.y) as (x, y):
                    seen.append(line.model.weight.detach().clone())
                    line.loss(x, y).backward()
                assert torch.equal(line.model.weight, clean)
            e.before_step(1.0)
        e.validated(1.0)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[0], clean)
    assert not torch.equal(seen[0], seen[2])


def test_permanent_noise_is_added_once_a_step() -> None:
    line = Line({**WEIGHT, "permanent": True})
    before = line.model.weight.detach().clone()
    with line.noise.epoch() as e:
        for _ in range(3):
            with e.forward(line.x, line.y) as (x, y):
                line.loss(x, y).backward()
        moved = line.model.weight.detach().clone()
        e.before_step(1.0)
        e.validated(1.0)
    again = Line({**WEIGHT, "permanent": True})
    with again.noise.epoch() as e:
        with e.forward(again.x, again.y) as (x, y):
            again.loss(x, y).backward()
        e.before_step(1.0)
        e.validated(1.0)
    assert torch.equal(moved, again.model.weight)
    assert not torch.equal(moved, before)


def test_inputs_get_one_draw_a_micro_batch() -> None:
    line = Line({"policy": "always", "kind": "input", "magnitude": 0.5, "scaling": "absolute"})
    drawn = []
    with line.noise.epoch() as e:
        for _ in range(2):
            with e.forward(line.x, line.y) as (x, y):
                drawn.append((x - line.x).clone())
                line.loss(x, y).backward()
        e.before_step(1.0)
        e.validated(1.0)
    assert not torch.equal(drawn[0], drawn[1])


def test_the_norm_is_that_before_clipping_and_the_noise_comes_after() -> None:
    line = Line(GRADIENT)
    with line.noise.epoch() as e:
        with e.forward(line.x, line.y) as (x, y):
            line.loss(x, y).backward()
        norm = nn.utils.clip_grad_norm_(line.model.parameters(), 0.01)
        e.before_step(1.0, grad_norm=norm)
        row = e.validated(1.0)
    assert row.grad_norm == pytest.approx(float(norm))
    assert row.grad_norm > 0.01
    assert float(line.gradient.norm()) > 0.1  # the noise is not clipped


def test_a_scalers_gradients_are_unscaled_first_and_its_overflows_left_out() -> None:
    line = Line(GRADIENT)
    optimizer = torch.optim.SGD(line.model.parameters(), lr=0.1)
    line.noise.optimizers = [optimizer]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plain = Line({"policy": "off"})
    plain.loss(plain.x, plain.y).backward()
    with line.noise.epoch() as e:
        for factor in (1.0, math.inf):
            optimizer.zero_grad()
            with e.forward(line.x, line.y) as (x, y):
                loss = line.loss(x, y) * factor
                scaler.scale(loss).backward()
            before = line.model.weight.detach().clone()
            e.before_step(loss, scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
        assert torch.equal(line.model.weight, before)
        row = e.validated(1.0)
    assert row.grad_norm == pytest.approx(float(plain.gradient.norm()), rel=1e-5)
    assert math.isfinite(row.train_loss)


def test_gradients_that_were_unscaled_for_clipping_are_not_unscaled_again() -> None:
    line = Line(GRADIENT)
    optimizer = torch.optim.SGD(line.model.parameters(), lr=0.1)
    line.noise.optimizers = [optimizer]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with line.noise.epoch() as e:
        with e.forward(line.x, line.y) as (x, y):
            scaler.scale(line.loss(x, y)).backward()
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(line.model.parameters(), 0.01)
        e.before_step(1.0, grad_norm=norm, scaler=scaler)
        e.validated(1.0)
    assert float(line.gradient.norm()) < 10


def test_autocast_sees_the_noisy_weights() -> None:
    line = Line({**WEIGHT, "magnitude": 5.0})
    with line.noise.epoch() as e:
        with torch.autocast("cpu", torch.bfloat16):
            clean = line.model(line.x)
            with e.forward(line.x, line.y) as (x, y):
                noisy = line.model(x)
                line.loss(x, y).backward()
            after = line.model(line.x)
        e.before_step(1.0)
        e.validated(1.0)
    assert not torch.equal(clean, noisy)
    assert torch.equal(clean, after)


def test_compiled_models_and_frozen_parameters() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    for parameter in net[0].parameters():
        parameter.requires_grad_(False)
    compiled = torch.compile(net, backend="eager")
    noise = AdaptiveNoise(compiled, {**WEIGHT, "layers": ["2.weight"]}, epochs=2)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    with noise.epoch() as e:
        clean = compiled(x)
        with e.forward(x, y) as (x, y):
            assert not torch.equal(compiled(x), clean)
            F.mse_loss(compiled(x), y).backward()
        assert torch.equal(compiled(x), clean)
        e.before_step(1.0)
        e.validated(1.0)


def test_without_accuracy_the_table_has_gaps_and_decisions_are_explained() -> None:
    line = Line({**EAGER, "magnitude_min": 0.0, "magnitude_extra": 0.0})
    said = []
    for _ in range(4):
        said.append(line.noise.explain())
        with line.noise.epoch() as e:
            with e.forward(line.x, line.y) as (x, y):
                line.model.zero_grad()
                loss = line.loss(x, y)
                loss.backward()
            e.before_step(loss)
            e.validated(loss)
    table = line.noise.table()
    assert table["val_accuracy"].isna().all()
    assert table["train_loss"].notna().all()
    assert "no signal is read before 2 epochs" in said[0]
    assert "gradient noise" in said[2]
    assert "grad_norm_plateau raised" in said[2]
    assert "cooldown" in said[3]
    assert "after the last epoch" in line.noise.explain()


def test_a_baseline_of_the_loop_itself_calibrates_it_and_a_state_goes_on(tmp_path: Path) -> None:
    def trained(line: Line, noise: AdaptiveNoise) -> None:
        for _ in range(noise.epochs):
            with noise.epoch() as e:
                line.model.zero_grad()
                loss = line.loss(line.x, line.y)
                loss.backward()
                e.before_step(loss)
                with torch.no_grad():
                    line.model.weight -= 0.1 * line.gradient
                e.validated(loss)

    plain = Line({"policy": "off"})
    trained(plain, plain.noise)
    plain.noise.table().to_csv(tmp_path / "baseline.csv", index=False)
    found = small_config({**EAGER, "warmup_epochs": 2, "grad_plateau_threshold": 0.2})
    config = found.model_copy(update={"epochs": 8})
    there = [
        dataclasses.replace(row, epoch=2 * row.epoch + half, grad_norm=row.grad_norm / (1 + half))
        for row in plain.noise.history
        for half in (0, 1)
    ]
    known = Assumed.of(config, there)
    (tmp_path / "best_config.json").write_text(config.model_dump_json())
    (tmp_path / "best_config.assumed.json").write_text(known.model_dump_json())
    line = Line({"policy": "off"})
    noise, again = (
        AdaptiveNoise.calibrated(given, line.model, tmp_path / "best_config.json", seed=3)
        for given in (tmp_path / "baseline.csv", plain.noise.history)
    )
    assert noise.epochs == 4
    assert noise.noise.warmup_epochs == 1
    assert "2 -> 1" in str(noise.travelled)
    trained(line, noise)
    again.load_state_dict(json.loads(json.dumps(noise.state_dict())))
    assert [row.grad_norm for row in again.history] == [row.grad_norm for row in noise.history]
    for mismatched in (config.model_copy(update={"epochs": 9}), config.noise):
        with pytest.raises(InputError, match="assumed"):
            AdaptiveNoise.calibrated(plain.noise.history, line.model, mismatched)
    with pytest.raises(InputError, match="epochs = 8, the configuration's are 9"):
        AdaptiveNoise.calibrated(
            plain.noise.history, line.model, config.model_copy(update={"epochs": 9}), assumed=known
        )


# Several processes.


def _rank(rank: int, folder: str, noise: dict[str, Any]) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Linear(4, 3))
    adaptive = AdaptiveNoise(net, noise, epochs=3, classes=3)
    data = torch.Generator().manual_seed(rank)
    x, y = torch.randn(8, 4, generator=data), torch.randint(3, (8,), generator=data)
    seen = []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        with adaptive.epoch() as e:
            optimizer.zero_grad()
            with e.forward(x, y) as (noisy, labels):
                seen.append((noisy.clone() - x, labels.clone()))
                loss = F.cross_entropy(net(noisy), labels)
                loss.backward()
            e.before_step(loss)
            optimizer.step()
            # Only one process validates.
            e.validated(*([float(loss)] if rank == 0 else []))
    torch.save(
        {"weights": net.state_dict(), "rows": adaptive.state_dict()["history"], "seen": seen},
        f"{folder}/rank{rank}.pt",
    )
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # An interpreter that ends may find a thread of gloo's still there, and abort.
    os._exit(0)


@pytest.mark.parametrize("kind", ["gradient", "weight", "input", "label"])
def test_processes_share_gradient_and_weight_noise_and_have_their_own_inputs(
    tmp_path: Path, kind: str
) -> None:
    noise = {"policy": "always", "kind": kind, "magnitude": 0.5, "scaling": "absolute"}
    mp.spawn(_rank, args=(str(tmp_path), noise), nprocs=2)  # type: ignore[no-untyped-call]
    one, other = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert one["rows"] == other["rows"]
    for name, tensor in one["weights"].items():
        assert torch.equal(tensor, other["weights"][name]), name
    if kind == "input":
        assert not torch.equal(one["seen"][0][0], other["seen"][0][0])


# What is refused.

ROW = {
    **dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), 1.0),
    **dict.fromkeys(("grad_norm", "weight_update_norm", "lr"), 1.0),
}


def _embedding(sparse: bool) -> nn.Module:
    return nn.Sequential(nn.Embedding(4, 2, sparse=sparse), nn.Linear(2, 1))


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Line({"policy": "allways"}), "policy = 'allways'"),
    (lambda: Line({**GRADIENT, "layers": ["conv"]}), "noise.layers = 'conv'"),
    (lambda: Line({**GRADIENT, "scaling": "step"}), "optimizer="),
    (lambda: AdaptiveNoise(nn.Linear(2, 2), "nowhere.json", epochs=1), "nowhere.json"),
    (lambda: AdaptiveNoise(nn.Linear(2, 2), GRADIENT, epochs=0), "epochs = 0"),
    (lambda: AdaptiveNoise(nn.ReLU(), GRADIENT, epochs=1), "no trainable parameter"),
    (lambda: AdaptiveNoise(_embedding(True), GRADIENT, epochs=1), "0 has sparse gradients"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cant_be_right_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError) as refusal:
        make()
    assert message in str(refusal.value)


def test_the_steps_unit_is_refused_for_other_optimizers_than_sgd() -> None:
    model = nn.Linear(2, 2)
    step = {**GRADIENT, "scaling": "step"}
    with pytest.raises(InputError, match="not of Adam"):
        AdaptiveNoise(model, step, epochs=1, optimizer=torch.optim.Adam(model.parameters()))
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.2}]
    with pytest.raises(InputError, match="several learning rates"):
        AdaptiveNoise(model, step, epochs=1, optimizer=torch.optim.SGD(groups))


@pytest.mark.parametrize(
    ("kind", "x", "y", "message"),
    [
        ("input", torch.zeros(2, 4, dtype=torch.int64), None, "torch.int64"),
        ("input", {"ids": 1}, None, "dict"),
        ("label", None, torch.zeros(2, 1), "int64 or int32, (B,)), not a tensor of torch.float32"),
    ],
)
def test_batches_that_cant_be_perturbed_are_refused_in_the_first_step(
    kind: str, x: Any, y: Any, message: str
) -> None:
    # In a clean epoch already, not when the noise comes.
    plan = {"policy": "planned", "plan": [[3, kind, 0.1]]}
    noise = AdaptiveNoise(nn.Linear(4, 1), plan, epochs=5, classes=3)
    with pytest.raises(InputError, match=re.escape(message)), noise.epoch() as e, e.forward(x, y):
        pass


def test_calls_out_of_order_are_refused() -> None:
    line = Line(GRADIENT)
    with pytest.raises(InputError, match="call before_step after"), line.noise.epoch() as e:
        e.before_step(1.0)
    with pytest.raises(InputError, match="not closed"), line.noise.epoch():
        pass
    with pytest.raises(InputError, match="no step"), line.noise.epoch() as e:
        e.validated(1.0)
    with pytest.raises(InputError, match="under way"), line.noise.epoch():
        line.noise.state_dict()
    assert line.noise.history == ()
    hears = Line({**EAGER, "signals": ["overfitting"]})
    hears.loss(hears.x, hears.y).backward()
    with hears.noise.epoch() as e:
        e.before_step(1.0)
        with pytest.raises(InputError, match="val_loss"):
            e.validated()
        e.validated(1.0)


def test_other_trainable_parameters_are_refused() -> None:
    line = Line(GRADIENT)
    line.model.weight.requires_grad_(False)
    with pytest.raises(InputError, match="trainable parameters"):
        line.noise.epoch()


def test_a_state_of_other_settings_is_refused() -> None:
    state = Line(GRADIENT).noise.state_dict()
    with pytest.raises(InputError, match="noise = "):
        Line(WEIGHT).noise.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: [], "a mapping, not list"),
        (lambda state: {"model": {}}, "it has no noise, epochs, seed, history, gradient_unit"),
        (lambda state: {**state, "history": [3]}, "is damaged"),
        (lambda state: {**state, "history": [{"epoch": 0, "loss": 1.0}]}, "is damaged"),
        (lambda state: {**state, "history": [{**ROW, "epoch": 1}]}, "a part of 4 epochs"),
        (lambda state: {**state, "history": [{**ROW, "epoch": n} for n in range(5)]}, "a part of"),
        (lambda state: {**state, "gradient_unit": "x"}, "is damaged"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(
    change: Callable[[Any], Any], message: str
) -> None:
    noise = Line(GRADIENT).noise
    before = noise.state_dict()
    with pytest.raises(InputError) as refusal:
        noise.load_state_dict(change(before))
    assert message in str(refusal.value)
    assert noise.state_dict() == before


def test_a_state_is_not_loaded_within_an_epoch() -> None:
    line = Line(GRADIENT)
    state = line.noise.state_dict()
    line.loss(line.x, line.y).backward()
    with line.noise.epoch() as e:
        with pytest.raises(InputError, match="load the state between two epochs"):
            line.noise.load_state_dict(state)
        e.before_step(1.0)
        e.validated(1.0)
    line.noise.load_state_dict(state)
    assert line.noise.history == ()


class WithModule(nn.Module):
    """A model with a part that is called what wrappers call the model."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x) + self.weight.sum()


def test_a_part_called_module_keeps_its_name_and_its_noise() -> None:
    for model in (WithModule(), torch.compile(WithModule(), backend="eager")):
        noise = AdaptiveNoise(model, {**GRADIENT, "layers": ["module.weight"]}, epochs=1)
        own = [p for name, p in model.named_parameters() if name.endswith("module.weight")]
        clean = torch.zeros(2, 2)
        with noise.epoch() as e:
            model(torch.zeros(1, 2)).sum().backward()
            e.before_step(1.0)
            e.validated(1.0)
        assert not torch.equal(own[0].grad, clean)
        others = {name: p.grad for name, p in model.named_parameters() if p is not own[0]}
        assert len(others) == 2
        assert noise.history[0].grad_norm == pytest.approx(
            math.sqrt(sum(float(g.square().sum()) for g in others.values()))
        )


def test_labels_of_32_bits_are_perturbed_too() -> None:
    label = {"policy": "always", "kind": "label", "magnitude": 0.5}
    model = nn.Linear(4, 3)
    noise = AdaptiveNoise(model, label, epochs=1, classes=3)
    y = torch.zeros(64, dtype=torch.int32)
    with noise.epoch() as e:
        with e.forward(torch.zeros(64, 4), y) as (x, noisy):
            assert noisy.dtype == torch.int32
            assert 0 < int((noisy != y).sum()) < 64
            F.cross_entropy(model(x), noisy.long()).backward()
        e.before_step(1.0)
        e.validated(1.0)


def test_a_file_of_noise_train_is_a_configuration(tmp_path: Path) -> None:
    config = small_config({**GRADIENT, "scaling": "step"})
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    noise = AdaptiveNoise(nn.Linear(2, 2), str(path), epochs=3)
    assert noise.noise == config.noise
