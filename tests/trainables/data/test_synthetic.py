"""Synthetic images can be told apart."""

import torch
from torch.nn import functional as F

from tests.support.data_sets import loaded
from trainables.data.device_data import DeviceData


def test_synthetic_images_are_of_the_shape_that_is_asked_for() -> None:
    grey = loaded(dataset="synthetic", synthetic_train=40, batch_size=8, image_size=28, channels=1)
    assert grey.test_images.shape == (500, 28, 28, 1)
    large = loaded(
        dataset="synthetic", synthetic_train=40, batch_size=8, synthetic_test=9, image_size=224
    )
    assert large.val_images.shape[1:] == (224, 224, 3)
    assert large.test_images.std() > 20


def test_synthetic_images_can_be_learnt() -> None:
    data = DeviceData(loaded(dataset="synthetic", synthetic_train=400), "cpu")
    torch.manual_seed(0)
    conv, linear = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Linear(2048, 10)

    def model(x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = linear(F.max_pool2d(F.relu(conv(x)), 2).flatten(1))
        return logits

    optimizer = torch.optim.SGD([*conv.parameters(), *linear.parameters()], 0.01, momentum=0.9)
    for epoch in range(8):
        for x, y in data.train_batches(0, epoch, 32):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(x), y))
            optimizer.step()
    hits = [(model(x).argmax(1) == y).float() for x, y in data.eval_batches("test")]
    assert torch.cat(hits).mean() > 0.7
