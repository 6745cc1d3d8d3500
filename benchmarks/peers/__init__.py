"""The other side of the benchmarks where no package of it can be installed: transcriptions of releases' operations."""
