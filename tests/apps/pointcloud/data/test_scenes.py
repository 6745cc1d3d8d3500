"""Drawn scenes: what a ray hits, and what a scene is made of."""

import numpy as np
import pytest
import torch

from apps.pointcloud.boxes import points_in_boxes
from apps.pointcloud.camera import camera_boxes, image_boxes
from apps.pointcloud.data.scenes import CLASSES, LEAST_POINTS, Scenes
from apps.pointcloud.data.sensors import Rays, Solid, hdl32, hdl64, hits, window
from apps.pointcloud.iou import pairwise_iou
from apps.pointcloud.metrics.kitti import LOOSE, evaluate
from core.errors import UserError


def some_solids(round_: bool) -> list[Solid]:
    rng = np.random.default_rng(0)
    solids = []
    for _ in range(30):
        centre = (*(rng.uniform(4, 30) * np.array([1, rng.uniform(-1, 1)])), rng.uniform(-2, 1))
        solids.append(Solid(centre, tuple(rng.uniform(0.3, 4, 3)), rng.uniform(-3, 3), round_, 0.5))
    return solids


@pytest.mark.parametrize("round_", [False, True], ids=["box", "cylinder"])
def test_rays_meet_the_surface_and_no_ray_is_forgotten(round_):
    rays = Rays.of(hdl64(), np.deg2rad(1.0))
    everything = np.arange(64), np.arange(len(rays.azimuth))
    met = 0
    for solid in some_solids(round_):
        rows, columns = window(rays, solid)
        if not len(rows):
            continue
        way = hits(rays, solid, rows, columns)
        whole = hits(rays, solid, *everything)
        inside = np.full_like(whole, np.inf)
        inside[np.ix_(rows, columns)] = way
        assert np.array_equal(inside, whole)
        r, c = np.nonzero(np.isfinite(whole))
        met += len(r)
        flat = whole[r, c] * rays.cos_elevation[r]
        x = flat * rays.cos_azimuth[c] - solid.centre[0]
        y = flat * rays.sin_azimuth[c] - solid.centre[1]
        z = whole[r, c] * rays.sin_elevation[r] - solid.centre[2]
        cos, sin = np.cos(solid.heading), np.sin(solid.heading)
        u, v = 2 * (x * cos + y * sin) / solid.size[0], 2 * (y * cos - x * sin) / solid.size[1]
        side = np.hypot(u, v) if round_ else np.maximum(np.abs(u), np.abs(v))
        # On the side or on the top, and nowhere beyond.
        assert np.abs(np.maximum(side, np.abs(2 * z / solid.size[2])) - 1).max(initial=0) < 1e-9
    assert met > 1000


def test_full_turn_goes_round():
    rays = Rays.of(hdl32())
    behind = Solid((-10.0, 0.0, 0.0), (1.0, 4.0, 1.0), 0.0, False, 0.5)
    _, columns = window(rays, behind)
    assert columns.min() == 0 and columns.max() == len(rays.azimuth) - 1 and len(columns) < 100
    around = Solid((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), 0.0, False, 0.5)
    assert not len(window(rays, around)[0])


def test_the_same_number_the_same_scene():
    a, b = Scenes(count=2).items()[1].load(), Scenes(count=5).items()[1].load()
    assert torch.equal(a.points, b.points) and torch.equal(a.boxes, b.boxes) and a.names == b.names
    other = Scenes(count=2, seed=1).items()[1].load()
    assert other.points.shape != a.points.shape


@pytest.mark.parametrize("options", [{}, {"camera_view": False, "azimuth_step": 0.5}, {"sensor": hdl32}])
def test_what_scenes_hold(options):
    frames = [item.load() for item in Scenes(count=12, **options).items()]
    names = [name for frame in frames for name in frame.names]
    assert set(names) == set(CLASSES) or "Van" not in names
    for frame in frames:
        assert frame.points.dtype == frame.boxes.dtype == torch.float32 and frame.points.shape[1] == 4
        assert frame.points.isfinite().all() and len(frame.points) > 1000
        inside = points_in_boxes(frame.points, frame.boxes).sum(0)
        # A point may leave its box by the noise of the range.
        assert (inside >= LEAST_POINTS - 3).all() and inside.float().mean() > 10
        assert not pairwise_iou(frame.boxes, frame.boxes).fill_diagonal_(0).any()
        assert frame.points[:, 2].min() > -6
        truth = frame.truth
        assert truth.count >= len(frame.boxes) and set(truth.occluded.tolist()) <= {0, 1, 2, 3}
        location, _, _ = camera_boxes(frame.boxes, frame.calibration)
        places = torch.from_numpy(truth.location)
        apart = (location.double()[:, None] - places).norm(dim=2)
        assert (apart.amin(1) < 1e-3).all()
        if options.get("camera_view", True):
            assert (image_boxes(frame.boxes, frame.calibration)[:, 2] > 0).all()


def test_near_things_have_more_points_and_hide_what_is_behind():
    frames = [item.load() for item in Scenes(count=30).items()]
    near, far, levels = [], [], []
    for frame in frames:
        counts = points_in_boxes(frame.points, frame.boxes).sum(0)
        away = frame.boxes[:, 0]
        cars = torch.tensor([name == "Car" for name in frame.names])
        near += counts[cars & (away < 12)].tolist()
        far += counts[cars & (away > 35)].tolist()
        levels += frame.truth.occluded.tolist()
    assert np.median(near) > 10 * np.median(far)
    assert 0.4 < np.mean(np.array(levels) == 0) < 0.9 and {1, 2, 3} <= set(levels)


@pytest.mark.filterwarnings("ignore:KITTI AP")
def test_perfect_detections_are_perfect():
    truth = [item.load().truth for item in Scenes(count=40).items()]
    scored = [t._replace(score=np.linspace(1, 0.5, t.count)) for t in truth]
    for row in evaluate(truth, scored, ["Car"], LOOSE):
        assert row.objects[2] > 41 and row.r40[2] == pytest.approx(100)


def test_no_objects_and_wrong_arguments():
    frame = Scenes(count=1, cars=0, pedestrians=0, cyclists=0).items()[0].load()
    assert frame.boxes.shape == (0, 7) and frame.names == () and frame.truth.count == 0 and len(frame.points)
    with pytest.raises(UserError, match="Scenes needs count >= 1"):
        Scenes(count=0)
