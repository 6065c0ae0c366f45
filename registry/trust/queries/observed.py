"""What was seen in use, beside what is granted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Max, Min, Q, QuerySet, Sum
from django.utils import timezone

from registry.trust.graph.snapshot import NONE, Bools, Ids, Ints, instant, micros, raw
from registry.trust.models import Observation
from registry.trust.queries.answers import Rows, Sighting, Sightings, Use
from registry.trust.queries.standpoint import Standpoint


@dataclass(frozen=True)
class Pairs:
    """Agents with servers, and servers with systems, by number. `granted`: a relationship in force allows it."""

    source: Ints
    target: Ints
    is_connection: Bools
    granted: Bools
    calls: Ints
    last: Ints
    errors: Ints


LARGE = 10_000


def observed_pairs(stand: Standpoint, places: Bools, agents: int, servers: int) -> Pairs | None:
    """What was observed up to the instant around the things at these places; None when nothing was."""
    known = Observation.objects.filter(first_used__lte=stand.as_of)
    if not known.exists():
        return None
    wanted = Q()
    if places.sum() <= LARGE:
        wanted = Q(agent__in=_ids(stand, "agent", places[:agents]))
        wanted |= Q(server__in=_ids(stand, "server", places[agents : agents + servers]))
        wanted |= Q(system__in=_ids(stand, "system", places[agents + servers :]))
    return _observed(stand, known.filter(wanted))


def _observed(stand: Standpoint, observations: QuerySet[Observation]) -> Pairs:
    rows = observations.order_by()
    calls = _pairs(stand, "agent", "server", list(rows.values_list("agent", "server").annotate(*_FIGURES)))
    uses = rows.exclude(system=None).values_list("server", "system").annotate(*_FIGURES)
    reads = _pairs(stand, "server", "system", list(uses))
    return Pairs(*(np.concatenate(columns) for columns in zip(calls, reads, strict=True)))


_FIGURES = (Sum("calls"), Max("last_used"), Sum("errors"))


def _ids(stand: Standpoint, kind: str, those: Bools) -> tuple[object, ...]:
    return stand.nodes(kind).ids.uuids(np.flatnonzero(those))


def _pairs(
    stand: Standpoint, near: str, far: str, rows: list[tuple[object, object, int, datetime, int]]
) -> tuple[Any, ...]:
    def numbers(ids: Ids, values: list[object]) -> Ints:
        return ids.numbers(raw(values)) if values else np.empty(0, dtype=np.int32)  # type: ignore[arg-type]

    source = numbers(stand.nodes(near).ids, [row[0] for row in rows])
    target = numbers(stand.nodes(far).ids, [row[1] for row in rows])
    calls = np.array([row[2] for row in rows], dtype=np.int64)
    last = np.array([micros(row[3]) for row in rows], dtype=np.int64)
    errors = np.array([row[4] for row in rows], dtype=np.int64)
    known = (source != NONE) & (target != NONE)
    source, target, calls, last, errors = (each[known] for each in (source, target, calls, last, errors))
    begins = np.unique(source)
    links = stand.view.out_of(begins) if near == "agent" else stand.view.connected(begins)
    size = len(stand.nodes(far)) + 1
    allowed = np.isin(source.astype(np.int64) * size + target, links.near.astype(np.int64) * size + links.far)
    kind = np.full(len(source), near == "server")
    return source.astype(np.int64), target.astype(np.int64), kind, allowed, calls, last, errors


def observed_since() -> datetime | None:
    """The first day observations speak of; None while there are none."""
    first = Observation.objects.order_by("period").values_list("period", flat=True).first()
    return None if first is None else timezone.make_aware(datetime.combine(first, datetime.min.time()))


EVERYTHING = Q()
RELATIONSHIPS = ("grant", "connection")


def sightings(stand: Standpoint, of: Q = EVERYTHING, kinds: Collection[str] = RELATIONSHIPS) -> Sightings:
    """What was used although nothing in force allows it; what is used between things one may not see is counted."""
    known = Observation.objects.filter(first_used__lte=stand.as_of)
    pairs = _observed(stand, known.filter(of))
    counts, hidden = {"of_servers": 0, "of_systems": 0}, {"of_servers": 0, "of_systems": 0}
    wanted = np.where(pairs.is_connection, "connection" in kinds, "grant" in kinds) & ~pairs.granted
    rows = _sightings(stand, pairs, np.flatnonzero(wanted), counts, hidden)
    return Sightings(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden=hidden,
        known=known.exists(),
        rows=Rows.listed(rows, sum(hidden.values())),
    )


def _sightings(
    stand: Standpoint, pairs: Pairs, places: Ints, counts: dict[str, int], hidden: dict[str, int]
) -> list[tuple[int, UUID, Sighting]]:
    rows = []
    for place in places.tolist():
        near, far = ("server", "system") if pairs.is_connection[place] else ("agent", "server")
        source, target = int(pairs.source[place]), int(pairs.target[place])
        counts[f"of_{far}s"] += 1
        if stand.is_hidden(near, source) or stand.is_hidden(far, target):
            hidden[f"of_{far}s"] += 1
            continue
        ends = stand.nodes(near).ids.uuid(source), stand.nodes(far).ids.uuid(target)
        last = int(pairs.last[place])
        row = Sighting((near, ends[0]), (far, ends[1]), int(pairs.calls[place]), instant(last))
        rows.append((-last, UUID(bytes=blake2b(ends[0].bytes + ends[1].bytes, digest_size=16).digest()), row))
    return rows


# --- Of one agent or one system --------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Use of what is in force, by numbers of things at either end, and what was used without.

    A use counts for an agent and a system when the grant and the connection it went along are both in force.
    """

    agents: Mapping[int, Use]
    servers: Mapping[int, Use]
    systems: Mapping[int, Use]
    sightings: Rows[Sighting]


NOTHING_SEEN = Seen({}, {}, {}, Rows.listed([]))
_NOBODY = UUID(int=0)


def seen_of_agent(stand: Standpoint, agent_id: UUID) -> Seen:
    """Servers it called by a grant of its own, and systems it used through them."""
    return _seen(stand, Q(agent=agent_id), "grant")


def seen_of_system(stand: Standpoint, system_id: UUID) -> Seen:
    """Servers that used it by a connection of their own, and agents that did so through them."""
    return _seen(stand, Q(system=system_id), "connection")


def _seen(stand: Standpoint, of: Q, nearest: str) -> Seen:
    """`nearest`: the relationship by which a server is used."""
    observations = Observation.objects.filter(of, first_used__lte=stand.as_of).order_by()
    pairs = _observed(stand, observations)
    columns = (pairs.is_connection[pairs.granted], pairs.source[pairs.granted], pairs.target[pairs.granted])
    granted = set(zip(*(column.tolist() for column in columns), strict=True))
    uses = list(
        observations.values_list("agent", "server", "system").annotate(
            Min("first_used"), Max("last_used"), Sum("calls"), Sum("errors")
        )
    )
    numbers = (
        stand.nodes(kind).ids.numbers(raw([use[place] or _NOBODY for use in uses])).tolist()
        for place, kind in enumerate(("agent", "server", "system"))
    )
    agents: dict[int, Use] = {}
    servers: dict[int, Use] = {}
    systems: dict[int, Use] = {}
    for agent, server, system, (*_ids, first, last, calls, errors) in zip(*numbers, uses, strict=True):
        called, used = (False, agent, server) in granted, (True, server, system) in granted
        use = Use(first, last, int(calls), int(errors))
        for found, number, counts in (
            (agents, agent, called and used),
            (servers, server, called if nearest == "grant" else used),
            (systems, system, called and used),
        ):
            if counts:
                found[number] = found[number] + use if number in found else use
    hidden = {"of_servers": 0, "of_systems": 0}
    rows = _sightings(stand, pairs, np.flatnonzero(~pairs.granted), dict(hidden), hidden)
    return Seen(agents, servers, systems, Rows.listed(rows, sum(hidden.values())))
