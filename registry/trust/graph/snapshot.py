"""The arrays of one state of the data. Immutable: whoever holds a snapshot may read it without a lock.

Things are numbered per kind. Relationships lie sorted by their target (grants by server, connections by system) and a
second time by their source, so that both directions are slices. What changed after loading is laid over: the old
version is switched off in a copy of two columns, the new one is appended to a small tail that is searched as a whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]
Raw = NDArray[np.bytes_]
"""Ids as 16 bytes each."""
Side = Literal["source", "target"]

NONE = -1
NEVER, ALWAYS = np.iinfo(np.int64).min, np.iinfo(np.int64).max
"""How the database writes -infinity and infinity."""

# Codes ascend with what is worse; 0 stands for nothing.
ACCESS = ("", "read", "write", "admin")
DATA_CLASSES = ("", "public", "internal", "confidential", "restricted")
TIERS = ("", "low", "medium", "high", "critical")
ENVIRONMENTS = ("", "development", "test", "staging", "production")
STATES = ("", "active", "retired", "draft", "submitted", "suspended")
STATUSES = ("", "active", "suspended", "requested")
BEHALF = ("", "nobody", "service", "users")
KINDS = (
    "", "ai_agent", "client", "workload", "server",
    "database", "ticketing", "repository", "cloud", "storage", "messaging", "saas", "internal", "host", "web",
)  # fmt: skip
GONE, ACTIVE, SUSPENDED, REQUESTED = range(4)
PRODUCTION = ENVIRONMENTS.index("production")

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    """An instant as the database counts it: microseconds since 2000."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def raw(ids: "list[UUID] | tuple[UUID, ...]") -> Raw:
    return np.frombuffer(b"".join(each.bytes for each in ids), dtype="S16")


def uuid(value: Any) -> UUID:
    """The id behind 16 bytes; numpy drops zeros at the end."""
    return UUID(bytes=bytes(value).ljust(16, b"\0"))


class Ids:
    """Ids and their numbers. Numbers never change; what is new gets the next ones."""

    def __init__(self, values: Raw, order: Ints | None = None) -> None:
        """`values` by number; `order` are the numbers sorted by id."""
        self.values = values
        found = np.argsort(values, kind="stable") if order is None else order
        self.order = found.astype(np.int32, copy=False)
        self._made: dict[int, UUID] = {}

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def _sorted(self) -> Raw:
        return self.values[self.order]

    @cached_property
    def rank(self) -> Ints:
        """Per number its place in the order of ids."""
        found = np.empty(len(self), dtype=np.int32)
        found[self.order] = np.arange(len(self), dtype=np.int32)
        return found

    @cached_property
    def is_sorted(self) -> bool:
        return bool((self.order[1:] > self.order[:-1]).all())

    def numbers(self, values: Raw) -> Ints:
        """The number of each id, `NONE` for unknown ones."""
        if not len(self) or not len(values):
            return np.full(len(values), NONE, dtype=np.int32)
        place = np.minimum(np.searchsorted(self._sorted, values), len(self) - 1)
        found = self.order[place].astype(np.int32)
        found[self._sorted[place] != values] = NONE
        return found

    def number(self, id: UUID) -> int:
        """Its number, `NONE` when unknown."""
        return int(self.numbers(raw([id]))[0])

    def uuid(self, number: int) -> UUID:
        """Made once: answers name the same things over and over, and a UUID is slow to make."""
        made = self._made.get(number)
        if made is None:
            made = self._made[int(number)] = uuid(self.values[number])
        return made

    def uuids(self, numbers: Ints) -> tuple[UUID, ...]:
        return tuple(map(self.uuid, numbers.tolist()))

    def listed(self, numbers: Ints) -> "Uuids":
        return Uuids(self, numbers)

    def sorted(self, mask: Bools) -> Ints:
        """The numbers that `mask` marks, in the order of their ids."""
        if self.is_sorted:
            return np.flatnonzero(mask)
        return self.order[mask[self.order]]

    def extended(self, more: Raw) -> "Ids":
        """With ids that are not yet known, each once."""
        if not len(more):
            return self
        new = np.argsort(more, kind="stable")
        places = np.searchsorted(self._sorted, more[new])
        order = np.insert(self.order, places, len(self) + new)
        return Ids(np.concatenate([self.values, more]), order)


@dataclass(frozen=True)
class Table:
    """Things with an id and a number, and a value per number in each column."""

    ids: Ids

    absent: ClassVar[Mapping[str, int]]
    """What columns hold for what does not exist (then)."""

    def __len__(self) -> int:
        return len(self.ids)

    def replaced(self, gone: Raw, rows: Self) -> Self:
        """With `rows` in place of things of the same id, appended where there is none. `gone` no longer exist.

        What is in both is there.
        """
        ids = self.ids.extended(rows.ids.values[self.ids.numbers(rows.ids.values) == NONE])
        absent, present = ids.numbers(gone), ids.numbers(rows.ids.values)
        absent = absent[absent != NONE]
        columns = {}
        for each in fields(self)[1:]:
            values = getattr(self, each.name)
            column = np.concatenate([values, np.empty(len(ids) - len(self), dtype=values.dtype)])
            if each.name in self.absent:
                column[absent] = self.absent[each.name]
            column[present] = getattr(rows, each.name)
            columns[each.name] = column
        return type(self)(ids, **columns)


class Uuids(Sequence[UUID]):
    """Like a tuple of ids, whose members are made when they are asked for: of thousands an answer shows a few."""

    __slots__ = ("_ids", "_numbers")

    def __init__(self, ids: Ids, numbers: Ints) -> None:
        self._ids, self._numbers = ids, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> UUID: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[UUID, ...]: ...
    def __getitem__(self, index: int | slice) -> UUID | tuple[UUID, ...]:
        chosen = self._numbers[index]
        return self._ids.uuids(chosen) if isinstance(index, slice) else self._ids.uuid(int(chosen))

    def __iter__(self) -> Iterator[UUID]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        return self[:] == tuple(other) if isinstance(other, Uuids | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self[:])


@dataclass(frozen=True)
class Nodes(Table):
    """Things of one kind; a column that a kind lacks holds 0 or `NONE`. State 0: does not exist (then)."""

    state: Ints
    kind: Ints
    environment: Ints
    rank: Ints
    """Tier of a server, data class of a system."""
    team: Ints
    owner: Ints
    deputy: Ints
    issuer: Ints
    link: Ints
    """Of an agent the server it is, of a server the agent it is."""
    certified: Ints
    """Until when, in microseconds."""

    absent: ClassVar[Mapping[str, int]] = {"state": 0, "link": NONE}

    @cached_property
    def active(self) -> Bools:
        return self.state == 1


EFFECTS = ("read", "write", "destructive", "execute", "open_world")


@dataclass(frozen=True)
class Tools(Table):
    """Tools: whose, what they are called (as a number), and what they do, a bit for each of `EFFECTS`."""

    server: Ints
    name: Ints
    effect: Ints
    """0 when no longer listed."""

    absent: ClassVar[Mapping[str, int]] = {"server": NONE, "effect": 0}


@dataclass(frozen=True)
class Secrets(Table):
    """Secret sources: whose, and the number of what they refer to (kind and reference; `NONE`: no credential)."""

    server: Ints
    secret: Ints
    current: Ints
    """0 when retired; a connection may still name it."""

    absent: ClassVar[Mapping[str, int]] = {"server": NONE, "secret": NONE, "current": 0}


class Links(NamedTuple):
    """Relationships in force that touch some things: from which (`near`) to which (`far`), and their numbers."""

    near: Ints
    far: Ints
    number: Ints
    certified: Bools

    def where(self, mask: Bools) -> "Links":
        return self if mask.all() else self.taken(mask)

    def taken(self, which: Any) -> "Links":
        return Links(self.near[which], self.far[which], self.number[which], self.certified[which])


_NONE: Ints = np.empty(0, dtype=np.int32)
NO_LINKS = Links(_NONE, _NONE, _NONE, np.empty(0, dtype=np.bool_))


def joined(parts: list[Links]) -> Links:
    parts = [part for part in parts if len(part.near)]
    if len(parts) < 2:
        return parts[0] if parts else NO_LINKS
    return Links(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Column:
    """The relationships of one kind, one entry each, in no particular order."""

    ids: Raw
    source: Ints
    target: Ints
    start: Ints
    until: Ints
    """`NEVER` unless it is active: so whether it is in force needs two comparisons."""
    certified: Ints
    status: Ints
    mark: Ints
    """Access of a connection; on whose behalf a grant is."""
    detail: Ints
    """Of a grant a number for its list of tools (0: all of them), of a connection the number of its secret source."""

    def __len__(self) -> int:
        return len(self.ids)

    def taken(self, numbers: Any) -> "Column":
        return Column(*(getattr(self, each.name)[numbers] for each in fields(Column)))

    @staticmethod
    def joined(parts: "list[Column]") -> "Column":
        return Column(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Column)))


def _starts(sorted_values: Ints, size: int) -> Ints:
    return np.searchsorted(sorted_values, np.arange(size + 1)).astype(np.int64)


def _within(starts: Ints, nodes: Ints) -> tuple[Ints, Ints]:
    """The places of all entries of some things, and how many each has; none for things numbered later."""
    last = len(starts) - 1
    begin = starts[np.minimum(nodes, last)]
    counts = starts[np.minimum(nodes + 1, last)] - begin
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - (ends - counts), counts), counts


def stable_order(values: Ints) -> Ints:
    """`argsort`, by two passes over 16 bits each, which numpy sorts by counting."""
    low = np.argsort((values & 0xFFFF).astype(np.uint16), kind="stable")
    if not len(values) or values.max() <= 0xFFFF:
        return low
    return low[np.argsort((values[low] >> 16).astype(np.uint16), kind="stable")]


@dataclass(frozen=True)
class _Index:
    """The same relationships sorted by one side: where each thing's begin, and the columns a walk reads."""

    starts: Ints
    numbers: Ints
    far: Ints
    start: Ints
    until: Ints
    certified: Ints


@dataclass(frozen=True)
class Edges:
    """Relationships of one kind: the sorted ones, and the tail of what came or changed since."""

    base: Column
    by_target: _Index
    by_source: _Index
    tail: Column
    places: Ids = field(repr=False)
    """From id to number among the sorted ones."""

    @classmethod
    def build(cls, rows: Column, sources: int, targets: int) -> "Edges":
        base = rows.taken(stable_order(rows.target))
        order = stable_order(base.source)
        by_target = _Index(
            _starts(base.target, targets), np.arange(len(base), dtype=np.int32), base.source, base.start, base.until,
            base.certified,
        )  # fmt: skip
        by_source = _Index(
            _starts(base.source[order], sources), order.astype(np.int32), base.target[order], base.start[order],
            base.until[order], base.certified[order],
        )  # fmt: skip
        return cls(base, by_target, by_source, base.taken(slice(0, 0)), Ids(base.ids))

    def __len__(self) -> int:
        """Numbers end here; some may be switched off."""
        return len(self.base) + len(self.tail)

    def column(self, name: str, numbers: Any) -> Any:
        """Values of a column for some numbers."""
        values: Ints = getattr(self.base, name)
        if not len(self.tail):
            return values[numbers]
        numbers = np.asarray(numbers)
        late = numbers >= len(self.base)
        if not late.any():
            return values[numbers]
        found = values[np.where(late, 0, numbers)] if len(values) else np.zeros(len(numbers), values.dtype)
        found[late] = getattr(self.tail, name)[numbers[late] - len(self.base)]
        return found

    def whole(self, name: str) -> Ints:
        """A column for every number."""
        values: Ints = getattr(self.base, name)
        return np.concatenate([values, getattr(self.tail, name)]) if len(self.tail) else values

    def touching(self, side: Side, nodes: Ints, at: int) -> Links:
        """The relationships in force at `at` whose `side` is among `nodes` (each once)."""
        index = self.by_target if side == "target" else self.by_source
        found = NO_LINKS
        if len(nodes):
            place, counts = _within(index.starts, nodes)
            live = (index.start.take(place) <= at) & (index.until.take(place) > at)
            place, near = place[live], np.repeat(nodes.astype(np.int32), counts)[live]
            found = Links(near, index.far.take(place), index.numbers.take(place), index.certified.take(place) > at)
        if len(self.tail):
            found = joined([found, self._of_tail(side, nodes, at)])
        return found

    def far_ends(self, side: Side, nodes: Ints, at: int) -> tuple[Ints, Ints, Ints]:
        """As `touching` of many `nodes`, only what is needed to unite their far ends: places in `nodes`, far ends and
        numbers, sorted by place."""
        index = self.by_target if side == "target" else self.by_source
        place, counts = _within(index.starts, nodes)
        live = (index.start.take(place) <= at) & (index.until.take(place) > at)
        place = place[live]
        row = np.repeat(np.arange(len(nodes)), counts)[live]
        far, numbers = index.far.take(place), index.numbers.take(place)
        if len(self.tail):
            late = self._of_tail(side, nodes, at)
            order_of = np.argsort(nodes, kind="stable")
            late_row = order_of[np.searchsorted(nodes, late.near, sorter=order_of)]
            row, far = np.concatenate([row, late_row]), np.concatenate([far, late.far])
            numbers = np.concatenate([numbers, late.number])
            order = np.argsort(row, kind="stable")
            row, far, numbers = row[order], far[order], numbers[order]
        return row, far, numbers

    def _of_tail(self, side: Side, nodes: Ints, at: int) -> Links:
        tail = self.tail
        near, far = (tail.target, tail.source) if side == "target" else (tail.source, tail.target)
        live = np.flatnonzero(np.isin(near, nodes) & (tail.start <= at) & (tail.until > at))
        return Links(near[live], far[live], (live + len(self.base)).astype(np.int32), tail.certified[live] > at)

    def all_touching(self, side: Side, nodes: Ints) -> Ints:
        """The numbers of all that exist with `side` among `nodes`, in force or not."""
        index = self.by_target if side == "target" else self.by_source
        place, _counts = _within(index.starts, nodes)
        numbers = index.numbers[place]
        numbers = numbers[self.base.status[numbers] != GONE]
        tail = np.flatnonzero(np.isin(getattr(self.tail, side), nodes) & (self.tail.status != GONE))
        return np.concatenate([numbers, (tail + len(self.base)).astype(np.int32)])

    def mask(self, numbers: Ints) -> Bools:
        """Per number whether it is among `numbers`."""
        found = np.zeros(len(self), dtype=np.bool_)
        found[numbers] = True
        return found

    def in_force(self, at: int) -> Ints:
        """The numbers of all in force at `at`, whatever their ends are."""
        return np.flatnonzero((self.whole("start") <= at) & (self.whole("until") > at))

    def numbers(self, ids: Raw) -> Ints:
        """The number of each id, `NONE` for what does not exist (then)."""
        numbers = self.places.numbers(ids)
        known = numbers != NONE
        known[known] = self.base.status[numbers[known]] != GONE
        numbers[~known] = NONE
        if len(self.tail):
            tail = Ids(self.tail.ids).numbers(ids)
            late = tail != NONE
            late[late] = self.tail.status[tail[late]] != GONE
            numbers[late] = tail[late] + len(self.base)
        return numbers

    def replaced(self, ids: Raw, rows: Column, *, sources: int, targets: int, most: int) -> "Edges":
        """Without `ids`, and with `rows`. Built anew when the tail would grow longer than `most`."""
        tail = Column.joined([self.tail.taken(~np.isin(self.tail.ids, ids)), rows])
        old = self.places.numbers(ids)
        old = old[old != NONE]
        if len(tail) > most:
            keep = self.base.status != GONE
            keep[old] = False
            return Edges.build(Column.joined([self.base.taken(keep), tail]), sources, targets)
        if not len(old):
            return replace(self, tail=tail)
        status, until = self.base.status.copy(), self.base.until.copy()
        status[old], until[old] = GONE, NEVER
        by_source_until = self.by_source.until.copy()
        off = np.zeros(len(self.base), dtype=np.bool_)
        off[old] = True
        of = self.base.source[old]
        for begin, end in np.unique(np.stack([self.by_source.starts[of], self.by_source.starts[of + 1]], 1), axis=0):
            part = slice(begin, end)
            by_source_until[part][off[self.by_source.numbers[part]]] = NEVER
        return replace(
            self,
            base=replace(self.base, status=status, until=until),
            by_target=replace(self.by_target, until=until),
            by_source=replace(self.by_source, until=by_source_until),
            tail=tail,
        )


@dataclass(frozen=True)
class Snapshot:
    """Everything that answers need, of one state of the data."""

    agents: Nodes
    servers: Nodes
    systems: Nodes
    grants: Edges
    connections: Edges
    tools: Tools
    secrets: Secrets
    people: Ids
    teams: Ids
    issuers: Ids
    references: Ids
    """Secrets by kind and reference, as a digest."""
    toolsets: Mapping[int, Ints]
    """From the number of a list of tools to the numbers of their names."""
    boundaries: tuple[Ints, ...]
    """Instants at which something begins or ends, in sorted arrays."""

    def nodes(self, kind: str) -> Nodes:
        found: Nodes = getattr(self, f"{kind}s")
        return found

    def edges(self, kind: str) -> Edges:
        found: Edges = getattr(self, f"{kind}s")
        return found

    def epoch(self, at: int) -> int:
        """How many of the boundaries lie at or before `at`."""
        return sum(int(np.searchsorted(part, at, side="right")) for part in self.boundaries)


@dataclass(frozen=True)
class View:
    """A snapshot at an instant: what is in force then. The same between two boundaries, so it may be kept for a while.

    `Links` of it have an active thing at either end.
    """

    snapshot: Snapshot
    at: int
    kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Dear answers, by what was asked and by whom (as far as that makes a difference); gone with the view."""

    @cached_property
    def server_certified(self) -> Bools:
        servers = self.snapshot.servers
        return servers.active & (servers.certified > self.at)

    def into(self, servers: Ints) -> Links:
        """Grants on `servers`; `far` are agents."""
        snapshot = self.snapshot
        links = snapshot.grants.touching("target", servers[snapshot.servers.active[servers]], self.at)
        return links.where(snapshot.agents.active[links.far])

    def out_of(self, agents: Ints) -> Links:
        """Grants of `agents`; `far` are servers."""
        snapshot = self.snapshot
        links = snapshot.grants.touching("source", agents[snapshot.agents.active[agents]], self.at)
        return links.where(snapshot.servers.active[links.far])

    def connecting(self, systems: Ints) -> Links:
        """Connections with `systems`; `far` are servers."""
        snapshot = self.snapshot
        links = snapshot.connections.touching("target", systems[snapshot.systems.active[systems]], self.at)
        return links.where(snapshot.servers.active[links.far])

    def connected(self, servers: Ints) -> Links:
        """Connections of `servers`; `far` are systems."""
        snapshot = self.snapshot
        links = snapshot.connections.touching("source", servers[snapshot.servers.active[servers]], self.at)
        return links.where(snapshot.systems.active[links.far])

    @cached_property
    def all_calls(self) -> Links:
        """Every grant; `near` are servers."""
        return self.into(np.arange(len(self.snapshot.servers)))

    @cached_property
    def all_connections(self) -> Links:
        """Every connection; `near` are servers."""
        return self.connected(np.arange(len(self.snapshot.servers)))

    @cached_property
    def chain(self) -> Links:
        """Grants of servers that are agents: from server (`near`) to server, sorted by both."""
        agents = self.snapshot.servers.link
        links = self.out_of(agents[self.snapshot.servers.active & (agents != NONE)])
        links = links._replace(near=self.snapshot.agents.link[links.near])
        order = np.lexsort((links.far, links.near))
        return links.taken(order)

    @cached_property
    def sure_chain(self) -> Links:
        """Those of `chain` that are certified, between servers that are."""
        chain, good = self.chain, self.server_certified
        return chain.where(chain.certified & good[chain.near] & good[chain.far])

    @cached_property
    def calling(self) -> "Calling":
        """The servers that call others, and how they hang together."""
        chain = self.chain
        servers = np.unique(chain.near)
        place = np.full(len(self.snapshot.servers), NONE, dtype=np.int64)
        place[servers] = np.arange(len(servers))
        onwards = place[chain.far] != NONE
        grants = chain.number[onwards]
        return Calling(servers, place[chain.near[onwards]], place[chain.far[onwards]], grants, self._behind(place))

    def _behind(self, place: Ints) -> "Behind":
        chain = self.chain
        leaves = np.flatnonzero(place[chain.far] == NONE)
        called = np.unique(chain.far[leaves])
        links = self.connected(called)
        order = np.argsort(links.near, kind="stable")
        starts = _starts(links.near[order], len(place))
        places, counts = _within(starts, chain.far[leaves])
        over, places = np.repeat(leaves, counts), order[places]
        order = np.argsort(links.far[places], kind="stable")
        over, places = over[order], places[order]
        system = links.far[places]
        starts = _starts(system, len(self.snapshot.systems))
        return Behind(starts, place[chain.near[over]], chain.number[over], links.number[places], system)

    @cached_property
    def calls(self) -> "Neighbours":
        """Per server those it calls."""
        return self._neighbours(self.chain.near, self.chain.far)

    @cached_property
    def callers(self) -> "Neighbours":
        """Per server the servers that call it."""
        return self._neighbours(self.chain.far, self.chain.near)

    def _neighbours(self, ends: Ints, others: Ints) -> "Neighbours":
        ids = self.snapshot.servers.ids
        order = np.lexsort((ids.rank[others], ends))
        return Neighbours(_starts(ends[order], len(ids)), others[order], self.chain.number[order])


class Behind(NamedTuple):
    """What servers reach through others that call nobody themselves: a place in `Calling.servers`, the grant on the
    second server, a connection of that one, and the system, sorted by it.
    """

    starts: Ints
    caller: Ints
    grant: Ints
    connection: Ints
    system: Ints

    def of(self, systems: Ints) -> "Behind":
        """What there is of these systems."""
        places, _counts = _within(self.starts, systems)
        return Behind(self.starts, *(column[places] for column in self[1:]))


class Calling(NamedTuple):
    """Servers that call others; `near` and `far` are places among them, `grant` the relationship between the two."""

    servers: Ints
    near: Ints
    far: Ints
    grant: Ints
    behind: Behind


@dataclass(frozen=True)
class Neighbours:
    """The other ends of each server's links in `chain`, by their ids, and the grants in between."""

    starts: Ints
    others: Ints
    grants: Ints
    _made: dict[int, list[tuple[int, int]]] = field(default_factory=dict, repr=False, compare=False)

    def of(self, server: int) -> list[tuple[int, int]]:
        """Other end and grant of each. Paths are searched one by one, which plain numbers do faster than arrays."""
        made = self._made.get(server)
        if made is None:
            part = slice(self.starts[server], self.starts[server + 1])
            made = list(zip(self.others[part].tolist(), self.grants[part].tolist(), strict=True))
            self._made[server] = made
        return made
