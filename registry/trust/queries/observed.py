"""What was seen in use, beside what is granted."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Max, Q, Sum
from django.utils import timezone

from registry.trust.graph.snapshot import NONE, Bools, Ids, Ints, instant, micros, raw
from registry.trust.models import Observation
from registry.trust.queries.answers import Rows, Sighting, Sightings
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
    rows = known.filter(wanted).order_by()
    calls = _pairs(stand, "agent", "server", list(rows.values_list("agent", "server").annotate(*_FIGURES)))
    uses = rows.exclude(system=None).values_list("server", "system").annotate(*_FIGURES)
    reads = _pairs(stand, "server", "system", list(uses))
    return Pairs(*(np.concatenate(columns) for columns in zip(calls, reads, strict=True)))


_FIGURES = (Sum("calls"), Max("last_used"))


def _ids(stand: Standpoint, kind: str, those: Bools) -> tuple[object, ...]:
    return stand.nodes(kind).ids.uuids(np.flatnonzero(those))


def _pairs(stand: Standpoint, near: str, far: str, rows: list[tuple[object, object, int, datetime]]) -> tuple[Any, ...]:
    def numbers(ids: Ids, values: list[object]) -> Ints:
        return ids.numbers(raw(values)) if values else np.empty(0, dtype=np.int32)  # type: ignore[arg-type]

    source = numbers(stand.nodes(near).ids, [row[0] for row in rows])
    target = numbers(stand.nodes(far).ids, [row[1] for row in rows])
    calls = np.array([row[2] for row in rows], dtype=np.int64)
    last = np.array([micros(row[3]) for row in rows], dtype=np.int64)
    known = (source != NONE) & (target != NONE)
    source, target, calls, last = source[known], target[known], calls[known], last[known]
    begins = np.unique(source)
    links = stand.view.out_of(begins) if near == "agent" else stand.view.connected(begins)
    size = len(stand.nodes(far)) + 1
    allowed = np.isin(source.astype(np.int64) * size + target, links.near.astype(np.int64) * size + links.far)
    kind = np.full(len(source), near == "server")
    return source.astype(np.int64), target.astype(np.int64), kind, allowed, calls, last


def observed_since() -> datetime | None:
    """The first day observations speak of; None while there are none."""
    first = Observation.objects.order_by("period").values_list("period", flat=True).first()
    return None if first is None else timezone.make_aware(datetime.combine(first, datetime.min.time()))


def sightings(stand: Standpoint) -> Sightings:
    """What was used although nothing in force allows it; what is used between things one may not see is counted."""
    agents, servers, systems = (len(stand.nodes(kind)) for kind in ("agent", "server", "system"))
    everywhere = np.ones(agents + servers + systems, dtype=np.bool_)
    pairs = observed_pairs(stand, everywhere, agents, servers)
    counts, hidden = {"of_servers": 0, "of_systems": 0}, {"of_servers": 0, "of_systems": 0}
    rows: list[tuple[int, UUID, Sighting]] = []
    if pairs is not None:
        rows = _sightings(stand, pairs, counts, hidden)
    return Sightings(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden=hidden,
        known=pairs is not None,
        rows=Rows.listed(rows, sum(hidden.values())),
    )


def _sightings(
    stand: Standpoint, pairs: Pairs, counts: dict[str, int], hidden: dict[str, int]
) -> list[tuple[int, UUID, Sighting]]:
    rows = []
    for place in np.flatnonzero(~pairs.granted).tolist():
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
