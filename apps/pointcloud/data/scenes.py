"""Streets with cars, people and cyclists as a LiDAR sees them: built-in data with known boxes.

A street runs ahead, with lanes, parked cars, pavements and house walls beside it; it slopes a little. Cars are two
stacked boxes (body, and a cabin that half the rays pass through), people three cylinders (legs, body, head), cyclists a
frame that most rays miss with a rider on it; vans stand among the cars. What a detector takes for one of them stands
there too: poles, bins of a person's size, hedges and containers of a car's, bushes. Sizes and distances are drawn as
KITTI's labels have them (all 7481 training frames), rings and steps of the sensors are those of its sweeps and of
nuScenes'.

Every ray returns the nearest surface, with 2 cm of noise along it, or nothing, more often far away and at grazing
angles. Boxes with fewer than 5 points are left out of `boxes` but stay in `truth` as fully occluded, which every
evaluation ignores. Truncation and image boxes come from an ideal camera at the sensor, occlusion from the share of an
object's rays that something nearer takes: 0 below .15, 1 below .5, 2 below .85, 3 above.

A scene depends on (seed, number) alone: other seeds are other parts.
"""

__all__ = ["CLASSES", "Scenes"]

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from apps.pointcloud.boxes import corners
from apps.pointcloud.camera import Calibration, camera_boxes, image_boxes, in_view, pinhole, project
from apps.pointcloud.camera import alpha as alpha_of
from apps.pointcloud.iou import pairwise_iou
from apps.pointcloud.labels import KittiLabels
from core.errors import UserError
from core.training.draws import generator

from .items import Frame, Item, Source
from .sensors import Rays, Sensor, Solid, hdl64, hits, window

CLASSES = ("Car", "Van", "Pedestrian", "Cyclist")
# Mean and deviation of length, width, height, and quantiles .05, .25, .5, .75, .95 of the distance ahead.
SIZES = {
    "Car": ((3.884, 0.426), (1.629, 0.102), (1.526, 0.137)),
    "Van": ((5.078, 0.831), (1.902, 0.173), (2.207, 0.325)),
    "Pedestrian": ((0.842, 0.235), (0.660, 0.143), (1.761, 0.113)),
    "Cyclist": ((1.764, 0.177), (0.597, 0.124), (1.737, 0.095)),
}
AHEAD = {
    "Car": (5.9, 15.2, 25.4, 38.3, 58.8),
    "Van": (5.9, 15.2, 25.4, 38.3, 58.8),
    "Pedestrian": (5.7, 8.9, 14.7, 22.4, 38.4),
    "Cyclist": (6.4, 13.7, 21.6, 32.8, 52.8),
}
NOISE, MARGIN, NEAREST_RETURN, KERB = 0.02, 0.03, 2.0, 0.12
LEAST_POINTS = 5
VIEW = np.deg2rad(41.0)


class _Thing(NamedTuple):
    """Something in the scene: its box (7,), what it is made of, and its class or None for clutter."""

    box: NDArray[np.float64]
    solids: list[Solid]
    name: str | None


class Scenes(Source):
    """Drawn street scenes.

    Args:
        count: how many.
        seed: other seeds, other scenes.
        sensor: makes it; 64 beams by default, `sensors.hdl32` has 32.
        camera_view: only what a forward camera sees, 82 degrees; else the full turn, with three times the objects.
        azimuth_step: degrees between firings; the sensor's own by default, twice as much halves the time.
        cars, pedestrians, cyclists: mean number of each in the camera's view; vans are a tenth of the cars.
    """

    classes = CLASSES
    features = ("reflectance",)

    def __init__(
        self,
        count: int = 400,
        seed: int = 0,
        sensor: Callable[[], Sensor] = hdl64,
        camera_view: bool = True,
        azimuth_step: float | None = 0.36,
        cars: float = 6.0,
        pedestrians: float = 3.0,
        cyclists: float = 2.0,
    ):
        if count < 1 or min(cars, pedestrians, cyclists) < 0 or (azimuth_step is not None and azimuth_step <= 0):
            raise UserError(
                f"--data: Scenes needs count >= 1, azimuth_step > 0 and no negative number of objects, got {count}, "
                f"{azimuth_step}, {cars:g}, {pedestrians:g} and {cyclists:g}."
            )
        self.count, self.seed, self.sensor, self.camera_view = count, seed, sensor(), camera_view
        self.means = {"Car": cars * 0.9, "Van": cars * 0.1, "Pedestrian": pedestrians, "Cyclist": cyclists}
        step = None if azimuth_step is None else float(np.deg2rad(azimuth_step))
        self.rays = Rays.of(self.sensor, step, VIEW if camera_view else np.pi)
        self.label = f"{count} drawn scenes"

    def items(self) -> list[Item]:
        return [_Scene(self, number) for number in range(self.count)]

    def draw(self, number: int) -> Frame:
        """Scene `number`."""
        rng = generator(self.seed, number)
        ground = _Ground(rng, self.sensor.height)
        things = _things(rng, ground, self.means, self.camera_view)
        reach, owner, shine, alone, seen = _cast(rng, self.rays, self.sensor, ground, things)
        points = _points(rng, self.rays, self.sensor, reach, shine)
        owner = owner.reshape(-1)[points.kept]
        cloud = torch.from_numpy(points.cloud)
        if self.camera_view:
            view = in_view(cloud, pinhole()).numpy()
            cloud, owner = cloud[torch.from_numpy(view)], owner[view]
        named = [n for n, thing in enumerate(things) if thing.name is not None]
        boxes = torch.from_numpy(np.array([things[n].box for n in named]).reshape(-1, 7))
        inside = np.bincount(owner[owner >= 0], minlength=len(things))[named]
        hidden = 1 - seen[named] / np.maximum(alone[named], 1)
        names = np.array([things[n].name for n in named], dtype=np.str_).reshape(-1)
        truth, keep = _labels(boxes, names, hidden, inside, pinhole(), self.camera_view)
        enough = torch.from_numpy(keep & (inside >= LEAST_POINTS))
        return Frame(
            cloud,
            boxes[enough].float(),
            tuple(names[enough.numpy()].tolist()),
            pinhole(),
            None,
            truth,
            f"scene {self.seed}-{number}",
        )


class _Scene(Item):
    def __init__(self, source: Scenes, number: int):
        self.source, self.number, self.name = source, number, f"{source.seed}-{number:06d}"

    def load(self) -> Frame:
        return self.source.draw(self.number)


class _Ground:
    """A sloping road with a raised pavement on both sides."""

    def __init__(self, rng: np.random.Generator, height: float):
        self.height = -height + rng.normal(0, 0.02)
        self.slope = rng.normal(0, [0.006, 0.008])
        self.middle = rng.uniform(-2, 2)
        self.half = rng.uniform(5.0, 8.5)

    def at(self, x: float, y: float) -> float:
        raised = KERB if abs(y - self.middle) > self.half else 0.0
        return float(self.height + self.slope[0] * x + self.slope[1] * y + raised)

    def ways(self, rays: Rays) -> NDArray[np.float64]:
        """(E, A) distance along each ray, infinite for the sky."""
        down = rays.sin_elevation[:, None] - rays.cos_elevation[:, None] * (
            self.slope[0] * rays.cos_azimuth + self.slope[1] * rays.sin_azimuth
        )
        with np.errstate(divide="ignore"):
            road = np.where(down < 0, self.height / down, np.inf)
            raised = np.where(down < 0, (self.height + KERB) / down, np.inf)
        aside = np.minimum(raised, 1e4) * rays.cos_elevation[:, None] * rays.sin_azimuth - self.middle
        return np.where(np.abs(aside) > self.half, raised, road)


def _things(rng: np.random.Generator, ground: _Ground, means: dict[str, float], view: bool) -> list[_Thing]:
    """Objects first, clutter where there is room; nothing within anything else."""
    many = 1 if view else 3
    wanted: list[tuple[str, NDArray[np.float64]]] = []
    for name, mean in means.items():
        for _ in range(rng.poisson(mean * many)):
            wanted.append((name, _place(rng, ground, name, view)))
    for _ in range(rng.poisson(14 * many)):
        kind = str(rng.choice(["pole", "bin", "hedge", "bush", "container"], p=[0.35, 0.2, 0.12, 0.25, 0.08]))
        wanted.append((kind, _clutter(rng, ground, kind, view)))
    boxes = torch.from_numpy(np.array([box for _, box in wanted] or np.zeros((0, 7))))
    roomy = boxes.clone()
    roomy[:, 3:5] += 0.3
    taken = pairwise_iou(roomy, roomy).numpy() > 0
    kept: list[int] = []
    for n in range(len(wanted)):
        near = np.hypot(*wanted[n][1][:2]) < 3.5
        if not near and not taken[n, kept].any():
            kept.append(n)
    things = [
        _Thing(wanted[n][1], _solids(rng, *wanted[n]), wanted[n][0] if wanted[n][0] in means else None) for n in kept
    ]
    for side in (-1, 1):
        things += _walls(rng, ground, side, view)
    return things


def _ahead(rng: np.random.Generator, name: str, view: bool) -> float:
    quantiles = AHEAD[name]
    points = [max(4.5, quantiles[0] - 1.5), *quantiles, quantiles[-1] + 12]
    x = float(np.interp(rng.uniform(), [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1], points))
    return x if view or rng.uniform() < 0.5 else -x


def _place(rng: np.random.Generator, ground: _Ground, name: str, view: bool) -> NDArray[np.float64]:
    """(7,) box of an object that stands where such objects stand."""
    length, width, height = (max(m - 2.5 * s, rng.normal(m, s)) for m, s in SIZES[name])
    x = _ahead(rng, name, view)
    along = rng.choice([0.0, np.pi])
    if name in ("Car", "Van"):
        kind = rng.uniform()
        if kind < 0.4:  # in a lane
            y, heading = ground.middle + rng.choice([-1, 1]) * rng.uniform(1.2, 3), along + rng.normal(0, 0.05)
        elif kind < 0.8:  # parked at the kerb
            y, heading = (
                ground.middle + rng.choice([-1, 1]) * (ground.half - width / 2 - 0.2),
                along + rng.normal(0, 0.04),
            )
        elif kind < 0.9:  # crossing
            y, heading = rng.uniform(-12, 12), along + np.pi / 2 + rng.normal(0, 0.1)
        else:
            y, heading = rng.uniform(-0.7, 0.7) * abs(x), rng.uniform(-np.pi, np.pi)
    elif name == "Cyclist":
        y = ground.middle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.3) * ground.half
        heading = along + rng.normal(0, 0.15) if rng.uniform() < 0.8 else rng.uniform(-np.pi, np.pi)
    else:
        y = ground.middle + rng.choice([-1, 1]) * ground.half * rng.uniform(0.2, 1.6)
        heading = rng.uniform(-np.pi, np.pi)
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    return np.array([x, y, ground.at(x, y) + height / 2, length, width, height, heading])


def _clutter(rng: np.random.Generator, ground: _Ground, kind: str, view: bool) -> NDArray[np.float64]:
    low, high = {
        "pole": ((0.1, 0.1, 3.0), (0.35, 0.35, 7.0)),
        "bin": ((0.4, 0.4, 0.8), (0.8, 0.8, 1.7)),
        "hedge": ((2.5, 0.6, 0.8), (6.0, 1.2, 1.6)),
        "bush": ((0.8, 0.8, 0.8), (2.5, 2.5, 3.0)),
        "container": ((2.5, 1.5, 1.2), (6.0, 2.4, 2.6)),
    }[kind]
    dx, dy, dz = rng.uniform(low, high)
    x = rng.uniform(5, 60) * (1 if view or rng.uniform() < 0.5 else -1)
    y = ground.middle + rng.choice([-1, 1]) * (ground.half + rng.uniform(-0.3, 6))
    heading = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1)
    return np.array([x, y, ground.at(x, y) + dz / 2, dx, dy, dz, heading])


def _part(
    box: NDArray[np.float64],
    offset: tuple[float, float],
    size: tuple[float, float],
    bottom: float,
    top: float,
    shine: float,
    solidity: float = 1.0,
    *,
    round: bool = False,
) -> Solid:
    """A solid in a box: offset and size in shares of its length and width, bottom and top of its height.

    Boxes stand a little off the surface, as annotated ones do: noise would put half of a face's points outside.
    """
    x, y, z, dx, dy, dz, heading = box.tolist()
    dx, dy = dx - 2 * MARGIN, dy - 2 * MARGIN
    cos, sin = np.cos(heading), np.sin(heading)
    u, v = offset[0] * dx, offset[1] * dy
    centre = (x + u * cos - v * sin, y + u * sin + v * cos, z + dz * ((bottom + top) / 2 - 0.5))
    return Solid(centre, (size[0] * dx, size[1] * dy, (top - bottom) * dz), heading, round, shine, solidity)


def _solids(rng: np.random.Generator, kind: str, box: NDArray[np.float64]) -> list[Solid]:
    """What an object of this kind is made of; together they fill its box."""
    shine = float(rng.uniform(0.1, 0.7))
    if kind == "Car":
        cabin, back = rng.uniform(0.45, 0.6), rng.uniform(-0.15, 0.02)
        waist = rng.uniform(0.52, 0.62)
        return [
            _part(box, (0, 0), (1, 1), 0.12, waist, shine),
            _part(box, (back, 0), (cabin, 0.86), waist, 1, shine * 0.6, 0.5),
        ]
    if kind == "Van":
        nose = rng.uniform(0.1, 0.25)
        return [
            _part(box, (-nose / 2, 0), (1 - nose, 1), 0.12, 1, shine, 0.9),
            _part(box, (0.5 - nose / 2, 0), (nose, 0.96), 0.12, 0.5, shine),
        ]
    if kind == "Pedestrian":
        return [
            _part(box, (0, 0), (1, 0.45), 0, 0.48, shine, 0.75, round=True),
            _part(box, (0, 0), (0.55, 1), 0.45, 0.86, shine, round=True),
            _part(box, (0.02, 0), (0.28, 0.35), 0.84, 1, 0.35, round=True),
        ]
    if kind == "Cyclist":
        return [
            _part(box, (0, 0), (1, 0.12), 0, 0.6, 0.35, 0.45),
            _part(box, (-0.06, 0), (0.34, 1), 0.42, 0.86, shine, round=True),
            _part(box, (0, 0), (0.14, 0.4), 0.84, 1, 0.35, round=True),
        ]
    if kind == "bush":
        return [_part(box, (0, 0), (1, 1), 0, 1, 0.3, 0.55, round=True)]
    if kind == "hedge":
        return [_part(box, (0, 0), (1, 1), 0, 1, 0.3, 0.85)]
    return [_part(box, (0, 0), (1, 1), 0, 1, shine, round=kind in ("pole", "bin"))]


def _walls(rng: np.random.Generator, ground: _Ground, side: int, view: bool) -> list[_Thing]:
    """Houses along one side with gaps between them."""
    x, end = (2.0 if view else -70.0), 75.0
    away = ground.half + rng.uniform(3, 12)
    things = []
    while x < end:
        length, gap, high = rng.uniform(6, 25), rng.uniform(0, 14), rng.uniform(2, 9)
        y = ground.middle + side * (away + rng.uniform(0, 1.5))
        box = np.array([x + length / 2, y, ground.at(x, y) + high / 2, length, 0.4, high, 0.0])
        things.append(_Thing(box, [_part(box, (0, 0), (1, 1), 0, 1, float(rng.uniform(0.2, 0.5)))], None))
        x += length + gap
    return things


def _cast(rng: np.random.Generator, rays: Rays, sensor: Sensor, ground: _Ground, things: list[_Thing]):
    """Way, owner and reflectance (E, A) of the nearest surface on each ray; for each thing the rays that hit it were it
    alone, and those that do."""
    reach = ground.ways(rays)
    owner = np.full(reach.shape, -1)
    shine = np.full(reach.shape, rng.uniform(0.2, 0.35))
    alone = np.zeros(len(things))
    for number, thing in enumerate(things):
        found = []
        for solid in thing.solids:
            rows, columns = window(rays, solid)
            if not len(rows) or not len(columns):
                continue
            way = hits(rays, solid, rows, columns)
            if solid.solidity < 1:
                way[rng.random(way.shape, dtype=np.float32) > solid.solidity] = np.inf
            found.append((np.ix_(rows, columns), way, solid.reflectance))
        struck = np.zeros(0, np.int64)
        for place, way, reflectance in found:
            hit = np.isfinite(way)
            flat = (place[0] * reach.shape[1] + place[1])[hit]
            struck = np.concatenate([struck, flat])
            nearer = way < reach[place]
            for grid, value in ((reach, way), (owner, number), (shine, reflectance)):
                grid[place] = np.where(nearer, value, grid[place])
        alone[number] = len(np.unique(struck)) if len(found) > 1 else len(struck)
    seen = np.bincount(owner[owner >= 0], minlength=len(things)).astype(np.float64)
    reach[reach > sensor.farthest] = np.inf
    owner[np.isinf(reach)] = -1
    return reach, owner, shine, alone, seen


class _Points(NamedTuple):
    cloud: NDArray[np.float32]
    kept: NDArray[np.int64]


def _points(
    rng: np.random.Generator, rays: Rays, sensor: Sensor, reach: NDArray[np.float64], shine: NDArray[np.float64]
) -> _Points:
    """Returns with noise, fewer far away and at grazing angles, rounded as they are stored."""
    chance = 0.02 + 0.25 * (reach / sensor.farthest) ** 2
    kept = np.flatnonzero((rng.random(reach.shape) > chance) & (reach > NEAREST_RETURN) & np.isfinite(reach))
    rows, columns = np.divmod(kept, reach.shape[1])
    way = reach.reshape(-1)[kept] + rng.normal(0, NOISE, len(kept))
    flat = way * rays.cos_elevation[rows]
    xyz = np.stack(
        [flat * rays.cos_azimuth[columns], flat * rays.sin_azimuth[columns], way * rays.sin_elevation[rows]], 1
    )
    back = (shine.reshape(-1)[kept] + rng.normal(0, 0.08, len(kept))).clip(0, 0.99)
    back = np.round(back * (100 if sensor.intensity == 1 else sensor.intensity)) / (100 if sensor.intensity == 1 else 1)
    return _Points(np.concatenate([np.round(xyz, 3), back[:, None]], 1).astype(np.float32), kept)


def _labels(
    boxes: torch.Tensor,
    names: NDArray[np.str_],
    hidden: NDArray[np.float64],
    points: NDArray[np.int64],
    calibration: Calibration,
    view: bool,
) -> tuple[KittiLabels, NDArray[np.bool_]]:
    """Objects in view as KITTI would label them, and which they are."""
    location, hwl, rotation_y = camera_boxes(boxes, calibration)
    image = image_boxes(boxes, calibration).numpy()
    area = (image[:, 2] - image[:, 0]) * (image[:, 3] - image[:, 1])
    pixels, _ = project(corners(boxes), calibration)
    extent = (pixels.amax(1) - pixels.amin(1)).prod(1).numpy() if len(boxes) else area
    ahead = location[:, 2].numpy() > 1
    truncated = np.where(ahead, 1 - area / np.maximum(extent, 1e-6), 1.0).clip(0, 1).round(2)
    occluded = np.digitize(hidden, [0.15, 0.5, 0.85]).astype(np.float64)
    occluded[points < LEAST_POINTS] = 3
    keep = (ahead & (area > 0) & (truncated < 0.95)) if view else np.ones(len(boxes), bool)
    columns = KittiLabels(
        names, truncated, occluded, alpha_of(location, rotation_y).numpy(), image, hwl.numpy(), location.numpy(),
        rotation_y.numpy(), np.ones(len(boxes)),
    )  # fmt: skip
    return columns.select(keep), keep
