"""LiDAR voxel detection."""
