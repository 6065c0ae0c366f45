"""What is around some things: which relationships belong into a picture, before anything is grouped.

Walks follow what is in force and what the facets leave. What is suspended or only asked for is shown where a walk
passes by, and leads nowhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from registry.trust.graph.snapshot import (
    DATA_CLASSES,
    ENVIRONMENTS,
    NO_LINKS,
    NONE,
    STATUSES,
    TIERS,
    Bools,
    Ints,
    Links,
    View,
    joined,
)
from registry.trust.graph.walk import HOPS, mask, spread
from registry.trust.queries.answers import Ref
from registry.trust.queries.picturing import Facets
from registry.trust.queries.reaching import compromised
from registry.trust.queries.standpoint import Standpoint

KINDS = ("agent", "server", "system")


@dataclass
class Things:
    """Agents, servers and systems as masks."""

    agent: Bools
    server: Bools
    system: Bools

    @classmethod
    def none(cls, view: View) -> "Things":
        return cls(*(np.zeros(len(view.snapshot.nodes(kind)), dtype=np.bool_) for kind in KINDS))

    def add(self, kind: str, numbers: Ints) -> None:
        getattr(self, kind)[numbers] = True

    def __or__(self, other: "Things") -> "Things":
        return Things(*(getattr(self, kind) | getattr(other, kind) for kind in KINDS))


@dataclass
class Selected:
    """What belongs into a picture: relationships by number (in force or not) and things, with or without any."""

    things: Things
    seeds: Things
    grants: Ints
    connections: Ints


@dataclass
class _Start:
    """Where walks begin: downwards from agents and servers, upwards from systems and servers; and single edges."""

    down: Things
    up: Things
    seeds: Things
    grants: list[int] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)


class Surroundings:
    def __init__(self, stand: Standpoint, collapsed: Collection[Ref] = (), facets: Facets | None = None) -> None:
        self._stand, self._view = stand, stand.view
        self._facets = facets or Facets()
        self._closed = self.things(collapsed)

    # --- Subjects ----------------------------------------------------------------------------------------

    def things(self, refs: Collection[Ref]) -> Things:
        """Raises `NotFound` for a thing the actor may not see."""
        found = Things.none(self._view)
        for kind, id in refs:
            if kind in KINDS:
                number = self._stand.find(kind, id)
                found.add(kind, np.array([number]))
                self._other_half(found, kind, number)
        return found

    def _other_half(self, found: Things, kind: str, number: int) -> None:
        """A server and the agent it is are one thing in a picture."""
        if kind == "system":
            return
        link = int(self._stand.nodes(kind).link[number])
        if link != NONE:
            found.add("server" if kind == "agent" else "agent", np.array([link]))

    def _start(self, seeds: Sequence[Ref]) -> _Start:
        view, stand = self._view, self._stand
        start = _Start(Things.none(view), Things.none(view), Things.none(view))
        for kind, id in seeds:
            if kind in ("grant", "connection"):
                self._start_edge(start, kind, stand.find_edge(kind, id))
                continue
            what = compromised(stand, kind, id)  # type: ignore[arg-type]
            for part, numbers in zip(KINDS, (what.agents, what.servers, what.systems), strict=True):
                start.seeds.add(part, numbers)
            if what.connections is not None:
                start.connections += what.connections.tolist()
                start.up.add("server", what.servers)
                continue
            start.down.add("agent", what.agents)
            start.down.add("server", what.servers)
            start.up.add("server", what.servers)
            start.up.add("system", what.systems)
        return start

    def _start_edge(self, start: _Start, kind: str, number: int) -> None:
        edges, one = self._view.snapshot.edges(kind), np.array([number])
        source, target = edges.column("source", one), edges.column("target", one)
        near, far = ("agent", "server") if kind == "grant" else ("server", "system")
        start.seeds.add(near, source)
        start.seeds.add(far, target)
        (start.grants if kind == "grant" else start.connections).append(number)
        if kind == "grant":
            start.down.add("server", target)
            own = self._view.snapshot.agents.link[source]
            start.up.add("server", own[own != NONE])
        else:
            start.up.add("server", source)

    # --- What the facets leave ---------------------------------------------------------------------------

    def _allowed(self, seeds: Things) -> None:
        servers, systems, facets = self._stand.nodes("server"), self._stand.nodes("system"), self._facets

        def among(values: Ints, words: Collection[Any], codes: tuple[str, ...]) -> Bools:
            if not words:
                return np.ones(len(values), dtype=np.bool_)
            return np.isin(values, [codes.index(word) for word in words if word in codes])

        self._server_ok = among(servers.rank, facets.tiers, TIERS)
        self._server_ok &= among(servers.environment, facets.environments, ENVIRONMENTS)
        if facets.teams:
            known = [self._view.snapshot.teams.number(team) for team in facets.teams]
            self._server_ok &= np.isin(servers.team, [number for number in known if number != NONE])
        self._server_ok |= seeds.server
        self._system_ok = among(systems.rank, facets.data_classes, DATA_CLASSES) | seeds.system

    def _grants(self, links: Links, *, agents: str) -> Links:
        """Those the facets leave; `agents` says at which end the agents are."""
        source, target = (links.near, links.far) if agents == "near" else (links.far, links.near)
        behind = self._stand.nodes("agent").link[source]
        ok = self._server_ok[target] & ((behind == NONE) | self._server_ok[behind])
        return links.where(ok & self._certified(links))

    def _connections(self, links: Links, *, servers: str) -> Links:
        source, target = (links.near, links.far) if servers == "near" else (links.far, links.near)
        return links.where(self._server_ok[source] & self._system_ok[target] & self._certified(links))

    def _certified(self, links: Links) -> Bools:
        wanted = self._facets.certified
        return np.ones(len(links.near), dtype=np.bool_) if wanted is None else links.certified == wanted

    # --- Walks -------------------------------------------------------------------------------------------

    def select(
        self, seeds: Sequence[Ref], *, to: Ref | None = None, expanded: Collection[Ref] = (), upwards: bool = True
    ) -> Selected:
        start = self._start(seeds)
        if not upwards:
            start.up = Things.none(self._view)
        if to is not None:
            start.seeds |= self.things([to])
        more = self.things(expanded)
        self._allowed(start.seeds | more)
        chain = self._chain()
        if seeds:
            grants, connections, down, up = self._walked(start, chain, to)
        else:
            grants, connections, down, up = self._everything()
        for found, kept in zip((grants, connections), self._around(more), strict=True):
            found.append(kept)
        grants.append(np.array(start.grants, dtype=np.int64))
        connections.append(np.array(start.connections, dtype=np.int64))
        snapshot = self._view.snapshot
        all_grants, all_connections = (
            np.flatnonzero(edges.mask(np.concatenate(numbers)))
            for edges, numbers in ((snapshot.grants, grants), (snapshot.connections, connections))
        )
        if "active" not in self._facets.statuses:
            all_grants, all_connections = all_grants[:0], all_connections[:0]
        resting = [STATUSES.index(word) for word in ("suspended", "requested") if word in self._facets.statuses]
        if resting:
            late = self._resting(down | start.seeds, up | start.seeds if upwards else up, resting)
            all_grants, all_connections = np.union1d(all_grants, late[0]), np.union1d(all_connections, late[1])
        selected = Selected(start.seeds | more, start.seeds | more, all_grants, all_connections)
        self._complete(selected)
        if self._facets.data_classes:
            self._prune(selected)
        return selected

    def _chain(self) -> Links:
        chain, ok = self._view.chain, self._server_ok
        return chain.where(ok[chain.near] & ok[chain.far] & self._certified(chain))

    def _walked(self, start: _Start, chain: Links, to: Ref | None) -> tuple[list[Ints], list[Ints], Things, Things]:
        view = self._view
        grants: list[Ints] = []
        connections: list[Ints] = []
        down, up = Things.none(view), Things.none(view)
        # Downwards: `ahead` are the hops from the seeds.
        first = self._grants(view.out_of(np.flatnonzero(start.down.agent & ~self._closed.agent)), agents="near")
        ahead = np.full(len(down.server), NONE, dtype=np.int8)
        ahead[first.far] = 1
        ahead[start.down.server] = 0
        onwards = chain.where(~self._closed.server[chain.near])
        spread(ahead, onwards.near, onwards.far, 1, HOPS)
        onwards = onwards.where((ahead[onwards.near] >= 0) & (ahead[onwards.near] < HOPS))
        leaving = np.flatnonzero((ahead >= 0) & (ahead < HOPS) & ~self._closed.server)
        last = self._connections(view.connected(leaving), servers="near")
        if to is not None:
            return (*self._between(to, first, onwards, last, ahead), down, up)
        grants += [first.number, onwards.number]
        connections.append(last.number)
        down.agent |= start.down.agent
        down.server |= ahead >= 0
        # Upwards: hops to the seeds.
        behind = np.full(len(up.server), NONE, dtype=np.int8)
        begin = self._connections(view.connecting(np.flatnonzero(start.up.system)), servers="far")
        behind[begin.far] = 1
        behind[start.up.server] = 0
        back = chain.where(~self._closed.server[chain.far])
        spread(behind, back.far, back.near, 1, HOPS - 1)
        arriving = np.flatnonzero((behind >= 0) & (behind < HOPS) & ~self._closed.server)
        grants.append(self._grants(view.into(arriving), agents="far").number)
        connections.append(begin.number)
        up.server |= behind >= 0
        up.system |= start.up.system
        return grants, connections, down, up

    def _between(self, to: Ref, first: Links, chain: Links, last: Links, ahead: Ints) -> tuple[list[Ints], list[Ints]]:
        """What lies on a walk of at most six hops from the seeds to `to`."""
        target = self._stand.find(*to)
        left = np.full(len(ahead), NONE, dtype=np.int8)
        if to[0] == "system":
            last = last.where(last.far == target)
            left[last.near] = 1
        else:
            last = NO_LINKS
            left[target if to[0] == "server" else self._stand.nodes("agent").link[target : target + 1]] = 0
        spread(left, chain.far, chain.near, 1, HOPS)
        first = first.where((left[first.far] >= 0) & (left[first.far] < HOPS))
        total = ahead[chain.near] + 1 + left[chain.far]
        chain = chain.where((left[chain.far] >= 0) & (total <= HOPS))
        return [first.number, chain.number], [last.number]

    def _everything(self) -> tuple[list[Ints], list[Ints], Things, Things]:
        view = self._view
        servers = np.flatnonzero(self._server_ok & ~self._closed.server)
        if len(servers) == len(self._server_ok):
            calls, uses = view.all_calls, view.all_connections
        else:
            calls, uses = view.into(servers), view.connected(servers)
        grants = self._grants(calls, agents="far").number
        connections = self._connections(uses, servers="near").number
        everything = Things(*(np.ones(len(self._stand.nodes(kind)), dtype=np.bool_) for kind in KINDS))
        return [grants], [connections], everything, everything

    def _around(self, more: Things) -> tuple[Ints, Ints]:
        """Every relationship in force of these things."""
        view = self._view
        servers = np.flatnonzero(more.server)
        grants = joined([
            self._grants(view.out_of(np.flatnonzero(more.agent)), agents="near"),
            self._grants(view.into(servers), agents="far"),
        ])  # fmt: skip
        connections = joined([
            self._connections(view.connected(servers), servers="near"),
            self._connections(view.connecting(np.flatnonzero(more.system)), servers="far"),
        ])  # fmt: skip
        return grants.number, connections.number

    def _resting(self, down: Things, up: Things, codes: list[int]) -> tuple[Ints, Ints]:
        """Suspended or requested relationships that a walk passes by."""
        snapshot = self._view.snapshot
        linked = snapshot.servers.link[down.server]
        agents = down.agent | mask(len(down.agent), linked[linked != NONE])
        found = []
        for kind, sources, targets in (("grant", agents, up.server), ("connection", down.server, up.system)):
            edges = snapshot.edges(kind)
            numbers = np.union1d(
                edges.all_touching("source", np.flatnonzero(sources)),
                edges.all_touching("target", np.flatnonzero(targets)),
            )
            numbers = numbers[np.isin(edges.column("status", numbers), codes)]
            certified = edges.column("certified", numbers) > self._view.at
            links = Links(edges.column("source", numbers), edges.column("target", numbers), numbers, certified)
            near, far = ("agent", "server") if kind == "grant" else ("server", "system")
            there = (snapshot.nodes(near).state[links.near] != 0) & (snapshot.nodes(far).state[links.far] != 0)
            links = links.where(there)
            kept = self._grants(links, agents="near") if kind == "grant" else self._connections(links, servers="near")
            found.append(kept.number)
        return found[0], found[1]

    # --- What that leaves --------------------------------------------------------------------------------

    def _complete(self, selected: Selected) -> None:
        """The things at the ends of what was selected."""
        for kind, numbers, (near, far) in (
            ("grant", selected.grants, ("agent", "server")), ("connection", selected.connections, ("server", "system")),
        ):  # fmt: skip
            edges = self._view.snapshot.edges(kind)
            selected.things.add(near, edges.column("source", numbers))
            selected.things.add(far, edges.column("target", numbers))

    def _prune(self, selected: Selected) -> None:
        """Only what still leads to a system that is left, and the seeds."""
        snapshot = self._view.snapshot
        grants, connections = snapshot.grants, snapshot.connections
        source, target = (grants.column(side, selected.grants) for side in ("source", "target"))
        behind = snapshot.agents.link[source]
        leading = mask(len(snapshot.servers), connections.column("source", selected.connections))
        while True:
            more = behind[leading[target] & (behind != NONE)]
            if leading[more].all():
                break
            leading[more] = True
        seeds = selected.seeds
        selected.grants = selected.grants[leading[target] | (seeds.agent[source] & seeds.server[target])]
        selected.things = selected.seeds | Things.none(self._view)
        self._complete(selected)
