"""Ours beside the peer in one process; `python -m benchmarks.core_ops` and so on print a table."""
