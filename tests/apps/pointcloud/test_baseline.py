"""Clusters above the ground: what can be found without learning."""

import torch

from apps.pointcloud.baseline import ClusterDetector
from apps.pointcloud.data.scenes import Scenes
from apps.pointcloud.metrics.plain import Objects, average_precision

RANGE = (0.0, -30.0, -3.0, 60.0, 30.0, 1.0)
CAR, PERSON = (3.9, 1.6, 1.5), (0.8, 0.6, 1.75)


def ground():
    x, y = torch.meshgrid(torch.arange(2, 40, 0.25), torch.arange(-10, 10, 0.25), indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), -1.7), torch.zeros(x.numel())], 1)


def surface(centre, size, count=300):
    """Points on the two sides of a box that face the sensor."""
    made = torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    made[: count // 2, 0] = -0.5
    made[count // 2 :, 1] = -0.5 if centre[1] > 0 else 0.5
    return torch.cat([made * torch.tensor(size) + torch.tensor(centre), torch.zeros(count, 1)], 1)


def test_a_car_and_a_person_are_found_with_their_whole_size():
    car, person = (15.0, 4.0, -0.95), (10.0, -3.0, -0.82)
    points = torch.cat([ground(), surface(car, CAR), surface(person, PERSON)])
    found = ClusterDetector([CAR, PERSON], RANGE)(points)
    assert sorted(found.labels.tolist()) == [0, 1]
    by_label = dict(zip(found.labels.tolist(), found.boxes, strict=True))
    torch.testing.assert_close(by_label[0][:3], torch.tensor(car), atol=0.25, rtol=0)
    torch.testing.assert_close(by_label[1][:3], torch.tensor(person), atol=0.25, rtol=0)


def test_nothing_and_hardly_anything():
    detector = ClusterDetector([CAR], RANGE)
    for points in (torch.zeros(0, 4), torch.zeros(1, 4), ground()):
        assert len(detector(points).boxes) == 0


def test_it_finds_something_in_drawn_streets():
    items = [item.load() for item in Scenes(4, seed=9).items()]
    detector = ClusterDetector([CAR, PERSON], RANGE)
    names = ("Car", "Pedestrian")
    truth = [Objects(frame.boxes, frame.names) for frame in items]
    found = []
    for frame in items:
        made = detector(frame.points)
        found.append(Objects(made.boxes, [names[label] for label in made.labels.tolist()], made.scores))
    rows = average_precision(truth, found, {"Car": 0.3, "Pedestrian": 0.2}, height=False)
    assert all(row.recall > 25 for row in rows)
