"""Ranges of nodes: one process with all of them, and two gloo processes, give the batches of the whole graph."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch_geometric.loader import NodeLoader

from apps.graph.data.generators import PowerLaw
from apps.graph.data.graph import Graph
from apps.graph.distributed import ShardedNeighbours, ShardedRows, open_shard, turns, write_shards
from apps.graph.distributed.pyg import ShardFeatures, ShardGraph, ShardSampler
from apps.graph.distributed.rows import hot_nodes
from apps.graph.sampling.neighbours import Neighbours
from apps.graph.sampling.pyg import key_of_seeds
from core.errors import UserError

FAN_OUT = (4, 3)
SIZE = 64


@pytest.fixture(scope="module")
def nodes():
    return PowerLaw(1000, 6000, features=6).load()


def same(ours, theirs):
    for name, a, b in zip(theirs._fields, ours, theirs, strict=True):
        assert (a is None and b is None) or np.array_equal(a, b), name


def batches_are_those_of_one(shard, nodes, hot, replace):
    """What a rank makes of its turns, beside the whole graph in one process."""
    ours = ShardedNeighbours(shard, FAN_OUT, replace, seed=3, hot=hot)
    rows = ShardedRows(shard, shard.features, hot)
    theirs = Neighbours(nodes.graph, FAN_OUT, replace, seed=3)
    seen = []
    for number, seeds in turns(nodes.splits[0].train, SIZE, shard, seed=1, epoch=2):
        drawn = ours.sample(seeds, number)
        same(drawn, theirs.sample(seeds, number))
        assert np.array_equal(rows.fetch(drawn.nodes), nodes.features[drawn.nodes])
        seen.append((number, seeds))
    return seen


@pytest.mark.parametrize("replace", [False, True])
def test_one_range_is_the_whole_graph(replace, nodes, tmp_path):
    write_shards(nodes, tmp_path / "shards", 1)
    seen = batches_are_those_of_one(open_shard(tmp_path / "shards", 0), nodes, None, replace)
    assert sorted(np.concatenate([seeds for _, seeds in seen])) == nodes.splits[0].train.tolist()


def test_ranges_hold_equal_parts_and_every_edge_once(nodes, tmp_path):
    write_shards(nodes, tmp_path / "shards", 3)
    shards = [open_shard(tmp_path / "shards", rank) for rank in range(3)]
    assert np.array_equal(np.concatenate([s.neighbours for s in shards]), nodes.graph.neighbours)
    assert np.array_equal(np.concatenate([s.features for s in shards]), nodes.features)
    costs = [len(s.neighbours) + len(s.labels) for s in shards]
    assert max(costs) < 1.1 * min(costs)
    owners = shards[0].owner(np.arange(1000))
    assert [int((owners == rank).sum()) for rank in range(3)] == [len(s.labels) for s in shards]
    hot = hot_nodes(shards[1], 20)
    often = np.bincount(shards[1].neighbours, minlength=1000) * (owners != 1)
    assert (np.diff(hot) > 0).all() and sorted(often[hot]) == sorted(np.sort(often)[-20:])
    every = [n for rank in range(3) for n, _ in turns(np.arange(1000), SIZE, shards[rank], 0, 1)]
    assert sorted(every) == list(range(16, 16 + 18)) and len(every) == 18  # as many steps each


def process(rank, folder, nodes):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=120))
    shard = open_shard(folder / "shards", rank)
    hot = hot_nodes(shard, 40)
    assert len(hot) == 40 and (shard.owner(hot) != rank).all()
    for kept in (None, hot):
        for replace in (False, True):
            seen = batches_are_those_of_one(shard, nodes, kept, replace)
            # As many steps on both, the last of one without seeds.
            assert len(seen) == 4 and (len(seen[-1][1]) == 0) == (rank == 1)
    loader = NodeLoader(
        (ShardFeatures(shard, hot), ShardGraph(shard)),
        node_sampler=ShardSampler(ShardedNeighbours(shard, FAN_OUT, hot=hot)),
        input_nodes=torch.arange(rank * 400, rank * 400 + 90),
        batch_size=40,
    )
    whole = Neighbours(nodes.graph, FAN_OUT)
    assert len(loader) == 3
    for batch in loader:
        seeds = batch.n_id[: batch.batch_size].numpy()
        drawn = whole.sample(seeds, key_of_seeds(seeds))
        assert batch.n_id.tolist() == drawn.nodes.tolist()
        assert batch.edge_index[0].tolist() == drawn.columns.tolist()
        assert batch.e_id.tolist() == drawn.places.tolist()
        assert np.array_equal(batch.x, nodes.features[drawn.nodes]) and np.array_equal(
            batch.y, nodes.labels[drawn.nodes]
        )
    dist.destroy_process_group()


def test_two_processes_give_the_batches_of_one(nodes, tmp_path):
    train = nodes.splits[0].train[: 7 * SIZE - 5]
    nodes = nodes._replace(splits=[nodes.splits[0]._replace(train=train)])
    write_shards(nodes, tmp_path / "shards", 2)
    # Forked: loading everything again would take longer than the test.
    mp.start_processes(process, (tmp_path, nodes), nprocs=2, start_method="fork")


def test_what_pyg_is_told_of_a_range(nodes, tmp_path):
    write_shards(nodes, tmp_path / "shards", 2)
    shard = open_shard(tmp_path / "shards", 1)
    features, graph = ShardFeatures(open_shard(tmp_path / "shards", 1)), ShardGraph(shard)
    assert features.get_tensor_size(group_name=None, attr_name="x", index=None) == (1000, 6)
    with pytest.raises(ValueError, match="x of all nodes is on several machines; give ids"):
        features.get_tensor(group_name=None, attr_name="x", index=None)
    sources, ends = graph.get_edge_index(graph.get_all_edge_attrs()[0])
    assert np.array_equal(sources, shard.neighbours) and np.array_equal(ends, shard.offsets)


def test_what_is_refused(nodes, tmp_path):
    write_shards(nodes, tmp_path / "shards", 2)
    with pytest.raises(UserError, match="exists already"):
        write_shards(nodes, tmp_path / "shards", 2)
    with pytest.raises(UserError, match=r"there is no range 2, they are 0 \.\. 1"):
        open_shard(tmp_path / "shards", 2)
    with pytest.raises(UserError, match="1001 ranges of 1000 nodes"):
        write_shards(nodes, tmp_path / "more", 1001)
    weighted = Graph(nodes.graph.offsets, nodes.graph.neighbours, np.ones(nodes.graph.edges, np.float32))
    with pytest.raises(UserError, match="without weights and times"):
        write_shards(nodes._replace(graph=weighted), tmp_path / "more", 2)
    part = tmp_path / "shards" / "part_0"
    np.save(part / "neighbours.npy", np.load(part / "neighbours.npy") + 1000)
    with pytest.raises(UserError, match="range 0 contradict each other"):
        open_shard(tmp_path / "shards", 0)
    (part / "labels.npy").unlink()
    with pytest.raises(UserError, match="does not hold range 0"):
        open_shard(tmp_path / "shards", 0)
    whole = tmp_path / "whole"
    write_shards(nodes, whole, 1)
    one = ShardedNeighbours(open_shard(whole, 0), FAN_OUT)
    with pytest.raises(IndexError, match="seed 1 is node 1000"):
        one.sample(np.array([1, 1000]))
    with pytest.raises(ValueError, match="node 7 is a seed twice"):
        one.sample(np.array([7, 7]))
    with pytest.raises(ValueError, match="must be -1"):
        ShardedNeighbours(open_shard(whole, 0), (3, -2))
