"""Graphs beyond one machine: ranges of nodes, one a process, and batches drawn from all of them."""

from apps.graph.distributed.rows import ShardedRows
from apps.graph.distributed.sampling import ShardedNeighbours, turns
from apps.graph.distributed.shards import Shard, open_shard, write_shards

__all__ = ["Shard", "ShardedNeighbours", "ShardedRows", "open_shard", "turns", "write_shards"]
