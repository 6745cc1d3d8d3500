"""The published protocols of detection in LiDAR sweeps, exact, in numpy and torch on the CPU."""
