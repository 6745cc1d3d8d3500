"""The hot loops of `apps.graph.tokens`, compiled; `token_reference.py` says the same in Python, number for number.

`marks` holds -1 for every node of the graph between two calls. Ids are not checked here.
"""

__all__ = ["LOOK", "distinct", "draw"]

import numpy as np

from apps.graph.compiled import GOLDEN, compiled, mix, uniform

from .kernels import floyd

# A path that is drawn costs about as much as this many that are looked at.
LOOK = 64


@compiled
def draw(offsets, neighbours, back_offsets, back, nodes, key, marks, tokens, counts):
    """Tokens and counts of some nodes; `marks` are -1, before and after."""
    want = tokens.shape[1] - 1
    pool = np.empty(1 << 12, np.int64)
    picks = np.empty(want, np.int64)
    for n in range(len(nodes)):
        node = nodes[n]
        state = mix(key ^ (np.uint64(node) * GOLDEN))
        begin, end = offsets[node], offsets[node + 1]
        size = end - begin
        for e in range(begin, end):
            size += offsets[neighbours[e] + 1] - offsets[neighbours[e]]
        drawn, tries = 0, size // LOOK
        if tries > 2 * want:
            drawn = _by_chance(offsets, neighbours, back_offsets, back, node, state, tries, picks)
        if drawn < want:
            room = min(size, end - begin + len(marks))
            if room > len(pool):
                pool = np.empty(2 * room, np.int64)
            size = _collect(offsets, neighbours, node, marks, pool)
            if size >= want:
                for k in range(want):
                    other = k + np.int64(uniform(state, 2 * tries + k) * (size - k))
                    pool[k], pool[other] = pool[other], pool[k]
                    picks[k] = pool[k]
            elif size > 0:
                for k in range(want):
                    picks[k] = pool[k % size]
            elif want <= len(marks):
                floyd(state, len(marks), want, 0, picks, 0)
            else:
                for k in range(want):
                    picks[k] = np.int64(uniform(state, k) * len(marks))
        _merge(node, picks, marks, tokens[n], counts[n])


@compiled
def _collect(offsets, neighbours, node, marks, pool):
    """The pool of a node; returns its size."""
    begin, end = offsets[node], offsets[node + 1]
    size = 0
    for e in range(begin, end):
        pool[size] = neighbours[e]
        size += 1
    first = size
    for e in range(begin, end):
        for f in range(offsets[neighbours[e]], offsets[neighbours[e] + 1]):
            other = neighbours[f]
            if marks[other] < 0:
                marks[other] = 0
                pool[size] = other
                size += 1
    for k in range(first, size):
        marks[pool[k]] = -1
    return size


@compiled
def _by_chance(offsets, neighbours, back_offsets, back, node, state, tries, picks):
    """Different entries of the pool, at most `tries` draws of two numbers each; returns how many were found."""
    begin, end = offsets[node], offsets[node + 1]
    own = end - begin
    ends = np.empty(own + 1, np.int64)
    ends[0] = own
    for e in range(begin, end):
        ends[e - begin + 1] = ends[e - begin] + offsets[neighbours[e] + 1] - offsets[neighbours[e]]
    entries = np.empty(len(picks), np.int64)
    found = 0
    for t in range(tries):
        place = np.int64(uniform(state, t) * ends[own])
        if place < own:
            # An edge: its number is the entry, also where there are two of it.
            other, entry = np.int64(neighbours[begin + place]), place
        else:
            through = np.searchsorted(ends, place, side="right") - 1
            f = offsets[neighbours[begin + through]] + place - ends[through]
            other = np.int64(neighbours[f])
            entry = own + other
            if f > offsets[neighbours[begin + through]] and neighbours[f - 1] == other:
                continue
            if through > 0 and not _first(
                neighbours[begin : begin + through], back[back_offsets[other] : back_offsets[other + 1]]
            ):
                continue
        again = False
        for k in range(found):
            if entries[k] == entry:
                again = True
                break
        if again:
            continue
        entries[found], picks[found] = entry, other
        found += 1
        if found == len(picks):
            break
    return found


@compiled
def _first(earlier, leads):
    """Whether none of the rising `earlier` is among the rising `leads`."""
    if len(leads) > 16 * len(earlier):
        at = 0
        for node in earlier:
            at += np.searchsorted(leads[at:], node)
            if at == len(leads):
                return True
            if leads[at] == node:
                return False
        return True
    a = b = 0
    while a < len(earlier) and b < len(leads):
        if earlier[a] == leads[b]:
            return False
        if earlier[a] < leads[b]:
            a += 1
        else:
            b += 1
    return True


@compiled
def _merge(node, picks, marks, tokens, counts):
    """The node, then every pick once with how often it is there."""
    tokens[0], counts[0] = node, 1
    number = 1
    for k in range(len(picks)):
        at = marks[picks[k]]
        if at < 0:
            marks[picks[k]] = number
            tokens[number], counts[number] = picks[k], 1
            number += 1
        else:
            counts[at] += 1
    for k in range(1, number):
        marks[tokens[k]] = -1
    tokens[number:] = 0
    counts[number:] = 0


@compiled
def distinct(index, counts, marks):
    """Ids that stand in `index` where counts are above 0, as they are met; `index` then holds their places there."""
    found = np.empty(index.size, np.int64)
    number = 0
    for n in range(len(index)):
        for k in range(index.shape[1]):
            if counts[n, k] > 0:
                node = index[n, k]
                if marks[node] < 0:
                    marks[node] = number
                    found[number] = node
                    number += 1
                index[n, k] = marks[node]
            else:
                index[n, k] = 0
    for k in range(number):
        marks[found[k]] = -1
    return found[:number].copy()
