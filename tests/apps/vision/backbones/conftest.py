"""What the tests of several backbones share."""

import pytest
import torch
from torch import nn

from apps.vision.backbones import Classifier


@pytest.fixture
def perturbed():
    """No weight at a value that hides a branch (scales of 1e-6, zeros), no statistics at 0 and 1."""

    def change(network):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
            for part in network.modules():
                if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                    part.running_mean.normal_(std=0.1)
                    part.running_var.uniform_(0.8, 1.2)
        return network

    return change


@pytest.fixture
def parameters_of():
    """Number of parameters with the classification head, without memory for them."""

    def count(make, classes=1000):
        with torch.device("meta"):
            return sum(p.numel() for p in Classifier(make(), classes).parameters())

    return count


@pytest.fixture
def trains():
    """A step in training reaches every weight."""

    def step(backbone):
        torch.manual_seed(0)
        network = Classifier(backbone, 3).train()
        network(torch.randn(4, 3, 70, 66)).square().sum().backward()
        assert [name for name, p in network.named_parameters() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in network.parameters())

    return step
