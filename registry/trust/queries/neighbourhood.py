"""The part of the graph that is drawn: nodes and edges by id, filtered, grouped when they are too many to draw."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np

from registry.catalog.models import SecretSource
from registry.trust.graph.snapshot import (
    ACCESS,
    DATA_CLASSES,
    ENVIRONMENTS,
    NEVER,
    NONE,
    STATES,
    STATUSES,
    TIERS,
    Bools,
    Ints,
    instant,
    uuid,
)
from registry.trust.graph.snapshot import KINDS as KIND_WORDS
from registry.trust.graph.walk import mask
from registry.trust.queries.answers import Basis, Ref
from registry.trust.queries.observed import observed_pairs
from registry.trust.queries.picturing import Edge, Facets, Grouping, Neighbourhood, Node, Secret
from registry.trust.queries.standpoint import Standpoint
from registry.trust.queries.surroundings import KINDS, Selected, Surroundings, Things

__all__ = ["Basis", "Edge", "Facets", "Grouping", "Neighbourhood", "Node", "Secret", "neighbourhood"]
CONFIDENTIAL, WRITE = DATA_CLASSES.index("confidential"), ACCESS.index("write")
CELLS = 20
"""So many groups to a kind at most; smaller ones become one. Each may have an edge to every other: a picture of more
is neither read nor drawn in time."""
FACETS_UP_TO = 5_000
_STATUS_WORDS = ("", *STATUSES[1:], "sighting")
_SIGHTING = len(_STATUS_WORDS) - 1


def neighbourhood(
    stand: Standpoint,
    seeds: Sequence[Ref],
    *,
    to: Ref | None,
    facets: Facets,
    basis: Basis,
    expanded: Collection[Ref],
    collapsed: Collection[Ref],
    group: Grouping,
    opened: Collection[str],
    most: int,
    members: int,
    upwards: bool = True,
    downwards: bool = True,
) -> Neighbourhood:
    named = len(expanded) + len(collapsed)
    expanded, collapsed = (
        [ref for ref in refs if ref[0] in KINDS and stand.knows(*ref)] for refs in (expanded, collapsed)
    )

    def select(left: Facets) -> Selected:
        return Surroundings(stand, collapsed, left).select(seeds, to=to, expanded=expanded, upwards=upwards)

    selected = select(facets)
    everything = selected
    if facets != Facets() or _size(selected) <= FACETS_UP_TO:
        everything = select(Facets(statuses=frozenset({"active", "suspended", "requested"})))
    lines = _Lines(stand, selected)
    lines.observe(basis, upwards, downwards)
    cells = _Cells(stand, lines, selected)
    cells.divide(group, frozenset(opened), most, members)
    return Neighbourhood(
        nodes=cells.nodes(),
        edges=lines.drawn(cells),
        hidden=cells.hidden,
        grouped=cells.grouped,
        total=cells.total,
        facets=_facets(stand, everything),
        as_of=stand.as_of,
        data_version=stand.state.version,
        ignored=named - len(expanded) - len(collapsed),
        where=cells.key_of,
    )


class _Lines:
    """The relationships of a picture as columns. Places: agents first, then servers, then systems.

    An agent that is a server stands at the place of that server, if the actor may see the server.
    """

    def __init__(self, stand: Standpoint, selected: Selected) -> None:
        self.stand = stand
        snapshot = stand.view.snapshot
        self.agents, self.servers, self.systems = (len(snapshot.nodes(kind)) for kind in KINDS)
        self.size = self.agents + self.servers + self.systems
        link = snapshot.agents.link
        merged = link != NONE
        hidden = stand.hides("server")
        if hidden is not None:
            merged = merged & ~hidden[link]
        self.place_of_agent = np.where(merged, self.agents + link, np.arange(self.agents))
        grants, connections = snapshot.grants, snapshot.connections
        sides = [
            (self.place_of_agent[grants.column("source", selected.grants)],
             self.agents + grants.column("target", selected.grants)),
            (self.agents + connections.column("source", selected.connections),
             self.agents + self.servers + connections.column("target", selected.connections)),
        ]  # fmt: skip
        both = ((grants, selected.grants), (connections, selected.connections))
        self.source, self.target = (np.concatenate([pair[side] for pair in sides]).astype(np.int64) for side in (0, 1))
        self.number = np.concatenate([selected.grants, selected.connections])
        self.is_connection = np.arange(len(self.number)) >= len(selected.grants)
        self.status = self._column(both, "status").astype(np.int8)
        in_force = self.status == 1
        self.certified = in_force & (self._column(both, "certified") > stand.view.at)
        self.access = np.where(self.is_connection, self._column(both, "mark"), 0).astype(np.int8)
        self.detail = self._column(both, "detail")
        # A server may be seen while the agent that it is may not: then its grants have no name either.
        hides = stand.hides("agent")
        self.veiled = np.zeros(len(self.number), dtype=np.bool_)
        if hides is not None:
            self.veiled[: len(selected.grants)] = hides[grants.column("source", selected.grants)]
        self.calls = np.zeros(len(self.number), dtype=np.int64)
        self.errors = np.zeros(len(self.number), dtype=np.int64)
        self.last_used = np.full(len(self.number), NEVER)

    @staticmethod
    def _column(both: Any, name: str) -> Ints:
        return np.concatenate([edges.column(name, numbers) for edges, numbers in both])

    @property
    def hot(self) -> Bools:
        """Writes to what is confidential or restricted."""
        rank = self.stand.nodes("system").rank
        system = self.target - self.agents - self.servers
        found = np.zeros(len(self.target), dtype=np.bool_)
        found[self.is_connection] = rank[system[self.is_connection]] >= CONFIDENTIAL
        return found & (self.access >= WRITE)

    def there(self) -> Bools:
        """Places at the end of some relationship."""
        found = mask(self.size, self.source)
        found[self.target] = True
        return found

    def observe(self, basis: Basis, upwards: bool, downwards: bool) -> None:
        """Lay what was observed over what is granted; what nobody granted becomes a sighting.

        Not `upwards`: only sightings of what the things in the picture did, not of what was done to them; not
        `downwards`: only of what was done to them.
        """
        there = self.there()
        seen = observed_pairs(self.stand, there, self.agents, self.servers)
        if seen is None or not len(seen.source):
            if basis == "observed":
                self._keep(np.zeros(len(self.number), dtype=np.bool_))
            return
        source = np.where(seen.is_connection, self.agents + seen.source, self.place_of_agent[
            np.where(seen.is_connection, 0, seen.source)])  # fmt: skip
        target = np.where(seen.is_connection, self.agents + self.servers, self.agents) + seen.target
        keys, own = source * self.size + target, self.source * self.size + self.target
        order = np.argsort(keys)
        place = np.minimum(np.searchsorted(keys, own, sorter=order), len(keys) - 1)
        matched = keys[order[place]] == own
        found = order[place[matched]]
        self.calls[matched], self.errors[matched] = seen.calls[found], seen.errors[found]
        self.last_used[matched] = seen.last[found]
        if basis == "observed":
            self._keep(matched)
        if basis != "granted":
            new = ~seen.granted & ~np.isin(keys, own) & (there[source] | upwards) & (there[target] | downwards)
            count = int(new.sum())
            self._append(
                source=source[new], target=target[new], number=np.full(count, NONE),
                is_connection=seen.is_connection[new], status=np.full(count, _SIGHTING, dtype=np.int8),
                certified=np.zeros(count, dtype=np.bool_), access=np.zeros(count, dtype=np.int8),
                detail=np.zeros(count, dtype=np.int64), calls=seen.calls[new], errors=seen.errors[new],
                last_used=seen.last[new],
                veiled=np.zeros(count, dtype=np.bool_),
            )  # fmt: skip

    _COLUMNS = (
        "source", "target", "number", "is_connection", "status", "certified", "access", "detail", "calls", "errors",
        "last_used", "veiled",
    )  # fmt: skip

    def _keep(self, which: Bools) -> None:
        for name in self._COLUMNS:
            setattr(self, name, getattr(self, name)[which])

    def _append(self, **columns: Any) -> None:
        for name, values in columns.items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    # --- As drawn ----------------------------------------------------------------------------------------

    def drawn(self, cells: "_Cells") -> tuple[Edge, ...]:
        """One edge for all relationships of one status between the same two cells."""
        source, target = cells.of[self.source], cells.of[self.target]
        count = len(cells.keys)
        key = (self.status.astype(np.int64) * count + source) * count + target
        first, where = _distinct(key, len(_STATUS_WORDS) * count * count)
        names = first
        members = np.bincount(where, minlength=len(names))

        def total(values: Any) -> list[int]:
            if values.dtype == np.bool_:
                return np.bincount(where[values], minlength=len(names)).tolist()
            return np.bincount(where, weights=values, minlength=len(names)).astype(np.int64).tolist()

        access = np.zeros(len(names), dtype=np.int8)
        for level in (1, 2, 3):
            access[where[self.access == level]] = level
        last = np.full(len(names), NEVER)
        used = self.last_used != NEVER
        np.maximum.at(last, where[used], self.last_used[used])
        seen = total(used)
        sure, hot = total(self.certified), total(self.hot)
        calls, errors = (total(each) if used.any() else [0] * len(names) for each in (self.calls, self.errors))
        wildcards = total(~self.is_connection & (self.detail == 0) & (self.status != _SIGHTING))
        toolsets, ids = self.stand.view.snapshot.toolsets, self._ids(first)
        edges = []
        for index, place in enumerate(first.tolist()):
            alone = members[index] == 1
            connection, status = bool(self.is_connection[place]), _STATUS_WORDS[self.status[place]]
            veiled = bool(self.veiled[place]) or cells.is_hidden(int(source[place]), int(target[place]))
            nameless = not alone or veiled or status == "sighting"
            kind = "connection" if connection else "grant"
            tools = 0 if connection or not alone else len(toolsets.get(int(self.detail[place]), ()))
            edges.append(
                Edge(
                    source=cells.keys[source[place]],
                    target=cells.keys[target[place]],
                    kind=kind,
                    id=None if nameless else ids[index],
                    status=status,
                    access=ACCESS[access[index]],
                    all_tools=wildcards[index] > 0,
                    tools=tools,
                    certified=bool(sure[index] == int(members[index])),
                    basis="observed" if status == "sighting" else "both" if seen[index] else "granted",
                    hot=hot[index] > 0,
                    members=int(members[index]),
                    certified_members=sure[index],
                    hot_members=hot[index],
                    calls=calls[index] if seen[index] else None,
                    errors=errors[index] if seen[index] else None,
                    last_used=instant(int(last[index])) if seen[index] else None,
                )
            )
        return tuple(edges)

    def _ids(self, places: Ints) -> list[UUID]:
        """The ids of the relationships at these places; of a sighting any."""
        snapshot, numbers = self.stand.view.snapshot, np.maximum(self.number[places], 0)
        of_connections = self.is_connection[places]
        found = np.zeros(len(places), dtype="S16")
        for edges, some in ((snapshot.grants, ~of_connections), (snapshot.connections, of_connections)):
            some = some & (self.number[places] != NONE)
            found[some] = edges.column("ids", numbers[some])
        return [uuid(each) for each in found]


_DENSE = 4_000_000


def _distinct(keys: Ints, limit: int) -> tuple[Ints, Ints]:
    """The first place of each different key, in the order of keys, and for each place which key it has."""
    if limit > _DENSE:
        _names, first, where = np.unique(keys, return_index=True, return_inverse=True)
        return first, where
    place = np.full(limit, NONE, dtype=np.int64)
    place[keys[::-1]] = np.arange(len(keys) - 1, -1, -1)
    names = np.flatnonzero(place != NONE)
    first = place[names]
    place[names] = np.arange(len(names))
    return first, place[keys]


class _Cells:
    """Which node of the picture each place belongs to: its own, a group's, or that of what may not be named."""

    def __init__(self, stand: Standpoint, lines: _Lines, selected: Selected) -> None:
        self._stand, self._lines = stand, lines
        self._there = lines.there()
        self._seeds = self._places(selected.seeds)
        self._there |= self._seeds
        self._hidden = np.zeros(lines.size, dtype=np.bool_)
        begin = 0
        for kind in KINDS:
            end = begin + len(stand.nodes(kind))
            hides = stand.hides(kind)
            if hides is not None:
                self._hidden[begin:end] = hides
            begin = end
        self.kind = np.repeat(np.arange(3), [lines.agents, lines.servers, lines.systems])
        self.number = np.concatenate([np.arange(size) for size in (lines.agents, lines.servers, lines.systems)])
        self.of = np.full(lines.size, NONE, dtype=np.int64)
        self.keys: list[str] = []
        self._members: list[Ints] = []
        self.grouped = False
        counts = [int((self._there & (self.kind == place)).sum()) for place in range(3)]
        self.total = dict(zip(KINDS, counts, strict=True))
        unseen = self._there & self._hidden
        self.hidden = {kind: int((unseen & (self.kind == place)).sum()) for place, kind in enumerate(KINDS)}

    def _places(self, things: Things) -> Bools:
        agents = mask(self._lines.size, self._lines.place_of_agent[things.agent])
        agents[self._lines.agents :] |= np.concatenate([things.server, things.system])
        return agents

    def is_hidden(self, *cells: int) -> bool:
        return any(self.keys[cell].startswith("hidden:") for cell in cells)

    def _add(self, key: str, places: Ints) -> None:
        self.of[places] = len(self.keys)
        self.keys.append(key)
        self._members.append(places)

    def divide(self, group: Grouping, opened: Collection[str], most: int, members: int) -> None:
        for place, kind in enumerate(KINDS):
            unseen = np.flatnonzero(self._there & self._hidden & (self.kind == place))
            if len(unseen):
                self._add(f"hidden:{kind}", unseen)
        shown = self._there & ~self._hidden
        for single in np.flatnonzero(shown & self._seeds):
            self._single(int(single))
        rest = shown & ~self._seeds
        if int(shown.sum()) <= most and group in ("auto", "none"):
            for place in self._worst_first(np.flatnonzero(rest)):
                self._single(int(place))
            return
        if group == "none":
            ordered = self._worst_first(np.flatnonzero(rest))
            alone = max(0, most - int((shown & self._seeds).sum()))
            for place in ordered[:alone]:
                self._single(int(place))
            for place, kind in enumerate(KINDS):
                self._group(f"group:{kind}:rest", ordered[alone:][self.kind[ordered[alone:]] == place], opened, members)
            return
        for place in range(3):
            self._divide_kind(place, rest & (self.kind == place), group, opened, members)

    def _divide_kind(self, place: int, those: Bools, group: Grouping, opened: Collection[str], members: int) -> None:
        kind, nodes = KINDS[place], self._stand.nodes(KINDS[place])
        places = np.flatnonzero(those)
        numbers = self.number[places]
        by_kind = group == "kind" or (group == "auto" and kind == "system")
        values = nodes.kind[numbers] if by_kind else nodes.team[numbers]
        names, where, counts = np.unique(values, return_inverse=True, return_counts=True)
        largest = np.lexsort((names, -counts))
        rank = np.empty(len(names), dtype=np.int64)
        rank[largest] = np.arange(len(names))
        late = len(names) > CELLS
        for index in largest[: CELLS - 1 if late else CELLS].tolist():
            key = f"group:{kind}:kind:{KIND_WORDS[names[index]] or kind}" if by_kind else self._team(kind, names[index])
            self._group(key, places[where == index], opened, members)
        if late:
            self._group(f"group:{kind}:rest", places[rank[where] >= CELLS - 1], opened, members)

    def _team(self, kind: str, number: int) -> str:
        team = "none" if number == NONE else self._stand.view.snapshot.teams.uuid(int(number))
        return f"group:{kind}:team:{team}"

    def _group(self, key: str, places: Ints, opened: Collection[str], members: int) -> None:
        """A group; what it shows when it is open; a single member as itself."""
        if key in opened and len(places) > 1:
            ordered = self._worst_first(places)
            for place in ordered[:members]:
                self._single(int(place))
            key, places = (f"{key}:rest", ordered[members:])
        if len(places) == 1:
            self._single(int(places[0]))
        elif len(places):
            self.grouped = True
            self._add(key, places)

    def _single(self, place: int) -> None:
        kind = KINDS[self.kind[place]]
        self._add(f"{kind}:{self._stand.nodes(kind).ids.uuid(int(self.number[place]))}", np.array([place]))

    @cached_property
    def _worst(self) -> Ints:
        """Per place how bad it is: data class and access of a system or of what a server connects; of an agent, of
        what its servers connect."""
        lines = self._lines
        rank = self._stand.nodes("system").rank
        worst = np.zeros(lines.size, dtype=np.int64)
        connection = lines.is_connection & (lines.target >= lines.agents + lines.servers)
        system = lines.target[connection] - lines.agents - lines.servers
        badness = rank[system].astype(np.int64) * 4 + lines.access[connection]
        np.maximum.at(worst, lines.source[connection], badness)
        np.maximum.at(worst, lines.target[connection], badness)
        worst[lines.agents + lines.servers :] = np.maximum(worst[lines.agents + lines.servers :], rank * 4)
        calls = ~lines.is_connection & (lines.source < lines.agents)
        np.maximum.at(worst, lines.source[calls], worst[lines.target[calls]])
        return worst

    def _worst_first(self, places: Ints) -> Ints:
        rank = np.empty(len(places), dtype=np.int64)
        for place, kind in enumerate(KINDS):
            own = self.kind[places] == place
            rank[own] = self._stand.nodes(kind).ids.rank[self.number[places[own]]]
        return places[np.lexsort((rank, self.kind[places], -self._worst[places]))]

    def key_of(self, kind: str, id: UUID) -> str:
        """The key of the node that an agent, server or system is part of; empty for what is not in the picture."""
        number = self._stand.nodes(kind).ids.number(id)
        if number == NONE:
            return ""
        if kind == "agent":
            place = int(self._lines.place_of_agent[number])
        else:
            place = number + self._lines.agents + (self._lines.servers if kind == "system" else 0)
        cell = int(self.of[place])
        return "" if cell == NONE or self.is_hidden(cell) else self.keys[cell]

    # --- As nodes ----------------------------------------------------------------------------------------

    def nodes(self) -> tuple[Node, ...]:
        singles = [cell for cell, key in enumerate(self.keys) if not key.startswith(("hidden:", "group:"))]
        more, secrets = self._more(singles), self._secrets(singles)
        return tuple(
            self._one(cell, more, secrets) if cell in more else self._many(cell) for cell in range(len(self.keys))
        )

    def _one(self, cell: int, more: Mapping[int, Ints], secrets: Mapping[int, tuple[Secret, ...]]) -> Node:
        place = int(self._members[cell][0])
        kind, number = KINDS[self.kind[place]], int(self.number[place])
        nodes = self._stand.nodes(kind)
        team = int(nodes.team[number])
        certified = bool(nodes.active[number] and nodes.certified[number] > self._stand.view.at)
        link = int(nodes.link[number]) if kind == "server" else NONE
        named = link != NONE and not self._stand.is_hidden("agent", link)
        return Node(
            key=self.keys[cell],
            kind=kind,
            id=nodes.ids.uuid(number),
            seed=bool(self._seeds[place]),
            environment=ENVIRONMENTS[nodes.environment[number]],
            tier=TIERS[nodes.rank[number]] if kind == "server" else "",
            data_class=DATA_CLASSES[nodes.rank[number]] if kind == "system" else "",
            state=STATES[nodes.state[number]],
            team=None if team == NONE else self._stand.view.snapshot.teams.uuid(team),
            word=KIND_WORDS[nodes.kind[number]],
            certified=certified,
            certified_members=int(certified),
            more_agents=int(more[cell][0]),
            more_servers=int(more[cell][1]),
            more_systems=int(more[cell][2]),
            agent=self._stand.nodes("agent").ids.uuid(link) if named else None,
            secrets=secrets.get(number, ()) if kind == "server" else (),
        )

    def _many(self, cell: int) -> Node:
        places = self._members[cell]
        kind = KINDS[self.kind[places[0]]]
        nodes, numbers = self._stand.nodes(kind), self.number[places]
        parts = self.keys[cell].split(":")
        hidden = parts[0] == "hidden"
        certified = int((nodes.active[numbers] & (nodes.certified[numbers] > self._stand.view.at)).sum())
        by_team = len(parts) > 3 and parts[2] == "team" and parts[3] != "none"
        worst = 0 if hidden else int(nodes.rank[numbers].max())
        return Node(
            key=self.keys[cell],
            kind=kind,
            id=None,
            environment="" if hidden else ENVIRONMENTS[nodes.environment[numbers].max()],
            tier=TIERS[worst] if kind == "server" else "",
            data_class=DATA_CLASSES[worst] if kind == "system" else "",
            team=UUID(parts[3]) if by_team else None,
            word=parts[3] if len(parts) > 3 and parts[2] == "kind" else "",
            certified=not hidden and certified == len(places),
            members=len(places),
            certified_members=0 if hidden else certified,
        )

    def _more(self, singles: Sequence[int]) -> dict[int, Ints]:
        """Per single node how many direct neighbours in force are not in the picture: agents, servers, systems."""
        view, lines = self._stand.view, self._lines
        found: dict[int, Ints] = {cell: np.zeros(3, dtype=np.int64) for cell in singles}
        places = np.array([int(self._members[cell][0]) for cell in singles], dtype=np.int64)
        kinds, numbers = self.kind[places], self.number[places]
        link = view.snapshot.servers.link
        servers = numbers[kinds == 1]
        own = link[servers]
        # An agent that is a server stands where that server stands, at either end.
        calling = view.out_of(np.concatenate([numbers[kinds == 0], own[own != NONE]]))
        neighbours = [
            (lines.place_of_agent[calling.near], lines.agents + calling.far),
            (lines.agents + (into := view.into(servers)).near, lines.place_of_agent[into.far]),
            (lines.agents + (out := view.connected(servers)).near, lines.agents + lines.servers + out.far),
            (
                lines.agents + lines.servers + (by := view.connecting(numbers[kinds == 2])).near,
                lines.agents + by.far,
            ),
        ]
        near, far = (np.concatenate([pair[side] for pair in neighbours]) for side in (0, 1))
        absent = ~self._there[far]
        pairs = np.unique(near[absent] * lines.size + far[absent])
        for place, other in zip((pairs // lines.size).tolist(), (pairs % lines.size).tolist(), strict=True):
            cell = int(self.of[place])
            if cell in found:
                found[cell][self.kind[other]] += 1
        return found

    def _secrets(self, singles: Sequence[int]) -> dict[int, tuple[Secret, ...]]:
        """Per server shown its secret sources."""
        secrets = self._stand.view.snapshot.secrets
        places = [int(self._members[cell][0]) for cell in singles]
        servers = [int(self.number[place]) for place in places if self.kind[place] == 1]
        rows = np.flatnonzero(np.isin(secrets.server, servers) & (secrets.current == 1))
        if not len(rows):
            return {}
        users = np.unique(np.stack([secrets.secret, secrets.server], 1)[secrets.current == 1], axis=0)
        counts = np.bincount(users[users[:, 0] != NONE, 0], minlength=len(self._stand.view.snapshot.references) + 1)
        ids = secrets.ids.uuids(rows)
        words = {
            id: (kind, reference)
            for id, kind, reference in SecretSource.objects.filter(pk__in=ids).values_list("pk", "kind", "reference")
        }
        found: dict[int, tuple[Secret, ...]] = {}
        for row, id in sorted(zip(rows.tolist(), ids, strict=True), key=lambda pair: pair[1]):
            number = int(secrets.secret[row])
            secret = Secret(id, *words[id], int(counts[number]) if number != NONE else 1)
            found[int(secrets.server[row])] = (*found.get(int(secrets.server[row]), ()), secret)
        return found


def _size(selected: Selected) -> int:
    return sum(int(getattr(selected.things, kind).sum()) for kind in KINDS)


def _facets(stand: Standpoint, selected: Selected) -> dict[str, dict[str, int]]:
    """How much there is of each value, of what may be named; nothing for a large estate."""
    if _size(selected) > FACETS_UP_TO:
        return {}
    things = selected.things
    servers, systems = stand.nodes("server"), stand.nodes("system")
    seen_servers, seen_systems = (
        things_of & (True if hides is None else ~hides)
        for things_of, hides in ((things.server, stand.hides("server")), (things.system, stand.hides("system")))
    )

    def tally(values: Ints, words: Sequence[str]) -> dict[str, int]:
        counts = np.bincount(values, minlength=len(words))
        return {word: int(counts[place]) for place, word in enumerate(words) if word and counts[place]}

    teams = servers.team[seen_servers]
    known = stand.view.snapshot.teams
    by_team = np.bincount(teams[teams != NONE], minlength=len(known))
    both = ((stand.view.snapshot.grants, selected.grants), (stand.view.snapshot.connections, selected.connections))
    status, until = (np.concatenate([edges.column(name, numbers) for edges, numbers in both])
                     for name in ("status", "certified"))  # fmt: skip
    sure = int(((status == 1) & (until > stand.view.at)).sum())
    return {
        "tier": tally(servers.rank[seen_servers], TIERS),
        "environment": tally(servers.environment[seen_servers], ENVIRONMENTS),
        "data_class": tally(systems.rank[seen_systems], DATA_CLASSES),
        "team": {str(known.uuid(int(place))): int(by_team[place]) for place in np.flatnonzero(by_team)},
        "status": tally(status, STATUSES),
        "certified": {"yes": sure, "no": len(status) - sure},
    }
