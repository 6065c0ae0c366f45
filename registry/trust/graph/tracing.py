"""Paths one by one: every simple path between two things, shortest first. Pure, over the arrays of one view.

From one fixed end we know for each server whether a walk of exactly so many relationships leads to it. So a search
from the other end takes no step that cannot arrive, unless it would have to visit a server twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from registry.trust.graph.snapshot import Bools, Ints, Links, View
from registry.trust.graph.walk import HOPS, NOBODY


@dataclass(frozen=True)
class Trace:
    """A path by the numbers of its relationships, in the direction of trust."""

    grants: tuple[int, ...]
    connection: int | None


class From:
    """Paths that begin at one agent or one server."""

    def __init__(self, view: View, *, agent: int | None = None, server: int | None = None, hops: int = HOPS) -> None:
        self._view, self._server = view, server
        nodes = view.snapshot.servers
        self._first: Links = view.out_of(np.array([agent])) if agent is not None else view.out_of(NOBODY)
        begin = np.zeros(len(nodes), dtype=np.bool_)
        self._walks = [begin]
        if server is None:
            step = begin.copy()
            step[self._first.far] = True
            self._walks.append(step)
        elif nodes.active[server]:
            begin[server] = True
        self._walks += _walks(self._walks[-1], view.chain.near, view.chain.far, hops + 1 - len(self._walks))

    def to_system(self, system: int, hops: int = HOPS, last: Links | None = None) -> Iterator[Trace]:
        """`last`: the connections with it, where they are known already."""
        if last is None:
            last = self._view.connecting(np.array([system]))
        order = np.argsort(self._view.snapshot.servers.ids.rank[last.far], kind="stable")
        for length in range(1, hops + 1):
            for place in order[self._walks[length - 1][last.far[order]]].tolist():
                server = int(last.far[place])
                for grants in self._back(server, length - 1, (server,)):
                    yield Trace(grants, int(last.number[place]))

    def to_server(self, server: int, hops: int = HOPS) -> Iterator[Trace]:
        for length in range(1, hops + 1):
            if self._walks[length][server]:
                for grants in self._back(server, length, (server,)):
                    yield Trace(grants, None)

    def _back(self, server: int, left: int, seen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Grants that lead from the beginning to `server` in exactly `left` steps, over none of `seen`."""
        if left == 0:
            yield ()
            return
        if left == 1 and self._server is None:
            yield from ((number,) for number in self._first.number[self._first.far == server].tolist())
            return
        chain, view = self._view.chain, self._view
        places = view.callers.of(server)
        places = places[self._walks[left - 1][chain.near[places]]]
        for place in _by_rank(view, places, chain.near):
            caller = int(chain.near[place])
            if caller in seen or (caller == self._server and left > 1):
                continue
            for grants in self._back(caller, left - 1, (*seen, caller)):
                yield (*grants, int(chain.number[place]))


class To:
    """Paths of agents that end at one system."""

    def __init__(self, view: View, system: int) -> None:
        self._view = view
        last = view.connecting(np.array([system]))
        self._last = last
        begin = np.zeros(len(view.snapshot.servers), dtype=np.bool_)
        first = begin.copy()
        first[last.far] = True
        self._walks = [begin, first, *_walks(first, view.chain.far, view.chain.near, HOPS - 2)]

    def from_agent(self, agent: int) -> Iterator[Trace]:
        first = self._view.out_of(np.array([agent]))
        order = np.argsort(self._view.snapshot.servers.ids.rank[first.far], kind="stable")
        for length in range(2, HOPS + 1):
            for place in order[self._walks[length - 1][first.far[order]]].tolist():
                server = int(first.far[place])
                for grants, connection in self._on(server, length - 1, (server,)):
                    yield Trace((int(first.number[place]), *grants), connection)

    def _on(self, server: int, left: int, seen: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], int]]:
        if left == 1:
            yield from (((), number) for number in self._last.number[self._last.far == server].tolist())
            return
        chain, view = self._view.chain, self._view
        places = view.calls.of(server)
        places = places[self._walks[left - 1][chain.far[places]]]
        for place in _by_rank(view, places, chain.far):
            called = int(chain.far[place])
            if called in seen:
                continue
            for grants, connection in self._on(called, left - 1, (*seen, called)):
                yield (int(chain.number[place]), *grants), connection


def _walks(begin: Bools, near: Ints, far: Ints, steps: int) -> list[Bools]:
    """What is reached by exactly one, two… steps along `near` to `far`."""
    found = []
    for _step in range(steps):
        reached = np.zeros_like(begin)
        reached[far[begin[near]]] = True
        found.append(reached)
        begin = reached
    return found


def _by_rank(view: View, places: Ints, servers: Ints) -> list[int]:
    """Places in the chain, in the order of the ids of their servers."""
    rank = view.snapshot.servers.ids.rank[servers[places]]
    found: list[int] = places[np.argsort(rank, kind="stable")].tolist()
    return found
