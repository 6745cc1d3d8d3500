"""Numbers that others published, to stand beside ours and to be told from them."""

__all__ = ["KITTI"]

KITTI = {
    "PointPillars": {"Car": 77.28, "Pedestrian": 52.29, "Cyclist": 62.68},
    "SECOND": {"Car": 78.62, "Pedestrian": 52.98, "Cyclist": 67.15},
}
"""3D AP (R11), moderate, on the 3769 validation frames: OpenPCDet's model zoo."""
