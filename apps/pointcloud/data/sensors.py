"""Spinning LiDARs as measured on public sweeps, and what their rays hit.

A sweep is a grid of rays, one row a beam and one column an azimuth, from the origin. Solids are boxes and upright
elliptic cylinders with any heading; each is tested only against the rays that can reach it, which is why sixty of them
take milliseconds: the entry of a ray into a box is the latest entry into its three slabs if it is before the earliest
exit, into a cylinder the same with the two roots of a quadratic for the two horizontal slabs.
"""

__all__ = ["Rays", "Sensor", "Solid", "hdl32", "hdl64", "hits", "window"]

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Sensor(NamedTuple):
    """A spinning LiDAR.

    Attributes:
        elevations: (E,) of the beams in radians, from the highest.
        azimuth_step: radians between firings.
        height: above the ground in metres.
        farthest: range in metres.
        intensity: what the reflectance (0 to 1) is multiplied with in its files.
    """

    elevations: Floats
    azimuth_step: float
    height: float
    farthest: float
    intensity: float


def hdl64() -> Sensor:
    """Velodyne HDL-64E as in KITTI, 10 turns a second: beams 1/3 degree apart above, about 1/2 below."""
    beams = np.concatenate([2 - np.arange(32) / 3, -8.83 - np.arange(32) * 0.476])
    return Sensor(np.deg2rad(beams), np.deg2rad(0.18), 1.73, 80.0, 1.0)


def hdl32() -> Sensor:
    """Velodyne HDL-32E as in nuScenes, 20 turns a second: 1084 firings a turn."""
    return Sensor(np.deg2rad(-30.61 + 1.333 * np.arange(32))[::-1].copy(), 2 * np.pi / 1084, 1.84, 70.0, 100.0)


class Rays(NamedTuple):
    """Directions of a sweep: those of beam e and firing a are the product of what stands here."""

    azimuth: Floats
    cos_azimuth: Floats
    sin_azimuth: Floats
    cos_elevation: Floats
    sin_elevation: Floats
    turn: bool

    @classmethod
    def of(cls, sensor: Sensor, step: float | None = None, width: float = np.pi) -> "Rays":
        """Of azimuths within +-width, `step` radians apart."""
        step = sensor.azimuth_step if step is None else step
        number = int(2 * width / step)
        azimuth = (np.arange(number) - (number - 1) / 2) * step
        return cls(
            azimuth,
            np.cos(azimuth),
            np.sin(azimuth),
            np.cos(sensor.elevations),
            np.sin(sensor.elevations),
            width >= np.pi,
        )


class Solid(NamedTuple):
    """A box, or a cylinder with half axes dx/2, dy/2.

    Attributes:
        centre: (3,) of the body.
        size: (3,) dx, dy, dz.
        heading: of its x axis.
        round: a cylinder.
        reflectance: of its surface, 0 to 1.
        solidity: share of the rays that do not pass through (glass, leaves, spokes).
    """

    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    heading: float
    round: bool
    reflectance: float
    solidity: float = 1.0


def window(rays: Rays, solid: Solid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the rays that can reach a solid; none if the sensor stands in it."""
    (x, y, z), (dx, dy, dz) = solid.centre, solid.size
    distance, radius = float(np.hypot(x, y)), float(np.hypot(dx, dy)) / 2
    none = np.zeros(0, np.int64)
    near = distance - radius
    if near < 0.5:
        return none, none
    half = np.arcsin(min(1.0, radius / distance))
    middle = np.arctan2(y, x)
    step = rays.azimuth[1] - rays.azimuth[0]
    first = int(np.ceil((middle - half - rays.azimuth[0]) / step))
    last = int(np.floor((middle + half - rays.azimuth[0]) / step))
    columns = np.arange(first, last + 1)
    number = len(rays.azimuth)
    columns = columns % number if rays.turn else columns[(columns >= 0) & (columns < number)]
    top, bottom = z + dz / 2, z - dz / 2
    high = np.arctan2(top, near if top > 0 else distance + radius)
    low = np.arctan2(bottom, near if bottom < 0 else distance + radius)
    sine = rays.sin_elevation
    rows = np.flatnonzero((sine <= np.sin(high)) & (sine >= np.sin(low)))
    return rows, columns


def hits(rays: Rays, solid: Solid, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """(rows, columns) distance along each ray to a solid, infinite where it is missed."""
    (x, y, z), (dx, dy, dz) = solid.centre, solid.size
    cos, sin = np.cos(solid.heading), np.sin(solid.heading)
    ca, sa = rays.cos_azimuth[columns], rays.sin_azimuth[columns]
    # Horizontal directions and the sensor's place, in the solid's own axes and per unit of horizontal way.
    u, v = ca * cos + sa * sin, sa * cos - ca * sin
    px, py = -(x * cos + y * sin), -(y * cos - x * sin)
    with np.errstate(divide="ignore", invalid="ignore"):
        if solid.round:
            a, b = dx / 2, dy / 2
            qa, qb, qc = (u / a) ** 2 + (v / b) ** 2, px * u / a**2 + py * v / b**2, (px / a) ** 2 + (py / b) ** 2 - 1
            root = np.sqrt(qb * qb - qa * qc)  # NaN where the cylinder is missed
            enter, leave = (-qb - root) / qa, (-qb + root) / qa
        else:
            first, second = (-dx / 2 - px) / u, (dx / 2 - px) / u
            third, fourth = (-dy / 2 - py) / v, (dy / 2 - py) / v
            enter = np.maximum(np.minimum(first, second), np.minimum(third, fourth))
            leave = np.minimum(np.maximum(first, second), np.maximum(third, fourth))
        slope = rays.sin_elevation[rows] / rays.cos_elevation[rows]
        up, down = (z + dz / 2) / slope, (z - dz / 2) / slope
    enter = np.maximum(enter, np.minimum(up, down)[:, None])
    leave = np.minimum(leave, np.maximum(up, down)[:, None])
    way = np.where((enter <= leave) & (enter > 0), enter, np.inf)
    return way / rays.cos_elevation[rows][:, None]
