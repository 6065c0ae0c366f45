"""Chains over the arrays of one view: what is reachable, and what reaches. Pure: neither Django nor SQL.

A hop is one relationship. A path has at most six: at most five servers and a connection, or six grants. A server that
is itself an agent continues the chain. Existence is answered by walks: the shortest walk between two things visits
nothing twice, so whether there is one, and how short it is, is the same for walks and for paths.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from registry.trust.graph.snapshot import NONE, Bools, Ints, Links, View

HOPS = 6
NOBODY: Ints = np.empty(0, dtype=np.int32)


def mask(size: int, numbers: Ints) -> Bools:
    found = np.zeros(size, dtype=np.bool_)
    found[numbers] = True
    return found


def _best(size: int, where: Ints, values: Ints) -> Ints:
    """Per place the highest of its values (1 to 3), 0 without one; faster than `maximum.at` for so few values."""
    found = np.zeros(size, dtype=np.int8)
    for value in (1, 2, 3):
        found[where[values == value]] = value
    return found


def _fewest(size: int, where: Ints, values: Ints) -> Ints:
    """Per place the lowest of its values (1 to `HOPS`), 0 without one."""
    found = np.zeros(size, dtype=np.int8)
    for value in range(HOPS, 0, -1):
        found[where[values == value]] = value
    return found


def spread(hops: Ints, near: Ints, far: Ints, begin: int, end: int) -> None:
    """Number what is first reached from `near` at each hop up to `end`, in place. What is not reached has `NONE`."""
    for hop in range(begin, end + 1):
        reached = far[hops[near] == hop - 1]
        reached = reached[hops[reached] == NONE]
        if not len(reached) and not (hops == hop).any():
            return
        hops[reached] = hop


@dataclass(frozen=True)
class Far:
    """Things at the other end, per number: fewest hops (0: not there), best access (0: none), a certified path."""

    hops: Ints
    access: Ints
    certified: Bools

    @property
    def there(self) -> Bools:
        return self.hops > 0


@dataclass(frozen=True)
class Closure:
    """What some agents and servers reach together. Hops count from them: a grant of theirs is hop 1."""

    view: View
    first: Links
    """Grants of the agents."""
    hops: Ints
    """Per server, `NONE` when it is not reached; 0 for those that were given."""
    certified_hops: Ints
    """The same over certified grants and servers alone."""

    @cached_property
    def connections(self) -> Links:
        """Of servers that leave a hop for them."""
        return self.view.connected(np.flatnonzero((self.hops >= 0) & (self.hops < HOPS)))

    @cached_property
    def systems(self) -> Far:
        links = self.connections
        size = len(self.view.snapshot.systems)
        left = self.certified_hops[links.near]
        return Far(
            hops=_fewest(size, links.far, self.hops[links.near] + 1),
            access=_best(size, links.far, self.view.snapshot.connections.column("mark", links.number)),
            certified=mask(size, links.far[links.certified & (left >= 0) & (left < HOPS)]),
        )


def downwards(view: View, *, agents: Ints = NOBODY, servers: Ints = NOBODY) -> Closure:
    """What `agents` and `servers` reach, as if one hand held them all."""
    nodes, good = view.snapshot.servers, view.server_certified
    first = view.out_of(agents)
    starts = servers[nodes.active[servers]]

    def hops_from(starts: Ints, first: Links, chain: Links) -> Ints:
        hops = np.full(len(nodes), NONE, dtype=np.int8)
        hops[first.far] = 1
        hops[starts] = 0
        spread(hops, chain.near, chain.far, 1, HOPS)
        return hops

    certified = hops_from(starts[good[starts]], first.where(first.certified & good[first.far]), view.sure_chain)
    return Closure(view, first, hops_from(starts, first, view.chain), certified)


@dataclass(frozen=True)
class Callers:
    """What reaches some servers or systems. Hops count to them: a grant on the server, or a connection, is hop 1."""

    view: View
    last: Links
    """The connections at the end (`near`: system); none when servers were given."""
    hops: Ints
    """Per server, `NONE` when it does not lead there; 0 for those that were given."""
    access: Ints
    """Per server the best at the end."""
    certified: Bools

    @cached_property
    def calls(self) -> Links:
        """Grants on the servers that lead there and leave a hop for them; `far` are agents."""
        return self.view.into(np.flatnonzero((self.hops >= 0) & (self.hops < HOPS)))

    @cached_property
    def agents(self) -> Far:
        links = self.calls
        size = len(self.view.snapshot.agents)
        return Far(
            hops=_fewest(size, links.far, self.hops[links.near] + 1),
            access=_best(size, links.far, self.access[links.near]),
            certified=mask(size, links.far[links.certified & self.certified[links.near]]),
        )


def upwards(view: View, *, systems: Ints = NOBODY, servers: Ints = NOBODY, through: Ints | None = None) -> Callers:
    """What reaches `systems` (by the connections `through` alone, when given), or `servers`."""
    nodes, chain, good = view.snapshot.servers, view.chain, view.server_certified
    last = view.connecting(systems)
    if through is not None:
        last = last.where(view.snapshot.connections.mask(through)[last.number])
    starts = servers[nodes.active[servers]]
    hops = np.full(len(nodes), NONE, dtype=np.int8)
    hops[last.far] = 1
    hops[starts] = 0
    spread(hops, chain.far, chain.near, 1, HOPS - 1)
    access = _best(len(nodes), last.far, view.snapshot.connections.column("mark", last.number))
    certified = mask(len(nodes), last.far[last.certified]) & good
    certified[starts] = good[starts]
    # At first a server knows what begins with itself. Each round adds a hop; the agent needs the last one.
    chain = chain.where((hops[chain.near] >= 0) & (hops[chain.far] >= 0))
    sure = chain.where(chain.certified & good[chain.near] & good[chain.far])
    for _round in range(HOPS - 2 if len(last.near) else HOPS - 1):
        better = np.maximum(access, _best(len(nodes), chain.near, access[chain.far]))
        surer = certified | mask(len(nodes), sure.near[certified[sure.far]])
        if (better == access).all() and (surer == certified).all():
            break
        access, certified = better, surer
    return Callers(view, last, hops, access, certified)
