"""Large-graph node classification."""
