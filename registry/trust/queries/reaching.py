"""What is reachable, what reaches, and what is touched when something is compromised."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np

from registry.accounts.models import Team, User
from registry.catalog.models import Issuer
from registry.trust.graph.snapshot import ACCESS, BEHALF, DATA_CLASSES, NONE, Bools, Ints, Links, Nodes
from registry.trust.graph.walk import NOBODY, Callers, Closure, downwards, mask, upwards
from registry.trust.queries.answers import (
    AccessTo,
    Basis,
    BlastRadius,
    Person,
    Reach,
    ReachedServer,
    ReachedSystem,
    ReachingAgent,
    Rows,
    Subject,
    Use,
)
from registry.trust.queries.observed import NOTHING_SEEN, Seen, seen_of_agent, seen_of_system
from registry.trust.queries.standpoint import Standpoint

_OWNED: Mapping[str, Any] = {"issuer": Issuer, "team": Team, "person": User}


def reach(stand: Standpoint, agent_id: UUID, basis: Basis = "granted") -> Reach:
    agent = stand.find("agent", agent_id)
    seen = NOTHING_SEEN if basis == "granted" else seen_of_agent(stand, agent_id)
    closure = downwards(stand.view, agents=np.array([agent]))
    there, called = closure.systems.there, closure.hops > 0
    if basis == "observed":
        there, called = there & _among(there, seen.systems), called & _among(called, seen.servers)
    far = closure.systems
    systems = _system_rows(
        stand, there, far.hops, far.access, far.certified, nearest=2, sole=None, observed=seen.systems
    )
    servers = _servers(stand, called, closure.hops, closure.certified_hops >= 0, seen.servers)
    return Reach(
        **_stamp(stand),
        counts={"systems": int(there.sum()), "servers": int(called.sum())} | _sighted(basis, len(seen.sightings), seen),
        hidden={"systems": systems.hidden, "servers": servers.hidden} | _sighted(basis, 0, seen),
        agent=agent_id,
        data_classes=_data_classes(stand, there),
        systems=systems,
        servers=servers,
        sightings=seen.sightings,
    )


def access(stand: Standpoint, system_id: UUID, basis: Basis = "granted") -> AccessTo:
    system = stand.find("system", system_id)
    seen = NOTHING_SEEN if basis == "granted" else seen_of_system(stand, system_id)
    callers = upwards(stand.view, systems=np.array([system]))
    far, leading, calls = callers.agents, callers.hops > 0, callers.calls
    hops = far.hops
    if basis == "observed":
        hops = np.where(_among(hops, seen.agents), hops, 0)
        leading = leading & _among(leading, seen.servers)
        calls = calls.where(_among(hops, seen.agents)[calls.far])
    agents = _agents(stand, hops, far.access, far.certified, nearest=2, observed=seen.agents)
    servers = _servers(stand, leading, callers.hops, callers.certified, seen.servers)
    return AccessTo(
        **_stamp(stand),
        counts={
            "agents": int((hops > 0).sum()),
            "direct_agents": int((hops == 2).sum()),
            "servers": int(leading.sum()),
        }
        | _sighted(basis, len(seen.sightings), seen),
        hidden={"agents": agents.hidden, "servers": servers.hidden} | _sighted(basis, 0, seen),
        system=system_id,
        agents=agents,
        servers=servers,
        behalf=_behalf(stand, calls),
        sightings=seen.sightings,
    )


def _among(like: Ints | Bools, seen: Mapping[int, Use]) -> Bools:
    return mask(len(like), np.fromiter(seen, dtype=np.int64, count=len(seen)))


def _sighted(basis: Basis, named: int, seen: Seen) -> dict[str, int]:
    """How many sightings there are: these that may be named, and the others. Not said where nobody asked."""
    return {} if basis == "granted" else {"sightings": named + seen.sightings.hidden}


# --- Blast radius ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compromised:
    """What a subject stands for: things that are compromised with it, and connections somebody else could use."""

    agents: Ints = field(default_factory=lambda: NOBODY)
    servers: Ints = field(default_factory=lambda: NOBODY)
    systems: Ints = field(default_factory=lambda: NOBODY)
    connections: Ints | None = None
    """Only these, not all of the servers (a secret opens just what it is for)."""


def compromised(stand: Standpoint, kind: Subject, id: UUID) -> Compromised:
    """Raises `NotFound`. What is retired is there all the same; nothing of it is in force."""
    snapshot = stand.view.snapshot
    if kind in ("agent", "server", "system"):
        return Compromised(**{f"{kind}s": np.array([stand.find(kind, id)])})
    if kind == "secret_source":
        return _of_secret(stand, id)
    if not _OWNED[kind].objects.filter(pk=id).exists():
        raise stand.not_found(kind)
    if kind == "issuer":
        return Compromised(agents=_belonging(snapshot.agents, "issuer", snapshot.issuers.number(id)))
    column, number = ("team", snapshot.teams.number(id)) if kind == "team" else ("owner", snapshot.people.number(id))
    return Compromised(
        agents=_belonging(snapshot.agents, column, number),
        servers=_belonging(snapshot.servers, column, number),
        systems=_belonging(snapshot.systems, column, number),
    )


def _belonging(nodes: Nodes, column: str, number: int) -> Ints:
    if number == NONE:
        return NOBODY
    # What is suspended or retired can neither be abused nor be missed.
    return np.flatnonzero((getattr(nodes, column) == number) & nodes.active)


def _of_secret(stand: Standpoint, id: UUID) -> Compromised:
    snapshot, secrets = stand.view.snapshot, stand.view.snapshot.secrets
    number = secrets.ids.number(id)
    if number == NONE or secrets.server[number] == NONE or stand.is_hidden("server", int(secrets.server[number])):
        raise stand.not_found("secret_source")
    if secrets.secret[number] == NONE:
        return Compromised()
    same = secrets.secret == secrets.secret[number]
    edges = snapshot.connections
    live = edges.in_force(stand.view.at)
    source = edges.column("detail", live)
    connections = live[(source != NONE) & same[source]]
    servers = np.union1d(secrets.server[same & (secrets.current == 1)], edges.column("source", connections))
    return Compromised(servers=servers, connections=connections)


def blast_radius(stand: Standpoint, kind: Subject, id: UUID) -> BlastRadius:
    return _Blast(stand, kind, id).answer()


class _Blast:
    """One blast radius. Masks are per number; what belongs to the subject has hops 0."""

    def __init__(self, stand: Standpoint, kind: Subject, id: UUID) -> None:
        self._stand, self._kind, self._id = stand, kind, id
        self._what = compromised(stand, kind, id)
        self._one = kind in ("agent", "server", "system")

    def answer(self) -> BlastRadius:
        stand = self._stand
        agent_hops, agent_certified = self._agents
        server_hops, server_certified = self._servers
        system_mask, systems = self._systems
        agents = _agents(stand, agent_hops, np.zeros(len(agent_hops), np.int8), agent_certified, nearest=1)
        there = server_hops >= 0
        servers = _servers(stand, there, server_hops, server_certified)
        people, hidden_people = _people(stand, *self._concerned(agent_hops >= 0, there, system_mask))
        return BlastRadius(
            **_stamp(stand),
            counts={
                "agents": int((agent_hops >= 0).sum()),
                "servers": int(there.sum()),
                "systems": int(system_mask.sum()),
                "people": len(people) + hidden_people,
            },
            hidden={
                "agents": agents.hidden,
                "servers": servers.hidden,
                "systems": systems.hidden,
                "people": hidden_people,
            },
            subject=(self._kind, self._id),
            data_classes=_data_classes(stand, system_mask),
            agents=agents,
            servers=servers,
            systems=systems,
            people=people,
            behalf=_behalf(stand, self._direct_calls),
        )

    @cached_property
    def _closure(self) -> Closure:
        servers = NOBODY if self._what.connections is not None else self._what.servers
        return downwards(self._stand.view, agents=self._what.agents, servers=servers)

    @cached_property
    def _callers(self) -> tuple[Callers, Callers]:
        servers = NOBODY if self._what.connections is not None else self._what.servers
        return upwards(self._stand.view, servers=servers), upwards(self._stand.view, systems=self._what.systems)

    @cached_property
    def _direct_calls(self) -> Links:
        """Grants next to what is compromised: those of its agents, and those on its servers."""
        if self._kind in ("agent", "issuer"):
            return self._closure.first._replace(near=self._closure.first.far, far=self._closure.first.near)
        return self._stand.view.into(self._what.servers)

    @cached_property
    def _agents(self) -> tuple[Ints, Bools]:
        """Hops (`NONE`: not concerned) and whether some path is certified."""
        hops = np.full(len(self._stand.nodes("agent")), NONE, dtype=np.int8)
        certified = np.zeros(len(hops), dtype=np.bool_)
        for far in (callers.agents for callers in self._callers):
            nearer = far.there & ((hops == NONE) | (far.hops < hops))
            hops[nearer] = far.hops[nearer]
            certified |= far.certified
        hops[self._what.agents] = NONE if self._one else 0
        return hops, certified

    @cached_property
    def _servers(self) -> tuple[Ints, Bools]:
        if self._kind == "system":
            callers = self._callers[1]
            return np.where(callers.hops > 0, callers.hops, NONE), callers.certified
        hops, certified = self._closure.hops.copy(), self._closure.certified_hops >= 0
        hops[self._what.servers] = NONE if self._one else 0
        return hops, certified

    @cached_property
    def _systems(self) -> tuple[Bools, Rows[ReachedSystem]]:
        if self._what.connections is not None:
            return _opened(self._stand, self._what)
        direct = 2 if self._kind in ("agent", "issuer") else 1
        owned = NOBODY if self._one else self._what.systems
        there = self._closure.systems.there | mask(len(self._stand.nodes("system")), owned)
        sole = _sole(self._stand, self._what.servers)
        return there, _systems(self._stand, self._closure, nearest=direct, owned=owned, sole=sole)

    def _concerned(self, agents: Bools, servers: Bools, systems: Bools) -> tuple[Bools, Bools, Bools]:
        """Whose owners are concerned: all that is touched and the subject itself."""
        touched = [agents, servers, systems]
        own = (self._what.agents, self._what.servers, self._what.systems)
        return tuple(each | mask(len(each), numbers) for each, numbers in zip(touched, own, strict=True))  # type: ignore[return-value]


def _opened(stand: Standpoint, what: Compromised) -> tuple[Bools, Rows[ReachedSystem]]:
    """Systems that a leaked secret opens, each by the connections that use it."""
    view, edges = stand.view, stand.view.snapshot.connections
    connections = what.connections if what.connections is not None else NOBODY
    source, target = edges.column("source", connections), edges.column("target", connections)
    on = view.snapshot.servers.active[source] & view.snapshot.systems.active[target]
    connections, source, target = connections[on], source[on], target[on]
    size = len(view.snapshot.systems)
    best = np.zeros(size, dtype=np.int8)
    np.maximum.at(best, target, edges.column("mark", connections).astype(np.int8))
    good = (edges.column("certified", connections) > view.at) & view.server_certified[source]
    there, certified = mask(size, target), mask(size, target[good])
    others = view.connecting(np.flatnonzero(there))
    others = others.where(~np.isin(others.number, connections))
    sole = there & ~mask(size, others.near)
    ones = there.astype(np.int8)
    return there, _system_rows(stand, there, ones, best, certified, nearest=1, sole=sole)


def _sole(stand: Standpoint, servers: Ints) -> Bools:
    """Systems with which nobody but `servers` has a connection in force."""
    size = len(stand.nodes("system"))
    own = stand.view.connected(servers)
    links = stand.view.connecting(np.unique(own.far))
    others = links.near[~mask(len(stand.nodes("server")), servers)[links.far]]
    return mask(size, own.far) & ~mask(size, others)


# --- Rows ------------------------------------------------------------------------------------------------


def _stamp(stand: Standpoint) -> dict[str, Any]:
    return {"as_of": stand.as_of, "data_version": stand.state.version}


def _systems(
    stand: Standpoint, closure: Closure, *, nearest: int, owned: Ints = NOBODY, sole: Bools | None = None
) -> Rows[ReachedSystem]:
    far = closure.systems
    there = far.there | mask(len(far.hops), owned)
    return _system_rows(stand, there, far.hops, far.access, far.certified, nearest=nearest, sole=sole)


def _system_rows(
    stand: Standpoint,
    there: Bools,
    hops: Ints,
    access: Ints,
    certified: Bools,
    *,
    nearest: int,
    sole: Bools | None,
    observed: Mapping[int, Use] = NOTHING_SEEN.systems,
) -> Rows[ReachedSystem]:
    nodes = stand.nodes("system")
    numbers = nodes.ids.sorted(there)

    def make(number: int) -> ReachedSystem:
        return ReachedSystem(
            id=nodes.ids.uuid(number),
            data_class=DATA_CLASSES[nodes.rank[number]],
            access=ACCESS[access[number]],
            certified=bool(certified[number]),
            direct=int(hops[number]) == nearest,
            hops=int(hops[number]),
            sole=sole is not None and bool(sole[number]),
            observed=observed.get(number),
        )

    keys = (4 - nodes.rank[numbers]) * 4 + (3 - access[numbers])
    return Rows.of(nodes, numbers, keys, make, stand.hides("system"))


def _servers(
    stand: Standpoint,
    there: Bools,
    hops: Ints,
    certified: Bools,
    observed: Mapping[int, Use] = NOTHING_SEEN.servers,
) -> Rows[ReachedServer]:
    nodes, systems = stand.nodes("server"), stand.nodes("system")
    numbers = nodes.ids.sorted(there)
    links = stand.view.connected(numbers)
    access, data = np.zeros(len(nodes), np.int8), np.zeros(len(nodes), np.int8)
    marks, ranks = stand.view.snapshot.connections.column("mark", links.number), systems.rank[links.far]
    for level in range(1, 5):
        access[links.near[marks == level]] = level
        data[links.near[ranks == level]] = level

    def make(number: int) -> ReachedServer:
        return ReachedServer(
            id=nodes.ids.uuid(number),
            data_class=DATA_CLASSES[data[number]],
            access=ACCESS[access[number]],
            certified=bool(certified[number]),
            direct=int(hops[number]) <= 1,
            hops=int(hops[number]),
            observed=observed.get(number),
        )

    keys = (4 - data[numbers]) * 4 + (3 - access[numbers])
    return Rows.of(nodes, numbers, keys, make, stand.hides("server"))


def _agents(
    stand: Standpoint,
    hops: Ints,
    access: Ints,
    certified: Bools,
    *,
    nearest: int,
    observed: Mapping[int, Use] = NOTHING_SEEN.agents,
) -> Rows[ReachingAgent]:
    """Agents with hops; 0 means "not there" when `nearest` is 2, and `NONE` always does."""
    nodes = stand.nodes("agent")
    numbers = nodes.ids.sorted(hops > 0 if nearest == 2 else hops >= 0)

    def make(number: int) -> ReachingAgent:
        return ReachingAgent(
            id=nodes.ids.uuid(number),
            access=ACCESS[access[number]],
            certified=bool(certified[number]),
            direct=int(hops[number]) <= nearest,
            hops=int(hops[number]),
            observed=observed.get(number),
        )

    keys = (3 - access[numbers]) * 8 + hops[numbers]
    return Rows.of(nodes, numbers, keys, make, stand.hides("agent"))


def _data_classes(stand: Standpoint, systems: Bools) -> Mapping[str, int]:
    counts = np.bincount(stand.nodes("system").rank[systems], minlength=len(DATA_CLASSES))
    return {DATA_CLASSES[rank]: int(counts[rank]) for rank in (4, 3, 2, 1) if counts[rank]}


def _behalf(stand: Standpoint, calls: Links) -> Mapping[str, int]:
    """How many agents call on whose behalf; `calls` has agents at its far end."""
    marks = stand.view.snapshot.grants.column("mark", calls.number)
    size = len(stand.nodes("agent"))
    return {BEHALF[mark]: int(np.count_nonzero(mask(size, calls.far[marks == mark]))) for mark in (3, 2, 1)}


def _people(stand: Standpoint, agents: Bools, servers: Bools, systems: Bools) -> tuple[Rows[Person], int]:
    """Who answers for what may be named, those with the most first; and how many only answer for what may not be."""
    ids = stand.view.snapshot.people

    def tally(kind: str, column: str, concerned: Bools) -> Ints:
        people = getattr(stand.nodes(kind), column)[concerned]
        return np.bincount(people[people != NONE], minlength=len(ids))

    def all_of(seen: Callable[[str, Bools], Bools]) -> tuple[Ints, Ints, Ints, Ints]:
        return (
            tally("agent", "owner", seen("agent", agents)),
            tally("server", "owner", seen("server", servers)),
            tally("server", "deputy", seen("server", servers)),
            tally("system", "owner", seen("system", systems)),
        )

    def named(kind: str, concerned: Bools) -> Bools:
        hidden = stand.hides(kind)
        return concerned if hidden is None else concerned & ~hidden

    columns = all_of(named)
    total: Ints = np.sum(columns, axis=0)
    everybody: Ints = total if stand.hidden is None else np.sum(all_of(lambda _kind, concerned: concerned), axis=0)
    numbers = ids.sorted(total > 0)
    order = np.argsort(-total[numbers], kind="stable")
    chosen = numbers[order]

    def make(place: int) -> Person:
        number = int(chosen[place])
        return Person(ids.uuid(number), *(int(column[number]) for column in columns))

    rows = Rows(-total[chosen], ids.values[chosen], make)
    return rows, int((everybody > 0).sum()) - len(rows)
