"""Paths one by one: every simple path between two things, shortest first. Pure, over the arrays of one view.

From one fixed end we know for each server whether a walk of exactly so many relationships leads to it. So a search
from the other end takes no step that cannot arrive, unless it would have to visit a server twice.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from registry.trust.graph.snapshot import NONE, Bools, Ints, Links, View
from registry.trust.graph.walk import HOPS, NOBODY, mask


@dataclass(frozen=True)
class Trace:
    """A path by the numbers of its relationships, in the direction of trust."""

    grants: tuple[int, ...]
    connection: int | None


class _Walks:
    """How far servers are from the fixed end. Per server one bit for each number of relationships in which some walk
    leads there.
    """

    def __init__(self, begin: Bools, *, taken: int, near: Ints, far: Ints, most: int) -> None:
        """`begin`: reached by exactly `taken`; further ones follow `near` to `far`, up to `most`."""
        self._bits = begin.astype(np.uint8) << np.uint8(taken)
        for length in range(taken + 1, most + 1):
            begin = mask(len(begin), far[begin[near]])
            self._bits |= begin.astype(np.uint8) << np.uint8(length)
        self._of = self._bits.tobytes()

    def lead(self, server: int, length: int) -> int:
        return self._of[server] >> length & 1

    def sorted(self, view: View, links: Links) -> "Ends":
        """Of relationships with servers as far ends: those whose server walks lead to, by its id, per near end."""
        bits = self._bits[links.far]
        some = np.flatnonzero(bits)
        order = some[np.argsort(view.snapshot.servers.ids.rank[links.far[some]], kind="stable")]
        found: Ends = defaultdict(list)
        columns = (links.near[order], links.far[order], links.number[order], bits[order])
        for near, *end in zip(*(column.tolist() for column in columns), strict=True):
            found[near].append((end[0], end[1], end[2]))
        return found


Ends = defaultdict[int, list[tuple[int, int, int]]]
"""Per thing its relationships: server, number, and the bits of the server."""


class From:
    """Paths that begin at one agent or one server."""

    def __init__(self, view: View, *, agent: int | None = None, server: int | None = None, hops: int = HOPS) -> None:
        self._view, self._server, self._hops = view, server, hops
        # A path that comes back to the server an agent is goes on from where it began.
        self._own = NONE if agent is None else int(view.snapshot.agents.link[agent])
        size = len(view.snapshot.servers)
        self._first: Links = view.out_of(np.array([agent])) if agent is not None else view.out_of(NOBODY)
        if server is None:
            begin, taken = mask(size, self._first.far), 1
        else:
            begin, taken = mask(size, np.array([server])) & view.snapshot.servers.active, 0
        self._walks = _Walks(begin, taken=taken, near=view.chain.near, far=view.chain.far, most=hops)

    def to_systems(self, systems: Ints) -> Mapping[int, Iterator[Trace]]:
        """A search per system; what is known of the last connections is read for all of them together."""
        last = self._walks.sorted(self._view, self._view.connecting(systems))
        return {system: self._over(last[system]) for system in systems.tolist()}

    def _over(self, last: list[tuple[int, int, int]]) -> Iterator[Trace]:
        for length in range(1, self._hops + 1):
            for server, connection, bits in last:
                if bits >> (length - 1) & 1:
                    for grants in self._back(server, length - 1, (server,)):
                        yield Trace(grants, connection)

    def to_server(self, server: int) -> Iterator[Trace]:
        for length in range(1, self._hops + 1):
            if self._walks.lead(server, length):
                for grants in self._back(server, length, (server,)):
                    yield Trace(grants, None)

    @cached_property
    def _grants_on(self) -> Mapping[int, list[int]]:
        """Of the agent itself, by server."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for server, number in zip(self._first.far.tolist(), self._first.number.tolist(), strict=True):
            found[server].append(number)
        return found

    def _back(self, server: int, left: int, seen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Grants that lead from the beginning to `server` in exactly `left` steps, over none of `seen`."""
        if left == 0:
            yield ()
            return
        if left == 1 and self._server is None:
            yield from ((number,) for number in self._grants_on[server])
            return
        for caller, grant in self._view.callers.of(server):
            if not self._walks.lead(caller, left - 1) or caller in seen or caller == self._own:
                continue
            if caller == self._server and left > 1:
                continue
            for grants in self._back(caller, left - 1, (*seen, caller)):
                yield (*grants, grant)


class To:
    """Paths of agents that end at one system."""

    def __init__(self, view: View, system: int) -> None:
        self._view = view
        last = view.connecting(np.array([system]))
        self._last: defaultdict[int, list[int]] = defaultdict(list)
        for server, number in zip(last.far.tolist(), last.number.tolist(), strict=True):
            self._last[server].append(number)
        begin = mask(len(view.snapshot.servers), last.far)
        self._walks = _Walks(begin, taken=1, near=view.chain.far, far=view.chain.near, most=HOPS - 1)

    def from_agents(self, agents: Ints) -> Mapping[int, Iterator[Trace]]:
        """A search per agent; what is known of their first grants is read for all of them together."""
        first = self._walks.sorted(self._view, self._view.out_of(agents))
        own = self._view.snapshot.agents.link[agents].tolist()
        return {agent: self._over(first[agent], server) for agent, server in zip(agents.tolist(), own, strict=True)}

    def _over(self, first: list[tuple[int, int, int]], own: int) -> Iterator[Trace]:
        for length in range(2, HOPS + 1):
            for server, grant, bits in first:
                if bits >> (length - 1) & 1:
                    for grants, connection in self._on(server, length - 1, (server,), own):
                        yield Trace((grant, *grants), connection)

    def _on(self, server: int, left: int, seen: tuple[int, ...], own: int) -> Iterator[tuple[tuple[int, ...], int]]:
        """`own`: the server the agent is; a path may end there, and does not go on from where it began."""
        if left == 1:
            yield from (((), number) for number in self._last[server])
            return
        if server == own:
            return
        for called, grant in self._view.calls.of(server):
            if not self._walks.lead(called, left - 1) or called in seen:
                continue
            for grants, connection in self._on(called, left - 1, (*seen, called), own):
                yield (grant, *grants), connection
