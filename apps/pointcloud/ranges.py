"""Ranges and the grids on them: whole numbers of voxels that a network's stride divides."""

__all__ = ["check_range", "grid_size"]

from collections.abc import Sequence

from core.errors import UserError

AXES = "xyz"


def check_range(point_range: Sequence[float]) -> None:
    """Raises UserError unless it is x, y, z of the lower corner and then of the upper one."""
    low, high = point_range[:3], point_range[3:]
    if len(point_range) != 6 or not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(
            f"--data.point_range {list(point_range)}: must be six numbers, the least x, y, z and then the greatest."
        )


def grid_size(point_range: Sequence[float], voxel: Sequence[float], stride: Sequence[int]) -> tuple[int, int, int]:
    """Voxels along x, y, z.

    Args:
        point_range: least x, y, z, then the greatest, in metres.
        voxel: size along x, y, z in metres.
        stride: what the network divides the grid by along x, y, z.

    Raises:
        UserError: the range is not a whole number of voxels, or these not a multiple of the stride. The sentence names
            a range that fits.
    """
    check_range(point_range)
    result = []
    for axis, name in enumerate(AXES):
        low, high, size, step = point_range[axis], point_range[axis + 3], voxel[axis], stride[axis]
        if size <= 0 or step < 1:
            raise UserError(f"voxel {size:g} m and stride {step} along {name}: both must be above 0.")
        number = (high - low) / size
        whole = round(number)
        if abs(number - whole) > 1e-3 or whole % step or whole < step:
            fitting = max(1, round(number / step)) * step
            wrong = (
                f"{number:.2f} voxels of {size:g} m"
                if abs(number - whole) > 1e-3
                else f"{whole} voxels of {size:g} m, no multiple of the network's stride {step}"
            )
            raise UserError(
                f"--data.point_range: {name} from {low:g} to {high:g} m is {wrong}; end at {low + fitting * size:g}."
            )
        result.append(whole)
    return result[0], result[1], result[2]
