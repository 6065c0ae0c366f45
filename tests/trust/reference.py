"""Who may reach what, in plain Python over plain rows: slow, obvious, and independent of the arrays it checks.

Paths are enumerated one by one. Where an answer is about walks (what lies behind a cut, however one gets there) sets
are carried from hop to hop. Nothing here is shared with the product but the names of things.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

HOPS = 6
ACCESS = ["", "read", "write", "admin"]
DATA = ["", "public", "internal", "confidential", "restricted"]


@dataclass(frozen=True)
class Thing:
    """An agent (`server`: the one it is), a server or a system. Times are plain numbers."""

    id: UUID
    active: bool = True
    certified_until: float | None = None
    server: UUID | None = None
    data_class: str = ""
    environment: str = "production"
    owner: UUID | None = None
    team: UUID | None = None
    issuer: UUID | None = None
    kind: str = ""


@dataclass(frozen=True)
class Edge:
    """A grant (agent → server) or a connection (server → system)."""

    id: UUID
    source: UUID
    target: UUID
    status: str
    start: float | None
    until: float
    certified_until: float | None
    access: str = ""
    secret: str = ""


@dataclass
class Reference:
    """One world at one instant."""

    agents: dict[UUID, Thing]
    servers: dict[UUID, Thing]
    systems: dict[UUID, Thing]
    all_grants: list[Edge]
    all_connections: list[Edge]
    now: float
    grants: list[Edge] = field(init=False)
    connections: list[Edge] = field(init=False)

    def __post_init__(self) -> None:
        self.grants = [
            g
            for g in self.all_grants
            if self._in_force(g) and self.agents[g.source].active and self.servers[g.target].active
        ]
        self.connections = [
            c
            for c in self.all_connections
            if self._in_force(c) and self.servers[c.source].active and self.systems[c.target].active
        ]
        self.agent_of = {a.server: a.id for a in self.agents.values() if a.server}
        self.grants_of: dict[UUID, list[Edge]] = defaultdict(list)
        self.connections_of: dict[UUID, list[Edge]] = defaultdict(list)
        for g in self.grants:
            self.grants_of[g.source].append(g)
        for c in self.connections:
            self.connections_of[c.source].append(c)

    def without(self, cut: set[UUID]) -> "Reference":
        return Reference(
            self.agents,
            self.servers,
            self.systems,
            [g for g in self.all_grants if g.id not in cut],
            [c for c in self.all_connections if c.id not in cut],
            self.now,
        )

    def _in_force(self, edge: Edge) -> bool:
        return edge.status == "active" and edge.start is not None and edge.start <= self.now < edge.until

    def _certified(self, thing: Any) -> bool:
        return thing.certified_until is not None and thing.certified_until > self.now

    # --- Paths -------------------------------------------------------------------------------------------

    def paths(
        self, *, agent: UUID | None = None, server: UUID | None = None, detours: bool = False
    ) -> Iterator[list[Edge]]:
        """Every path of at most six relationships from here, over no server and no agent twice; also those that end at
        a server. With `detours` also those that come back to the agent they began with, and go on.
        """
        if agent is not None:
            yield from self._from(agent, [], set(), None if detours else agent)
        elif server is not None and self.servers[server].active:
            yield from self._beyond(server, [], {server}, None)

    def _from(self, agent: UUID, path: list[Edge], seen: set[UUID], start: UUID | None) -> Iterator[list[Edge]]:
        if len(path) == HOPS:
            return
        for grant in self.grants_of[agent]:
            if grant.target not in seen:
                yield [*path, grant]
                yield from self._beyond(grant.target, [*path, grant], seen | {grant.target}, start)

    def _beyond(self, server: UUID, path: list[Edge], seen: set[UUID], start: UUID | None) -> Iterator[list[Edge]]:
        if len(path) == HOPS:
            return
        for connection in self.connections_of[server]:
            yield [*path, connection]
        if server in self.agent_of and self.agent_of[server] != start:
            yield from self._from(self.agent_of[server], path, seen, start)

    def certified(self, path: list[Edge]) -> bool:
        servers = {edge.source for edge in path if edge.access} | {edge.target for edge in path if not edge.access}
        return all(self._certified(e) for e in path) and all(self._certified(self.servers[s]) for s in servers)

    # --- Reach -------------------------------------------------------------------------------------------

    def reach(
        self, *, agents: list[UUID] | None = None, servers: list[UUID] | None = None
    ) -> tuple[dict[UUID, tuple[int, str, bool]], dict[UUID, tuple[int, bool]]]:
        """Systems with (hops, best access, certified), and servers with (hops, certified)."""
        systems: dict[UUID, tuple[int, str, bool]] = {}
        found: dict[UUID, tuple[int, bool]] = {}
        starts = [("agent", a) for a in agents or ()] + [("server", s) for s in servers or ()]
        for kind, start in starts:
            held = kind == "server"
            good_start = not held or self._certified(self.servers[start])
            for path in self.paths(**{kind: start}):
                sure = good_start and self.certified(path)
                last = path[-1]
                if last.access:
                    hops, access, certified = systems.get(last.target, (9, "", False))
                    best = max(access, last.access, key=ACCESS.index)
                    systems[last.target] = (min(hops, len(path)), best, certified or sure)
                else:
                    hops, certified = found.get(last.target, (9, False))
                    found[last.target] = (min(hops, len(path)), certified or sure)
        return systems, found

    def access(self, system: UUID) -> dict[UUID, tuple[int, str, bool]]:
        """Agents with (hops, best access, certified)."""
        answer = {}
        for agent in self.agents:
            reached = self.reach(agents=[agent])[0]
            if system in reached:
                answer[agent] = reached[system]
        return answer

    def callers(self, servers: list[UUID]) -> dict[UUID, int]:
        """Agents that call one of the servers, by how many hops."""
        answer: dict[UUID, int] = {}
        for agent in self.agents:
            hops = [h for s, (h, _c) in self.reach(agents=[agent])[1].items() if s in servers]
            if hops:
                answer[agent] = min(hops)
        return answer

    # --- Cutting -----------------------------------------------------------------------------------------

    def touched(self, agent: UUID, cut: set[UUID]) -> set[UUID]:
        """Systems at the end of a walk of the agent that passes something cut. Walks may visit a server again."""
        found: set[UUID] = set()
        heads: set[tuple[UUID, bool]] = {(g.target, g.id in cut) for g in self.grants_of[agent]}
        for _hop in range(HOPS - 1):
            following: set[tuple[UUID, bool]] = set()
            for server, passed in heads:
                found |= {c.target for c in self.connections_of[server] if passed or c.id in cut}
                if server in self.agent_of:
                    following |= {(g.target, passed or g.id in cut) for g in self.grants_of[self.agent_of[server]]}
            heads = following
        return found

    def losses(self, cut: set[UUID]) -> dict[UUID, tuple[set[UUID], set[UUID], set[UUID]]]:
        """Per agent concerned: its own grants that are cut, systems it loses, systems it keeps another way."""
        afterwards = self.without(cut)
        answer = {}
        for agent in self.agents:
            own = {g.id for g in self.grants_of[agent] if g.id in cut}
            touched = self.touched(agent, cut)
            if own or touched:
                before, after = (set(world.reach(agents=[agent])[0]) for world in (self, afterwards))
                assert before - after <= touched
                answer[agent] = (own, before - after, touched & after)
        return answer

    def unserved(self, cut: set[UUID]) -> set[UUID]:
        left = {c.target for c in self.connections if c.id not in cut}
        return {c.target for c in self.connections if c.id in cut} - left

    def cut_of(self, kind: str, id: UUID) -> set[UUID]:
        """The relationships in force that end when this is cut."""
        if kind in ("grant", "connection"):
            return {e.id for e in (*self.grants, *self.connections) if e.id == id}
        if kind == "agent":
            return {g.id for g in self.grants if g.source == id}
        if kind == "server":
            own = self.agent_of.get(id)
            return {g.id for g in self.grants if g.target == id or g.source == own} | {
                c.id for c in self.connections if c.source == id
            }
        if kind == "system":
            return {c.id for c in self.connections if c.target == id}
        if kind == "secret":
            return {c.id for c in self.connections if c.secret == id}
        column = {"team": "team", "person": "owner", "issuer": "issuer"}[kind]
        found: set[UUID] = set()
        for part, things in (("agent", self.agents), ("server", self.servers), ("system", self.systems)):
            for thing in things.values():
                if getattr(thing, column) == id:
                    found |= self.cut_of(part, thing.id)
        return found
