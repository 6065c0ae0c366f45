"""The shapes of answers about the trust graph: exact counts first, then light rows of ids, worst first.

An answer holds no names: `naming` fetches them for the rows of one page. What the actor may not see is counted in
`hidden` and never named; `counts` includes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar
from uuid import UUID

import numpy as np

from registry.core.errors import Malformed
from registry.trust.graph.snapshot import Bools, Ints, Nodes, Raw, raw, uuid

Kind = Literal["agent", "server", "system"]
Subject = Literal["agent", "server", "system", "secret_source", "issuer", "team", "person"]
"""What a question may be about. `secret_source` is the id of one row; every row of its kind and reference counts."""
Cut = Literal["agent", "server", "system", "secret_source", "issuer", "team", "person", "grant", "connection"]
Ref = tuple[str, UUID]
"""A kind and an id."""
Basis = Literal["granted", "observed", "both"]
"""What is granted; of that what was seen in use; or what is granted with its use. The last two come with sightings."""
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows; `next` is the cursor of what follows, or None at the end."""

    rows: tuple[R, ...]
    next: str | None


class Rows(Generic[R]):
    """Rows that may be named, sorted worst first and then by id, made only when a page asks for them.

    A cursor holds the sort key and the id of the last row seen. So a walk loses and doubles nothing that stood still,
    also when the data moves between two pages.
    """

    __slots__ = ("_ids", "_keys", "_make", "hidden")

    def __init__(self, keys: Ints, ids: Raw, make: Callable[[int], R], hidden: int = 0) -> None:
        """`keys` ascend; within one key `ids` ascend. `make` builds the row of a position."""
        self._keys, self._ids, self._make, self.hidden = keys, ids, make, hidden

    @classmethod
    def of(cls, nodes: Nodes, numbers: Ints, keys: Ints, make: Callable[[int], R], hidden: Bools | None) -> "Rows[R]":
        """Rows of things: `numbers` in the order of their ids, with a sort key each. `make` gets a number."""
        unseen = 0
        if hidden is not None:
            seen = ~hidden[numbers]
            unseen = len(numbers) - int(seen.sum())
            numbers, keys = numbers[seen], keys[seen]
        order = np.argsort(keys, kind="stable")
        sorted_numbers = numbers[order]
        return cls(
            keys[order], nodes.ids.values[sorted_numbers], lambda place: make(int(sorted_numbers[place])), unseen
        )

    @classmethod
    def listed(cls, rows: Sequence[tuple[int, UUID, R]], hidden: int = 0) -> "Rows[R]":
        """Rows that are already made, with their sort key and id."""
        ordered = sorted(rows, key=lambda row: (row[0], row[1].bytes))
        keys = np.array([row[0] for row in ordered], dtype=np.int64)
        return cls(keys, raw([row[1] for row in ordered]), lambda place: ordered[place][2], hidden)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, position: int) -> R:
        return self._make(range(len(self))[position])

    def __iter__(self) -> Iterator[R]:
        return map(self._make, range(len(self)))

    def page(self, cursor: str | None = None, limit: int = 50) -> Page[R]:
        """Up to `limit` rows after `cursor`. Raises `Malformed` for a cursor that is none of ours."""
        begin = self._after(cursor) if cursor else 0
        end = min(begin + limit, len(self))
        more = f"{self._keys[end - 1]}_{uuid(self._ids[end - 1]).hex}" if begin < end < len(self) else None
        return Page(tuple(map(self._make, range(begin, end))), more)

    def _after(self, cursor: str) -> int:
        key, _, id = cursor.partition("_")
        try:
            last, place = np.array([UUID(id).bytes], dtype="S16"), int(key)
        except ValueError as error:
            raise Malformed("This cursor is none of ours. Start again without it.") from error
        begin, end = (int(np.searchsorted(self._keys, place, side)) for side in ("left", "right"))
        return begin + int(np.searchsorted(self._ids[begin:end], last, side="right")[0])


# --- Rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Use:
    """What was seen in use, over all periods together."""

    first_used: datetime
    last_used: datetime
    calls: int
    errors: int

    def __add__(self, other: "Use") -> "Use":
        first, last = min(self.first_used, other.first_used), max(self.last_used, other.last_used)
        return Use(first, last, self.calls + other.calls, self.errors + other.errors)


@dataclass(frozen=True, slots=True)
class ReachedSystem:
    """A system at the far end. `access` is the best of all paths, `hops` the fewest relationships of one.

    `certified`: some path is certified from end to end. `direct`: some path has one server only. `sole`: no other
    server than those in question has a connection with it (blast radius of servers; elsewhere False). A system that is
    concerned only because its owner is has hops 0 and no access.
    """

    id: UUID
    data_class: str
    access: str
    certified: bool
    direct: bool
    hops: int
    sole: bool = False
    observed: Use | None = None
    """Use by what was asked about, along what is in force; None when none was seen or it was not asked for."""


@dataclass(frozen=True, slots=True)
class ReachedServer:
    """A server on the way. `access` and `data_class` are the worst of its own connections ("" without one).

    `hops` 0: it is itself what the question is about, or belongs to that.
    """

    id: UUID
    data_class: str
    access: str
    certified: bool
    direct: bool
    hops: int
    observed: Use | None = None


@dataclass(frozen=True, slots=True)
class ReachingAgent:
    """An agent at the near end. `hops` 0: it belongs to what the question is about.

    `access` is its best to the system asked about ("" in a blast radius).
    """

    id: UUID
    access: str
    certified: bool
    direct: bool
    hops: int
    observed: Use | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody accountable for what is concerned, and for how much of it."""

    id: UUID
    agents: int
    servers: int
    deputy_of: int
    systems: int


@dataclass(frozen=True, slots=True)
class Loss:
    """What one agent loses. `grants` are its own grants that are cut (with them their tools).

    `loses`: systems it then no longer reaches at all (they have no other path: sole). `keeps`: systems it reached
    through what is cut and still reaches another way. Unnamed ones are counted.
    """

    id: UUID
    grants: tuple[UUID, ...]
    loses: Sequence[UUID]
    keeps: Sequence[UUID]
    hidden_loses: int
    hidden_keeps: int

    @property
    def sole(self) -> bool:
        return bool(self.loses or self.hidden_loses)


@dataclass(frozen=True, slots=True)
class CutSystem:
    """A system that is concerned by a cut. `unserved`: no server has a connection with it any more."""

    id: UUID
    data_class: str
    unserved: bool
    lost_by: int
    kept_by: int


@dataclass(frozen=True, slots=True)
class Step:
    """One relationship of a path. `id` is None when one of its ends may not be seen; so is that end."""

    kind: Literal["grant", "connection"]
    id: UUID | None
    source: Ref | None
    target: Ref | None


@dataclass(frozen=True, slots=True)
class Path:
    """From one thing to another. A server that is itself an agent continues a path as that server.

    `access` and `data_class` are those of its last connection ("" when it ends at a server). It ends when the first of
    its relationships does.
    """

    steps: tuple[Step, ...]
    access: str
    data_class: str
    certified: bool
    valid_until: datetime

    @property
    def hops(self) -> int:
        return len(self.steps)

    @property
    def hidden(self) -> bool:
        return any(step.id is None for step in self.steps)


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """One secret (kind and reference) that several servers use. `id` is the lowest of its secret sources."""

    id: UUID
    kind: str
    reference: str
    servers: tuple[UUID, ...]
    hidden_servers: int
    data_class: str
    systems: int


@dataclass(frozen=True, slots=True)
class Crossing:
    """An agent that reaches a system across environments, or a server that agents of several tenants call.

    Environment: `agent`, `server` (the one it calls) and `system` with `environments` in that order. Tenant: `server`
    and the `issuers` (None stands for agents without one).
    """

    kind: Literal["environment", "tenant"]
    agent: UUID | None = None
    server: UUID | None = None
    system: UUID | None = None
    environments: tuple[str, ...] = ()
    issuers: tuple[UUID | None, ...] = ()
    agents: int = 0


@dataclass(frozen=True, slots=True)
class LegMet:
    """A leg of a toxic combination and one path that meets it."""

    label: str
    path: Path


@dataclass(frozen=True, slots=True)
class CombinationMatch:
    """An agent that meets every leg of `combination`."""

    combination: UUID
    agent: UUID
    legs: tuple[LegMet, ...]


@dataclass(frozen=True, slots=True)
class Orphan:
    """A relationship of which an end has no owner, or one who has left. `ends` says which: ("agent", id)…"""

    kind: Literal["grant", "connection"]
    id: UUID
    ends: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Unused:
    """A relationship in force nobody used since `last_used` (None: never, as far back as observations go)."""

    kind: Literal["grant", "connection"]
    id: UUID
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class Sighting:
    """Use that nothing in force allows: of a server by an agent, or of a system by a server."""

    source: Ref
    target: Ref
    calls: int
    last_used: datetime


@dataclass(frozen=True, slots=True)
class Diffuse:
    """A server that agents of many teams call."""

    id: UUID
    teams: int
    agents: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A relationship that differs between two instants. `before` and `after` are its states then.

    A state is a status, "in force", or "" when it was not open (not yet, or no more).
    """

    kind: Literal["grant", "connection"]
    id: UUID
    before: str
    after: str
    terms: bool
    """Access, tools or validity differ."""


# --- Answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What every answer says: the instant judged, and the version of the data it was judged on."""

    as_of: datetime
    data_version: str
    counts: Mapping[str, int]
    """Exact, also of what may not be named."""
    hidden: Mapping[str, int]
    """How many of each may not be named."""


@dataclass(frozen=True)
class Reach(Answer):
    """counts: systems, servers; sightings, when they were asked for."""

    agent: UUID
    data_classes: Mapping[str, int]
    """Systems of each data class, worst first; also hidden ones."""
    systems: Rows[ReachedSystem]
    servers: Rows[ReachedServer]
    sightings: Rows[Sighting]
    """What the agent was seen to use that nothing in force allows; never part of the rest."""


@dataclass(frozen=True)
class AccessTo(Answer):
    """counts: agents, servers (with a connection of their own or through chains), direct_agents; sightings, when they
    were asked for.
    """

    system: UUID
    agents: Rows[ReachingAgent]
    servers: Rows[ReachedServer]
    """Servers that reach it; `hops` counts from the server, 1 is a connection of its own."""
    behalf: Mapping[str, int]
    """Agents by on whose behalf they call (users, service, nobody); one agent may count in several."""
    sightings: Rows[Sighting]


@dataclass(frozen=True)
class BlastRadius(Answer):
    """counts: agents, servers, systems, people.

    `agents`: whose trust is abused (they call what is compromised); `servers` and `systems`: what is reachable then.
    """

    subject: Ref
    data_classes: Mapping[str, int]
    agents: Rows[ReachingAgent]
    servers: Rows[ReachedServer]
    systems: Rows[ReachedSystem]
    people: Rows[Person]
    behalf: Mapping[str, int]


@dataclass(frozen=True)
class Impact(Answer):
    """counts: grants, connections (cut); agents (with a path through the cut), losing (tools or systems; the first
    rows), losing_tools, losing_systems, pairs_lost and pairs_kept (agent and system); systems (concerned), unserved.
    """

    cut: Ref
    agents: Rows[Loss]
    systems: Rows[CutSystem]


@dataclass(frozen=True)
class Paths(Answer):
    """counts: paths (those listed). `complete` is False when there are more than `limit`. Shortest first."""

    source: Ref
    target: Ref
    paths: tuple[Path, ...]
    complete: bool


@dataclass(frozen=True)
class SharedSecrets(Answer):
    """counts: secrets, servers."""

    secrets: Rows[SharedSecret]


@dataclass(frozen=True)
class Crossings(Answer):
    """counts: environment (agent, server, system triples), worst (non-production agent to production), tenant."""

    environment: Rows[Crossing]
    tenant: Rows[Crossing]


@dataclass(frozen=True)
class Combinations(Answer):
    """counts: by combination id (as text) how many agents match."""

    matches: Rows[CombinationMatch]


@dataclass(frozen=True)
class Orphans(Answer):
    """counts: grants, connections."""

    rows: Rows[Orphan]


@dataclass(frozen=True)
class Unuseds(Answer):
    """counts: grants, connections. `known` is False while nothing was observed: then nobody can say."""

    known: bool
    since: datetime
    rows: Rows[Unused]


@dataclass(frozen=True)
class Sightings(Answer):
    """counts: of_servers (used by agents), of_systems (used by servers). `known` is False while nothing is observed."""

    known: bool
    rows: Rows[Sighting]


@dataclass(frozen=True)
class Diffuses(Answer):
    """counts: servers."""

    teams: int
    rows: Rows[Diffuse]


@dataclass(frozen=True)
class Stats(Answer):
    """counts: agents, servers, systems (active), grants, connections (in force), grants_certified,
    connections_certified, grants_suspended, connections_suspended, grants_requested, connections_requested,
    wildcard_grants, chained_servers, shared_secrets, sightings.
    """

    by: Mapping[str, Mapping[str, int]]
    """Facet (data_class, access, tier, environment) → value → how many (systems, connections, servers, servers)."""


@dataclass(frozen=True)
class Difference(Answer):
    """counts: appeared, vanished, changed, and in_force_before, in_force_after. `as_of` is the later instant."""

    since: datetime
    rows: Rows[Changed]
