"""Sentences about grids, names, and boxes that nothing is learned from."""

import math

import pytest
import torch

from apps.pointcloud.data.checks import check_names, clean, inside_range, survey
from apps.pointcloud.data.items import Frame
from apps.pointcloud.ranges import check_range, grid_size
from core.errors import UserError

RANGE = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)


def test_grids_that_fit():
    assert grid_size(RANGE, (0.16, 0.16, 4), (8, 8, 1)) == (432, 496, 1)
    assert grid_size((0, -40, -3, 70.4, 40, 1), (0.05, 0.05, 0.1), (8, 8, 8)) == (1408, 1600, 40)


@pytest.mark.parametrize(
    ("point_range", "voxel", "stride", "message"),
    [
        (
            (0, -40, -3, 70, 40, 1),
            (0.16, 0.16, 4),
            (8, 8, 1),
            r"x from 0 to 70 m is 437\.50 voxels of 0\.16 m; end at 70\.4",
        ),
        (RANGE, (0.16, 0.16, 4), (8, 32, 1), r"y from -39\.68 to 39\.68 m is 496 voxels .* stride 32; end at 42\.24"),
        (RANGE, (0.16, 0.16, 8), (8, 8, 1), r"z from -3 to 1 m is 0\.50 voxels of 8 m; end at 5"),
        (RANGE, (0.16, 0, 4), (8, 8, 1), r"voxel 0 m and stride 8 along y: both must be above 0"),
    ],
)
def test_grids_that_do_not(point_range, voxel, stride, message):
    with pytest.raises(UserError, match=message):
        grid_size(point_range, voxel, stride)


@pytest.mark.parametrize("numbers", [(0, 0, 0, 1, 1), (0, 0, 0, 1, -1, 1), (0, 0, 0, 1, math.nan, 1)])
def test_ranges(numbers):
    with pytest.raises(UserError, match="must be six numbers"):
        check_range(numbers)


def test_unknown_classes():
    frame = Frame(torch.zeros(0, 4), torch.zeros(1, 7), ("car",), where="a.txt")
    with pytest.raises(
        UserError, match=r"^a\.txt: has a box of the class car, which is none of Car, Cyclist; .*Did you"
    ):
        check_names(frame, ("Car", "Cyclist"), None, ())
    check_names(frame, ("Car",), None, ("car",))
    check_names(frame, ("Car",), ("Car", "car"), ())


def test_numbers_that_are_not_finite_and_the_edge_of_the_range():
    points = torch.tensor([[0.0, 0, 0, 1], [math.nan, 0, 0, 1], [0, 0, math.inf, 1], [0, 0, 0, math.nan]])
    assert clean(points).tolist() == [[0, 0, 0, 1]]
    edge = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 0.5, 0.999]])
    assert inside_range(edge, (0, 0, 0, 1, 1, 1)).tolist() == [True, False, True]


def test_survey():
    full = Frame(
        torch.tensor([[1.0, 1, 0, 0], [1.1, 1, 0, 0], [90, 0, 0, 0], [math.nan, 0, 0, 0]]),
        torch.tensor([[1.0, 1, 0, 1, 1, 1, 0], [20, 1, 0, 1, 1, 1, 0], [90, 0, 0, 1, 1, 1, 0], [90, 9, 0, 1, 1, 1, 0]]),
        ("Car", "Car", "Cyclist", "Tram"),
    )
    empty = Frame(torch.zeros(0, 4), torch.zeros(0, 7), ())
    found = survey([full, empty], ("Car", "Cyclist", "Pedestrain"), RANGE)
    assert found[:5] == (2, 1, 4, 1, 1)
    assert found.boxes == {"Car": 2, "Cyclist": 1, "Pedestrain": 0} and found.others == {"Tram": 1}
    assert found.boxes_outside == {"Car": 0, "Cyclist": 1, "Pedestrain": 0} and found.boxes_empty["Car"] == 1
    lines = found.lines()
    assert any("More than half of Cyclist is outside the range" in line for line in lines)
    assert any("There is no box of Pedestrain" in line for line in lines)
    assert any(line == "Car: 2 boxes, 0 with a centre outside the range, 1 without points" for line in lines)
