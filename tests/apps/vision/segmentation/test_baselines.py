"""What needs no network, and what networks cost."""

import torch
from torch import nn

from apps.vision.segmentation.baselines import prior
from apps.vision.segmentation.cost import cost
from apps.vision.segmentation.data.items import Scene


def scene(labels):
    return Scene(torch.zeros(3, *labels.shape, dtype=torch.uint8), labels)


def test_the_commonest_class_of_each_place():
    top = torch.zeros(96, 96, dtype=torch.uint8)
    top[48:] = 1
    other = top.clone()
    other[:48] = 2
    void = torch.full((96, 96), 255, dtype=torch.uint8)
    guess = prior([scene(top), scene(top), scene(other), scene(void)], 3)
    assert torch.equal(guess((96, 96)), top.long())
    small = guess((7, 9))
    assert small.shape == (7, 9) and small[0].eq(0).all() and small[-1].eq(1).all()


def test_places_of_images_smaller_than_the_grid():
    small = torch.ones(20, 13, dtype=torch.uint8)
    small[:10] = 2
    guess = prior([scene(small)], 3)
    assert torch.equal(guess((20, 13)), small.long())
    assert prior([scene(small[:1, :1])], 3)((30, 30)).eq(2).all()


def test_cost_counts_multiplications():
    found = cost(nn.Conv2d(3, 5, 3, padding=1, bias=False), (8, 10))
    assert found.parameters == 135 and found.macs == 135 * 80 and found.speed > 0


def test_cost_of_a_network_that_hands_parameters_to_its_modules():
    class Centres(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres, self.layer = nn.Parameter(torch.ones(4, 3)), nn.Linear(3, 5, bias=False)

        def forward(self, x):
            return self.layer(self.centres).sum() + x.sum()

    assert cost(Centres(), (2, 2)).macs == 4 * 3 * 5
