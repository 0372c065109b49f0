"""Puts evidence into the order in which an engine's prefix cache holds it already.

An engine need not read again the beginning of a prompt that it has read before. Passages that
several questions share are spread over their prompts by rank, so that hardly two begin alike; put
first, and in the same order, they are read once. That costs the order of relevance.

- Requests of a batch: the block whose sharing saves most goes first in all that hold it, those
  become neighbours, and so on within them: greedy group recursion (Liu et al., "Optimizing LLM
  Queries in Relational Data Analytics Workloads", MLSys 2025).
- Requests over time: a prefix tree of the sequences served of late is followed as far as it goes
  (Jin et al., "RAGCache", arXiv:2404.12457; Jiang et al., "ContextPilot", arXiv:2511.03475).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Hashable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush

from ragib.generators.base import Generation, Generator, Request

RECENT = 1024
"""Sequences that the tree holds; those before are likely to have left the cache too."""

_FRAME = 60  # characters of a block besides its title and text
_Block = tuple[str, str, int]  # title, text, and which one of several that are the same


@dataclass(slots=True)
class _Node:
    passing: int = 0
    children: dict[Hashable, _Node] = field(default_factory=dict)


class PrefixTree:
    """The sequences served of late, by what they begin with."""

    def __init__(self, recent: int = RECENT) -> None:
        self._recent = recent
        self._served: deque[tuple[Hashable, ...]] = deque()
        self.root = _Node()

    def add(self, sequence: tuple[Hashable, ...]) -> None:
        """Take in a sequence; the oldest is forgotten when there are too many."""
        self._served.append(sequence)
        node = self.root
        for step in sequence:
            node = node.children.setdefault(step, _Node())
            node.passing += 1
        if len(self._served) > self._recent:
            self._forget(self._served.popleft())

    def _forget(self, sequence: tuple[Hashable, ...]) -> None:
        node = self.root
        for step in sequence:
            child = node.children[step]
            child.passing -= 1
            if not child.passing:
                del node.children[step]
                return
            node = child


class Ordered:
    """A generator that is given evidence in an order that prefix caches like.

    Quotes come back with the numbers of the caller's order, and a batch in the caller's order.
    Requests of unlike salt share no cache, so they are not ordered after one another.

    Parameters
    ----------
    inner
        Answers the requests.
    """

    def __init__(self, inner: Generator) -> None:
        self.inner = inner
        self.name = inner.name
        self._tree = PrefixTree()
        self._lock = threading.Lock()

    def generate(self, requests: Sequence[Request]) -> list[Generation]:
        """Answer a batch; one generation a request, in their order."""
        with self._lock:
            placed = arrange(self._tree, requests)
        answers = self.inner.generate([_reordered(requests[n], order) for n, order in placed])
        found = {n: _restored(a, order) for (n, order), a in zip(placed, answers, strict=True)}
        return [found[n] for n in range(len(requests))]

    async def agenerate(self, request: Request) -> Generation:
        """Answer one request as `generate` does, without blocking the event loop."""
        order = self._place(request)
        return _restored(await self.inner.agenerate(_reordered(request, order)), order)

    async def stream(self, request: Request) -> AsyncIterator[str | Generation]:
        """Yield the answer in pieces as it is generated, then the whole `Generation`."""
        order = self._place(request)
        source = self.inner.stream(_reordered(request, order))
        async with aclosing(source) as parts:  # type: ignore[type-var]
            async for part in parts:
                yield part if isinstance(part, str) else _restored(part, order)

    def close(self) -> None:
        """Close the inner generator, if it can be closed; its cache is gone then."""
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()
        with self._lock:
            self._tree = PrefixTree()

    def _place(self, request: Request) -> tuple[int, ...]:
        with self._lock:
            return arrange(self._tree, [request])[0][1]


def arrange(tree: PrefixTree, requests: Sequence[Request]) -> list[tuple[int, tuple[int, ...]]]:
    """Choose in which order to serve requests, and the order of the evidence of each.

    Parameters
    ----------
    tree
        What was served before; what is arranged goes into it.
    requests
        A batch.

    Returns
    -------
    list[tuple[int, tuple[int, ...]]]
        The place of each request in the batch, in the order to serve them, with the places of its
        evidence in the order to read it. Evidence that shares nothing keeps its order.
    """
    blocks = [_blocks(request) for request in requests]
    salted: dict[str | None, list[int]] = {}
    for number, request in enumerate(requests):
        salted.setdefault(request.salt, []).append(number)
    placed = []
    for salt, members in salted.items():
        root = tree.root.children.get(salt, _Node())
        sequences = list(_arranged(root, {number: blocks[number] for number in members}))
        for number, sequence in sequences:
            tree.add((salt, *sequence))
            placed.append((number, tuple(blocks[number][block] for block in sequence)))
    return placed


def _arranged(
    root: _Node, blocks: dict[int, dict[_Block, int]]
) -> Iterator[tuple[int, tuple[_Block, ...]]]:
    """Yield requests with their blocks in the order to read them."""
    groups: list[tuple[list[int], tuple[_Block, ...], _Node]] = [(list(blocks), (), root)]
    while groups:
        members, prefix, node = groups.pop()
        left = {n: {b: None for b in blocks[n] if b not in prefix} for n in members}
        common = [b for b in left[members[0]] if all(b in left[n] for n in members)]
        path, node = _longest(node, common)
        shared = (*path, *(b for b in common if b not in path))
        if len(path) < len(common):
            node = _Node()
        if all(len(one) == len(common) for one in left.values()):
            yield from ((n, prefix + shared) for n in members)
            continue
        left = {n: {b: None for b in one if b not in shared} for n, one in left.items()}
        split = _split(node, left)
        groups += [(group, prefix + shared, node) for group in reversed(split)]


def _split(node: _Node, left: dict[int, dict[_Block, None]]) -> list[list[int]]:
    """Part requests into groups that share a block, what saves most first, and single ones."""
    holders: dict[_Block, set[int]] = {}
    for number, blocks in left.items():
        for block in blocks:
            holders.setdefault(block, set()).add(number)
    free = dict.fromkeys(left)
    order = {block: place for place, block in enumerate(holders)}

    def saved(block: _Block) -> int:
        readings = len(holders[block]) + (block in node.children) - 1
        return readings * _weight(block)

    heap = [(-saved(block), order[block], block) for block in holders]
    heapify(heap)
    groups = []
    while heap and heap[0][0] < 0:
        believed, place, block = heappop(heap)
        holders[block] = {number for number in holders[block] if number in free}
        now = -saved(block)
        if now > believed:
            heappush(heap, (now, place, block))
            continue
        groups.append(sorted(holders[block]))
        for number in groups[-1]:
            del free[number]
    return [*groups, *([number] for number in free)]


def _longest(node: _Node, blocks: Collection[_Block]) -> tuple[tuple[_Block, ...], _Node]:
    """Return the heaviest path down a tree that these blocks can make, and where it ends."""
    best: tuple[int, tuple[_Block, ...], _Node] = (0, (), node)
    paths = [best]
    while paths:
        weight, path, place = paths.pop()
        if weight > best[0]:
            best = (weight, path, place)
        for block in blocks:
            child = place.children.get(block)
            if child is not None:
                paths.append((weight + _weight(block), (*path, block), child))
    return best[1:]


def _blocks(request: Request) -> dict[_Block, int]:
    """Return the blocks of a request's prompt in their order, with their places."""
    found: dict[_Block, int] = {}
    for place, piece in enumerate(request.evidence):
        title = request.titles.get(piece.passage_id, "")
        again = 0
        while (title, piece.text, again) in found:
            again += 1
        found[title, piece.text, again] = place
    return found


def _weight(block: _Block) -> int:
    return len(block[0]) + len(block[1]) + _FRAME


def _reordered(request: Request, order: Sequence[int]) -> Request:
    return replace(request, evidence=tuple(request.evidence[place] for place in order))


def _restored(generation: Generation, order: Sequence[int]) -> Generation:
    """Give quotes the numbers of the caller's order; a number of none stays one of none."""
    caller = dict(enumerate(order))
    quotes = (replace(q, evidence=caller.get(q.evidence, q.evidence)) for q in generation.quotes)
    return replace(generation, quotes=tuple(quotes))
