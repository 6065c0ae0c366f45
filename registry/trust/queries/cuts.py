"""What breaks when something is cut."""

from typing import Any
from uuid import UUID

import numpy as np

from registry.trust.graph.cutting import Losses, losses
from registry.trust.graph.snapshot import DATA_CLASSES, NONE, Bools, Ints, Uuids, View
from registry.trust.graph.walk import NOBODY, mask
from registry.trust.queries.answers import Cut, CutSystem, Impact, Loss, Rows
from registry.trust.queries.reaching import Compromised, compromised
from registry.trust.queries.standpoint import Standpoint


def impact(stand: Standpoint, kind: Cut, id: UUID) -> Impact:
    return _impact(stand, kind, id, *_cut(stand, kind, id))


def nothing(stand: Standpoint, kind: Cut, id: UUID) -> Impact:
    """Of cutting what has ended."""
    return _impact(stand, kind, id, NOBODY, NOBODY)


def _impact(stand: Standpoint, kind: Cut, id: UUID, grants: Ints, connections: Ints) -> Impact:
    found = losses(stand.view, grants=grants, connections=connections)
    agents = _agents(stand, found)
    systems, counts = _systems(stand, found)
    losing, hidden = (found.lost_counts > 0) | found.loses_tools, stand.hides("agent")
    return Impact(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts={
            "grants": len(grants),
            "connections": len(connections),
            "agents": len(found.agents),
            "losing": int(losing.sum()),
            "losing_tools": int(found.loses_tools.sum()),
            "losing_systems": int((found.lost_counts > 0).sum()),
            "pairs_lost": int(found.lost_counts.sum()),
            "pairs_kept": found.kept_count,
            **counts,
        },
        hidden={
            "agents": agents.hidden,
            "losing": 0 if hidden is None else int((losing & hidden[found.agents]).sum()),
            "systems": systems.hidden,
        },
        cut=(kind, id),
        agents=agents,
        systems=systems,
    )


def _cut(stand: Standpoint, kind: Cut, id: UUID) -> tuple[Ints, Ints]:
    """Grants and connections in force that end with the thing."""
    view = stand.view
    if kind == "grant":
        return _in_force(view, "grant", stand.find_edge("grant", id)), NOBODY
    if kind == "connection":
        return NOBODY, _in_force(view, "connection", stand.find_edge("connection", id))
    what = compromised(stand, kind, id)
    if what.connections is not None:
        edges = view.snapshot.connections
        on = view.snapshot.servers.active[edges.column("source", what.connections)]
        on &= view.snapshot.systems.active[edges.column("target", what.connections)]
        return NOBODY, what.connections[on]
    return _grants(view, what), _connections(view, what)


def _in_force(view: View, kind: str, number: int) -> Ints:
    snapshot = view.snapshot
    source = snapshot.edges(kind).column("source", np.array([number]))
    links = view.out_of(source) if kind == "grant" else view.connected(source)
    return links.number[links.number == number]


def _grants(view: View, what: Compromised) -> Ints:
    own = view.snapshot.servers.link[what.servers]
    agents = np.union1d(what.agents, own[own != NONE])
    return np.union1d(view.out_of(agents).number, view.into(what.servers).number)


def _connections(view: View, what: Compromised) -> Ints:
    return np.union1d(view.connected(what.servers).number, view.connecting(what.systems).number)


def _agents(stand: Standpoint, found: Losses) -> Rows[Loss]:
    """Those that lose most first; then those that lose tools; then those that keep everything another way."""
    nodes, grants = stand.nodes("agent"), stand.view.snapshot.grants
    size = len(nodes)
    place = np.full(size, NONE, dtype=np.int64)
    place[found.agents] = np.arange(len(found.agents))
    numbers = nodes.ids.sorted(mask(size, found.agents))
    at = place[numbers]
    keys = -(2 * found.lost_counts[at] + found.loses_tools[at])

    def make(number: int) -> Loss:
        row = int(place[number])
        lost, hidden_lost = _named(stand, found.of(found.lost[row]))
        kept, hidden_kept = _named(stand, found.of(found.kept[row]))
        cut = found.cut_grants_of.get(number, [])
        hidden = stand.hides("server")
        if hidden is not None:
            cut = [each for each in cut if not hidden[int(grants.column("target", np.array([each]))[0])]]
        ids = grants.column("ids", np.array(cut, dtype=np.int64))
        return Loss(nodes.ids.uuid(number), _uuids(ids), lost, kept, hidden_lost, hidden_kept)

    return Rows.of(nodes, numbers, keys, make, stand.hides("agent"))


def _uuids(ids: Any) -> tuple[UUID, ...]:
    return tuple(UUID(bytes=bytes(each).ljust(16, b"\0")) for each in ids)


def _named(stand: Standpoint, systems: Ints) -> tuple[Uuids, int]:
    """Ids of what may be named, and how many may not be."""
    nodes, hidden = stand.nodes("system"), stand.hides("system")
    if hidden is None:
        return nodes.ids.listed(systems), 0
    seen = ~hidden[systems]
    return nodes.ids.listed(systems[seen]), len(systems) - int(seen.sum())


def _systems(stand: Standpoint, found: Losses) -> tuple[Rows[CutSystem], dict[str, int]]:
    """Systems that an agent reached through the cut, or whose connection is cut; unserved ones first."""
    nodes = stand.nodes("system")
    cut = mask(len(nodes), stand.view.snapshot.connections.column("target", found.connections))[found.systems]
    concerned = cut | found.concerned
    place = np.full(len(nodes), NONE, dtype=np.int64)
    place[found.systems] = np.arange(len(found.systems))
    numbers = nodes.ids.sorted(mask(len(nodes), found.systems[concerned]))
    at = place[numbers]
    unserved: Bools = found.unserved

    def make(number: int) -> CutSystem:
        row = int(place[number])
        return CutSystem(
            id=nodes.ids.uuid(number),
            data_class=DATA_CLASSES[nodes.rank[number]],
            unserved=bool(unserved[row]),
            lost_by=found.agents_with(found.lost, row),
            kept_by=found.agents_with(found.kept, row),
        )

    keys = np.where(unserved[at], 0, 8) + (4 - nodes.rank[numbers])
    rows = Rows.of(nodes, numbers, keys, make, stand.hides("system"))
    return rows, {"systems": len(numbers), "unserved": int(unserved.sum())}
