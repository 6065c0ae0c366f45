"""The shapes of the part of the graph that is drawn: nodes and edges by id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

Grouping = Literal["auto", "team", "kind", "none"]


@dataclass(frozen=True)
class Facets:
    """What is left in the picture; an empty collection restricts nothing.

    Tier, environment and team judge the server, data class the system. An edge whose server fails is dropped; with
    data classes a server or agent stays only if one of its paths still leads to a remaining system.
    """

    tiers: frozenset[str] = frozenset()
    data_classes: frozenset[str] = frozenset()
    environments: frozenset[str] = frozenset()
    teams: frozenset[UUID] = frozenset()
    statuses: frozenset[str] = frozenset({"active"})
    """Of active (in force), suspended, requested."""
    certified: bool | None = None
    """By the relationship's own certification at the instant."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret source of a server; `shared` is how many servers use the same, itself included."""

    id: UUID
    kind: str
    reference: str
    shared: int


@dataclass(frozen=True, slots=True)
class Node:
    """A thing, a group of things (`id` None, `members` many) or what may not be named (`hidden:<kind>`)."""

    key: str
    kind: str
    id: UUID | None
    seed: bool = False
    environment: str = ""
    tier: str = ""
    data_class: str = ""
    state: str = ""
    team: UUID | None = None
    word: str = ""
    certified: bool = False
    members: int = 1
    certified_members: int = 0
    more_agents: int = 0
    more_servers: int = 0
    more_systems: int = 0
    agent: UUID | None = None
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """A relationship, or several between the same two nodes (`id` None), or a sighting."""

    source: str
    target: str
    kind: str
    id: UUID | None
    status: str
    access: str
    all_tools: bool
    tools: int
    certified: bool
    basis: str
    hot: bool
    members: int = 1
    certified_members: int = 0
    hot_members: int = 0
    calls: int | None = None
    errors: int | None = None
    last_used: datetime | None = None


@dataclass(frozen=True)
class Neighbourhood:
    """`total` counts by kind before grouping, hidden ones included; `facets` values before they were applied; `ignored`
    what was to be expanded or collapsed and is not there, or may not be seen."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    hidden: Mapping[str, int]
    grouped: bool
    total: Mapping[str, int]
    facets: Mapping[str, Mapping[str, int]]
    as_of: datetime
    data_version: str
    ignored: int = 0
    where: Callable[[str, UUID], str] = lambda kind, id: f"{kind}:{id}"
    """The key of the node that stands for a thing; empty where none does."""
