"""The hot loops of sampling, compiled; `reference.py` says the same in plain Python, number for number.

A hop is drawn in three loops, each of which only waits for memory that the processor can ask for ahead: how many edges
each node of the frontier gets, which ones, and what number their source has in the batch (`slots`, one entry a node of
the whole graph, -1 where it has none). Ids are not checked here.
"""

__all__ = [
    "add_nodes",
    "choose",
    "choose_candidates",
    "count",
    "count_candidates",
    "induce",
    "relabel_trees",
    "release",
    "seed",
]  # fmt: skip

import numpy as np

from apps.graph.compiled import GOLDEN, compiled, mix, uniform


@compiled
def seed(nodes, slots):
    """Number the seeds; returns the place of one that occurs twice, or -1."""
    for n in range(len(nodes)):
        if slots[nodes[n]] >= 0:
            for m in range(n):
                slots[nodes[m]] = -1
            return n
        slots[nodes[n]] = n
    return -1


@compiled
def release(nodes, slots):
    """Forget the numbers of a batch."""
    for n in range(len(nodes)):
        slots[nodes[n]] = -1


@compiled
def count(offsets, frontier, fan, replace, ends):
    """ends[n + 1] = edges of the first n + 1 nodes of the frontier; fan -1 takes all."""
    ends[0] = 0
    for n in range(len(frontier)):
        degree = offsets[frontier[n] + 1] - offsets[frontier[n]]
        take = degree
        if fan >= 0 and (fan < degree or (replace and degree > 0)):
            take = fan
        ends[n + 1] = ends[n] + take


@compiled
def floyd(state, size, take, base, places, at):
    """`take` different whole numbers below `size`, each set equally likely (Floyd): places[at:] = base + number."""
    for k in range(take):
        top = size - take + k
        drawn = np.int64(uniform(state, k) * (top + 1))
        for m in range(at, at + k):
            if places[m] == base + drawn:
                drawn = top
                break
        places[at + k] = base + drawn


@compiled
def choose(offsets, frontier, keys, replace, ends, places):
    """Edges of each node of the frontier, as many as `ends` says, each set equally likely."""
    for n in range(len(frontier)):
        node = frontier[n]
        begin, at = offsets[node], ends[n]
        degree, take = offsets[node + 1] - begin, ends[n + 1] - at
        state = mix(keys[n if len(keys) > 1 else 0] ^ (np.uint64(node) * GOLDEN))
        if replace:
            for k in range(take):
                places[at + k] = begin + np.int64(uniform(state, k) * degree)
        elif take == degree:
            for k in range(take):
                places[at + k] = begin + k
        else:
            floyd(state, degree, take, begin, places, at)


@compiled
def count_candidates(offsets, weights, times, bounds, frontier, fan, replace, ends):
    """As `count`, of edges with a weight above 0 and a time not after the bound; either array may be empty."""
    ends[0] = 0
    for n in range(len(frontier)):
        size = 0
        for e in range(offsets[frontier[n]], offsets[frontier[n] + 1]):
            if (len(weights) == 0 or weights[e] > 0) and (len(times) == 0 or times[e] <= bounds[n]):
                size += 1
        take = size
        if fan >= 0 and (fan < size or (replace and size > 0)):
            take = fan
        ends[n + 1] = ends[n] + take


@compiled
def choose_candidates(offsets, weights, times, bounds, frontier, keys, replace, ends, places):
    """As `choose`, of those edges.

    By weight without replacement: the smallest of exponential numbers at the rates of the weights (Efraimidis and
    Spirakis 2006), which is to draw one after the other in proportion to the weights that are left.
    """
    for n in range(len(frontier)):
        node = frontier[n]
        begin, end, at = offsets[node], offsets[node + 1], ends[n]
        take = ends[n + 1] - at
        if take == 0:
            continue
        state = mix(keys[n if len(keys) > 1 else 0] ^ (np.uint64(node) * GOLDEN))
        candidates = np.empty(end - begin, np.int64)
        size = 0
        for e in range(begin, end):
            if (len(weights) == 0 or weights[e] > 0) and (len(times) == 0 or times[e] <= bounds[n]):
                candidates[size] = e
                size += 1
        if len(weights) == 0:
            if replace:
                for k in range(take):
                    places[at + k] = candidates[np.int64(uniform(state, k) * size)]
            elif take == size:
                places[at : at + take] = candidates[:size]
            else:
                floyd(state, size, take, 0, places, at)
                for k in range(take):
                    places[at + k] = candidates[places[at + k]]
        elif replace:
            sums = np.empty(size, np.float64)
            total = 0.0
            for c in range(size):
                total += weights[candidates[c]]
                sums[c] = total
            for k in range(take):
                c = np.searchsorted(sums, uniform(state, k) * total, side="right")
                places[at + k] = candidates[min(c, size - 1)]
        elif take == size:
            places[at : at + take] = candidates[:size]
        else:
            # The `take` smallest so far, sorted.
            waits = np.full(take, np.inf)
            for c in range(size):
                wait = -np.log1p(-uniform(state, c)) / weights[candidates[c]]
                if wait < waits[take - 1]:
                    m = take - 1
                    while m > 0 and waits[m - 1] > wait:
                        waits[m] = waits[m - 1]
                        places[at + m] = places[at + m - 1]
                        m -= 1
                    waits[m] = wait
                    places[at + m] = candidates[c]


@compiled
def add_nodes(neighbours, places, nodes, number, slots, columns):
    """Number the sources of the chosen edges; new ones go behind `nodes[:number]`. Returns how many there are now."""
    for k in range(len(places)):
        columns[k] = neighbours[places[k]]
    for k in range(len(places)):
        node = columns[k]
        slot = slots[node]
        if slot < 0:
            slot = number
            slots[node] = slot
            nodes[number] = node
            number += 1
        columns[k] = slot
    return number


@compiled
def relabel_trees(neighbours, places, ends, frontier_trees, nodes, trees, number, table, columns):
    """As `add_nodes`, a node once in every tree; `table`, a power of two long, is an open hash table, -1 empty."""
    mask = np.uint64(len(table) - 1)
    for n in range(len(ends) - 1):
        tree = frontier_trees[n]
        for k in range(ends[n], ends[n + 1]):
            node = np.int64(neighbours[places[k]])
            at = mix(np.uint64(node) * GOLDEN ^ np.uint64(tree)) & mask
            while table[at] >= 0 and (nodes[table[at]] != node or trees[table[at]] != tree):
                at = (at + np.uint64(1)) & mask
            if table[at] < 0:
                table[at] = number
                nodes[number] = node
                trees[number] = tree
                number += 1
            columns[k] = table[at]
    return number


@compiled
def enter(nodes, trees, table):
    """Put (tree, node) pairs into an empty hash table; returns the place of one that occurs twice, or -1."""
    mask = np.uint64(len(table) - 1)
    for n in range(len(nodes)):
        at = mix(np.uint64(nodes[n]) * GOLDEN ^ np.uint64(trees[n])) & mask
        while table[at] >= 0:
            if nodes[table[at]] == nodes[n] and trees[table[at]] == trees[n]:
                return n
            at = (at + np.uint64(1)) & mask
        table[at] = n
    return -1


@compiled
def induce(offsets, neighbours, nodes, starts, slots, ends, columns, places):
    """Edges among the nodes of each group nodes[starts[g]:starts[g + 1]], their rows in the order of `nodes`.

    A row much longer than its group is searched for the members one by one, since rows are sorted. With `columns` of
    length 0 the edges are counted only.
    """
    total = 0
    ends[0] = 0
    for g in range(len(starts) - 1):
        a, b = starts[g], starts[g + 1]
        for n in range(a, b):
            slots[nodes[n]] = n
        for n in range(a, b):
            begin, end = offsets[nodes[n]], offsets[nodes[n] + 1]
            if end - begin > 32 * (b - a):
                for m in range(a, b):
                    e = begin + np.searchsorted(neighbours[begin:end], nodes[m])
                    while e < end and neighbours[e] == nodes[m]:
                        if len(columns):
                            columns[total] = m
                            places[total] = e
                        total += 1
                        e += 1
            else:
                for e in range(begin, end):
                    slot = slots[neighbours[e]]
                    if slot >= 0:
                        if len(columns):
                            columns[total] = slot
                            places[total] = e
                        total += 1
            ends[n + 1] = total
        for n in range(a, b):
            slots[nodes[n]] = -1
    return total


@compiled
def gather(table, ids, out):
    """out[n] = table[ids[n]], rows of floats."""
    width = table.shape[1]
    for n in range(len(ids)):
        row = ids[n]
        for c in range(width):
            out[n, c] = table[row, c]
