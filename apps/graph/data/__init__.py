"""Graphs, features and labels: sources, generators, statistics, batches."""
