"""Command line, tasks, runs, results and reports: the same habits in every application."""
