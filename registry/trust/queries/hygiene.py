"""Relationships that nobody looks after or uses, secrets that are shared, ownership that is spread too wide."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import numpy as np

from registry.accounts.models import User
from registry.catalog.models import SecretSource
from registry.core.errors import Invalid
from registry.trust.graph.snapshot import (
    DATA_CLASSES,
    NEVER,
    NONE,
    Ints,
    Links,
    Raw,
    instant,
    joined,
    micros,
    raw,
    uuid,
)
from registry.trust.graph.walk import mask
from registry.trust.queries.answers import (
    Diffuse,
    Diffuses,
    Orphan,
    Orphans,
    Ref,
    Rows,
    SharedSecret,
    SharedSecrets,
    Unused,
    Unuseds,
)
from registry.trust.queries.observed import observed_pairs, observed_since
from registry.trust.queries.standpoint import Standpoint

# --- Secrets ---------------------------------------------------------------------------------------------


def shared_secrets(stand: Standpoint) -> SharedSecrets:
    """A secret counts with the servers that name it now or use it in a connection in force."""
    snapshot, view = stand.view.snapshot, stand.view
    secrets = snapshot.secrets
    uses = view.all_connections
    source = snapshot.connections.column("detail", uses.number)
    by_use = source != NONE
    used = secrets.secret[source[by_use]]
    named = (secrets.current == 1) & (secrets.server != NONE)
    pairs = np.concatenate([
        np.stack([secrets.secret[named], secrets.server[named]], 1), np.stack([used, uses.near[by_use]], 1),
    ])  # fmt: skip
    pairs = np.unique(pairs[pairs[:, 0] != NONE], axis=0)
    begins = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    ends = np.append(begins[1:], len(pairs))
    hidden = stand.hides("server")
    found, unseen, servers_of = [], 0, 0
    for begin, end in zip(begins[ends - begins > 1].tolist(), ends[ends - begins > 1].tolist(), strict=True):
        number, servers = int(pairs[begin, 0]), pairs[begin:end, 1]
        servers_of += len(servers)
        seen = servers if hidden is None else servers[~hidden[servers]]
        if not len(seen):
            unseen += 1
            continue
        found.append((number, seen, len(servers) - len(seen)))
    rows = _secret_rows(stand, found, used, uses.far[by_use])
    return SharedSecrets(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts={"secrets": len(found) + unseen, "servers": servers_of},
        hidden={"secrets": unseen, "servers": sum(number for _s, _v, number in found)},
        secrets=Rows.listed(rows, unseen),
    )


def _secret_rows(
    stand: Standpoint, found: list[tuple[int, Ints, int]], used: Ints, systems: Ints
) -> list[tuple[int, UUID, SharedSecret]]:
    """With the words of each secret, and what is behind it."""
    secrets, ranks = stand.view.snapshot.secrets, stand.nodes("system").rank
    named: dict[int, UUID] = {}
    wanted = np.flatnonzero(np.isin(secrets.secret, [number for number, _s, _h in found]))
    hidden = stand.hides("server")
    for place in wanted.tolist():
        if hidden is None or secrets.server[place] == NONE or not hidden[secrets.server[place]]:
            id, number = secrets.ids.uuid(place), int(secrets.secret[place])
            named[number] = min(named.get(number, id), id)
    words = {row.pk: row for row in SecretSource.objects.filter(pk__in=named.values()).only("id", "kind", "reference")}
    order = np.argsort(used, kind="stable")
    numbers = used[order]
    rows = []
    for number, servers, unnamed in found:
        begin, end = np.searchsorted(numbers, [number, number + 1])
        behind = np.unique(systems[order[begin:end]])
        worst = int(ranks[behind].max()) if len(behind) else 0
        source = words[named[number]]
        row = SharedSecret(
            id=source.pk,
            kind=source.kind,
            reference=source.reference,
            servers=tuple(sorted(stand.nodes("server").ids.uuids(servers))),
            hidden_servers=unnamed,
            data_class=DATA_CLASSES[worst],
            systems=len(behind),
        )
        rows.append(((4 - worst) * 1_000_000 - len(servers) - unnamed, source.pk, row))
    return rows


# --- Owners ----------------------------------------------------------------------------------------------


def orphans(stand: Standpoint) -> Orphans:
    """Of relationships in force. An owner who has left can no longer sign in."""
    people = stand.view.snapshot.people
    left = User.objects.filter(is_active=False).values_list("pk", flat=True)
    known = people.numbers(raw(list(left)))
    # The last entry answers for "nobody".
    gone = np.append(mask(len(people), known[known != NONE]), True)
    unowned = {kind: gone[stand.nodes(kind).owner] for kind in ("agent", "server", "system")}
    found, counts, hidden = {}, {}, {}
    for kind, far, links in _both(stand):
        bad = links.where(unowned[far][links.far] | unowned["server"][links.near])
        found[kind] = _seen(stand, bad, far)
        counts[f"{kind}s"] = len(bad.near)
        hidden[f"{kind}s"] = len(bad.near) - len(found[kind].near)

    def make(kind: str, far: str, id: UUID, server: int, other: int, _number: int) -> Orphan:
        ends: tuple[Ref, ...] = tuple(
            (of, stand.nodes(of).ids.uuid(number))
            for of, number in ((far, other), ("server", server))
            if unowned[of][number]
        )
        return Orphan(kind, id, ends)  # type: ignore[arg-type]

    return Orphans(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden=hidden,
        rows=_rows(stand, found, sum(hidden.values()), make),
    )


# --- Use -------------------------------------------------------------------------------------------------


def unused(stand: Standpoint, days: int) -> Unuseds:
    """Connections count of servers whose systems are observed at all. What is younger than the time asked for does not
    count.
    """
    if days < 1:
        raise Invalid(fields={"days": ["At least 1."]})
    since = stand.as_of - timedelta(days=days)
    everywhere = np.ones(sum(len(stand.nodes(kind)) for kind in _FAR_OF), dtype=np.bool_)
    pairs = observed_pairs(stand, everywhere, len(stand.nodes("agent")), len(stand.nodes("server")))
    begun = observed_since()
    known = pairs is not None and begun is not None and begun <= since
    found: dict[str, Links] = {}
    counts, hidden, last_of = {"grants": 0, "connections": 0}, {"grants": 0, "connections": 0}, {}
    if pairs is not None and known:
        for kind, far, links in _both(stand):
            those = pairs.is_connection == (kind == "connection")
            if kind == "connection":
                # Of a server whose systems nobody observes it is unknown which of its connections it uses.
                observed = mask(len(stand.nodes("server")), pairs.source[those])
                links = links.where(observed[links.near])
            near, other = (links.far, links.near) if kind == "grant" else (links.near, links.far)
            last = _last_used(near, other, pairs.source[those], pairs.target[those], pairs.last[those])
            start = stand.view.snapshot.edges(kind).column("start", links.number)
            idle = (last < micros(since)) & (start <= micros(since))
            for number, used in zip(links.number[idle].tolist(), last[idle].tolist(), strict=True):
                last_of[kind, number] = used
            found[kind] = _seen(stand, links.where(idle), far)
            counts[f"{kind}s"] = int(idle.sum())
            hidden[f"{kind}s"] = counts[f"{kind}s"] - len(found[kind].near)

    def make(kind: str, _far: str, id: UUID, _server: int, _other: int, number: int) -> Unused:
        last = last_of[kind, number]
        return Unused(kind, id, None if last == NEVER else instant(last))  # type: ignore[arg-type]

    return Unuseds(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts=counts,
        hidden=hidden,
        known=known,
        since=since,
        rows=_rows(stand, found, sum(hidden.values()), make),
    )


def _last_used(near: Ints, far: Ints, source: Ints, target: Ints, last: Ints) -> Ints:
    """Per relationship when it was last used; `NEVER` without an observation."""
    width = int(max(far.max(initial=0), target.max(initial=0))) + 1
    own, seen = near.astype(np.int64) * width + far, source * width + target
    order = np.argsort(seen)
    place = np.minimum(np.searchsorted(seen, own, sorter=order), max(len(seen) - 1, 0))
    found = np.full(len(own), NEVER)
    if len(seen):
        matched = seen[order[place]] == own
        found[matched] = last[order[place[matched]]]
    return found


# --- Ownership -------------------------------------------------------------------------------------------


def diffuse(stand: Standpoint, teams: int) -> Diffuses:
    """Agents without a team count as agents, not as a team."""
    if teams < 1:
        raise Invalid(fields={"teams": ["At least 1."]})
    calls, servers = stand.view.all_calls, stand.nodes("server")
    team = stand.nodes("agent").team[calls.far]
    many = _distinct(calls.near[team != NONE], team[team != NONE], len(servers), len(stand.view.snapshot.teams))
    callers = np.bincount(calls.near, minlength=len(servers))
    numbers = servers.ids.sorted(many > teams)

    def make(number: int) -> Diffuse:
        return Diffuse(servers.ids.uuid(number), int(many[number]), int(callers[number]))

    rows = Rows.of(servers, numbers, -many[numbers], make, stand.hides("server"))
    return Diffuses(
        as_of=stand.as_of,
        data_version=stand.state.version,
        counts={"servers": len(numbers)},
        hidden={"servers": rows.hidden},
        teams=teams,
        rows=rows,
    )


_DENSE = 50_000_000


def _distinct(groups: Ints, values: Ints, size: int, width: int) -> Ints:
    """Per group how many different values it has."""
    if size * width <= _DENSE:
        there = np.zeros(size * width, dtype=np.bool_)
        there[groups.astype(np.int64) * width + values] = True
        return there.reshape(size, width).sum(axis=1)
    return np.bincount(np.unique(groups.astype(np.int64) * width + values) // width, minlength=size)


# --- Relationships as rows -------------------------------------------------------------------------------

_FAR_OF = {"agent": "grant", "server": "", "system": "connection"}
R = TypeVar("R")


def _both(stand: Standpoint) -> list[tuple[str, str, Links]]:
    """Kind, what is at the far end (the server is near), and what is in force."""
    return [("grant", "agent", stand.view.all_calls), ("connection", "system", stand.view.all_connections)]


def _seen(stand: Standpoint, links: Links, far: str) -> Links:
    hidden, servers = stand.hides(far), stand.hides("server")
    if hidden is None or servers is None:
        return links
    return links.where(~hidden[links.far] & ~servers[links.near])


def _rows(
    stand: Standpoint, found: Mapping[str, Links], hidden: int, make: Callable[[str, str, UUID, int, int, int], R]
) -> Rows[R]:
    """Grants first, each kind by id. `make` gets kind, far kind, id, server, far end and number."""
    keys: list[Ints] = []
    ids: list[Raw] = []
    columns: list[Links] = []
    for place, (kind, _far, _links) in enumerate(_both(stand)):
        if kind in found:
            own = stand.view.snapshot.edges(kind).column("ids", found[kind].number)
            order = np.argsort(own, kind="stable")
            keys.append(np.full(len(order), place))
            ids.append(own[order])
            columns.append(found[kind].taken(order))
    if not keys:
        return Rows(np.empty(0, dtype=np.int64), raw([]), lambda place: make("", "", UUID(int=0), 0, 0, 0), hidden)
    key, id, links = np.concatenate(keys), np.concatenate(ids), joined(columns)
    kinds = [(kind, far) for kind, far, _links in _both(stand)]

    def row(place: int) -> R:
        near, far, number = (int(column[place]) for column in (links.near, links.far, links.number))
        kind, of = kinds[int(key[place])]
        return make(kind, of, uuid(id[place]), near, far, number)

    return Rows(key, id, row, hidden)
