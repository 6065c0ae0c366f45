"""What changed in the trust graph since somebody last looked, for those who keep a copy.

A reader's cursor holds a snapshot of the database: which transactions it has seen. What is new is what the present
snapshot shows and the reader's did not, so nothing is lost or told twice, in whatever order writers commit. A long
answer is walked in pages between the same two snapshots.

What the reader may not see is passed over. A thing that the reader could see before and now may not is `gone`; one
that has come into sight `appeared`, and its relationships are not told with it.
"""

import binascii
import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import Q

from registry.accounts.models import Membership
from registry.catalog.models import Agent, Issuer, SecretSource, Server, System, Tool
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Malformed, StartAgain
from registry.core.permissions import require
from registry.trust.models import Connection, Grant, may_see_all, seen_by
from registry.trust.queries.relationships import relationship_rows

Operation = Literal["created", "changed", "appeared", "gone"]
KINDS = ("agent", "server", "system", "issuer", "tool", "secret_source", "grant", "connection")
PEOPLE = ("owner_id", "created_by_id", "deputy_id", "operator_id")
"""Columns whose people see a confidential thing. An image without one of them bars nobody who is not in it."""
MOST_CURSOR = 8_000
_SNAPSHOT = re.compile(r"\d{1,20}:\d{1,20}:[\d,]*")


@dataclass(frozen=True)
class Happened:
    """A thing that is otherwise than the reader knows. `state` is how it stands now; None when it is gone.

    Of several changes of one thing only the last is told.
    """

    kind: str
    id: UUID
    operation: Operation
    at: datetime
    state: dict[str, Any] | None


@dataclass(frozen=True)
class Told:
    """`more`: ask again at once. `cursor` is where to go on in either case."""

    changes: list[Happened]
    cursor: str
    more: bool


@dataclass(frozen=True)
class Position:
    """Between which snapshots the reader walks (`until` empty: not begun), how far, and with which rights.

    `last` is a change that the reader's snapshot shows: it proves that this is still the same database.
    """

    since: str
    until: str
    xid: int
    number: int
    last: int
    rights: str

    def __str__(self) -> str:
        values = [self.since, self.until, self.xid, self.number, self.last, self.rights]
        return urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> "Position":
        """Raises `Malformed` for what is no cursor of ours."""
        try:
            if len(text) > MOST_CURSOR:
                raise ValueError
            values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            since, until, xid, number, last, rights = values
            shaped = all(isinstance(each, str) for each in (since, until, rights)) and _SNAPSHOT.fullmatch(since)
            if not shaped or (until and not _SNAPSHOT.fullmatch(until)):
                raise ValueError
            if not all(type(each) is int and 0 <= each < 2**63 for each in (xid, number, last)):
                raise ValueError
            return cls(since, until, xid, number, last, rights)
        except (ValueError, TypeError, binascii.Error):
            raise Malformed("This cursor is none of ours; start again without one.") from None


def beginning(actor: Actor) -> str:
    """The cursor of a reader who knows everything up to this moment."""
    require(actor, "trust.view")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_snapshot()::text, coalesce(max(number), 0) FROM catalog_change")
        snapshot, last = cursor.fetchone()
    return str(Position(snapshot, "", 0, 0, last, _rights(actor)))


def changes_since(actor: Actor, cursor: str, *, limit: int) -> Told:
    """Up to `limit` changes after `cursor`.

    Raises `Malformed` for a cursor that is none, `StartAgain` when what the reader may see, or the database, is not
    what it was: then nothing but a fresh copy is right.
    """
    require(actor, "trust.view")
    at = Position.read(cursor)
    if at.rights != _rights(actor):
        raise StartAgain("What you may see has changed; take a fresh copy and a fresh cursor.")
    at, rows = _page(at, limit)
    more, rows = len(rows) > limit, rows[:limit]
    if more:
        following = replace(at, xid=rows[-1].xid, number=rows[-1].number)
    else:
        following = Position(at.until, "", 0, 0, at.last, at.rights)
    return Told(_told(actor, rows), str(following), more)


# --- Reading on ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    number: int
    xid: int
    at: datetime
    kind: str
    id: UUID
    created: bool
    before: Mapping[str, Any] | None


def _page(at: Position, limit: int) -> tuple[Position, list[_Row]]:
    """The changes after a position, one more than `limit`. A walk that has not begun ends with what is there now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_current_snapshot()::text, coalesce(max(number), 0), coalesce(bool_or(number = %s), false),
                   %s::pg_snapshot IS NOT NULL
                       AND pg_snapshot_xmax(%s::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot())
            FROM catalog_change WHERE number = %s OR number = (SELECT max(number) FROM catalog_change)
            """,
            [at.last, at.since, at.until or at.since, at.last],
        )
        present, last, known, earlier = cursor.fetchone()
        if not earlier or (at.last and not known):
            raise StartAgain("The database was restored from an earlier state; take a fresh copy and a fresh cursor.")
        if not at.until:
            at = replace(at, until=present, last=last)
        cursor.execute(
            """
            SELECT number, xid::text::bigint, at, kind, thing_id, operation = 'created', before::text
            FROM catalog_change
            WHERE xid >= greatest(pg_snapshot_xmin(%(since)s::pg_snapshot), %(xid)s::text::xid8)
              AND xid < pg_snapshot_xmax(%(until)s::pg_snapshot)
              AND NOT pg_visible_in_snapshot(xid, %(since)s::pg_snapshot)
              AND pg_visible_in_snapshot(xid, %(until)s::pg_snapshot)
              AND (xid > %(xid)s::text::xid8 OR number > %(number)s)
              AND kind = ANY(%(kinds)s)
            ORDER BY xid, number LIMIT %(limit)s
            """,
            {
                "since": at.since,
                "until": at.until,
                "xid": at.xid,
                "number": at.number,
                "kinds": list(KINDS),
                "limit": limit + 1,
            },
        )
        return at, [_row(*row) for row in cursor.fetchall()]


def _row(number: int, xid: int, at: datetime, kind: str, id: UUID, created: bool, before: str | None) -> _Row:
    return _Row(number, xid, at, kind, id, created, orjson.loads(before) if before else None)


def _rights(actor: Actor) -> str:
    """Who asks, and what makes confidential things visible to them beside the things' own columns."""
    parts = [str(actor.user_id), str(may_see_all(actor)), *sorted(map(str, _teams(actor)))]
    return hashlib.blake2b("|".join(parts).encode(), digest_size=9).hexdigest()


def _teams(actor: Actor) -> set[UUID]:
    if actor.user_id is None:
        return set()
    return set(Membership.objects.filter(user_id=actor.user_id).values_list("team_id", flat=True))


def _told(actor: Actor, rows: list[_Row]) -> list[Happened]:
    """Each thing once, at the place of its last change, if the reader may see it or could."""
    first: dict[tuple[str, UUID], _Row] = {}
    last: dict[tuple[str, UUID], _Row] = {}
    for row in rows:
        first.setdefault((row.kind, row.id), row)
        last.pop((row.kind, row.id), None)
        last[row.kind, row.id] = row
    states = {kind: _states(actor, kind, {id for of, id in last if of == kind}) for kind in KINDS}
    sees_all, teams = may_see_all(actor), _teams(actor)
    told = []
    for (kind, id), row in last.items():
        known = first[kind, id]
        state = states[kind].get(id)
        seen_before = not known.created and (sees_all or _was_visible(kind, known.before or {}, actor.user_id, teams))
        if state is not None:
            operation: Operation = "created" if known.created else "changed" if seen_before else "appeared"
        elif seen_before and kind in ("agent", "server", "system"):
            operation = "gone"
        else:
            continue
        told.append(Happened(kind, id, operation, row.at, state))
    return told


def _was_visible(kind: str, before: Mapping[str, Any], user_id: UUID | None, teams: set[UUID]) -> bool:
    """Whether the reader saw it, by its columns before the change. Parts and relationships follow their ends."""
    if kind not in ("agent", "server", "system") or not before.get("confidential"):
        return True
    people = {before.get(column) for column in PEOPLE} | set(before.get("admitted") or ())
    return str(user_id) in people or before.get("team_id") in {str(team) for team in teams}


# --- How things stand now --------------------------------------------------------------------------------

_COLUMNS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "agent": (
        Agent,
        ("id", "name", "kind", "spiffe_id", "client_id", "issuer_id", "environment", "standing", "owner_id", "team_id",
         "server_id", "confidential", "certified_until"),
    ),
    "server": (
        Server,
        ("id", "name", "title", "environment", "lifecycle", "tier", "owner_id", "deputy_id", "team_id", "confidential",
         "certified_until"),
    ),
    "system": (
        System,
        ("id", "name", "kind", "environment", "data_class", "standing", "owner_id", "team_id", "confidential"),
    ),
    "issuer": (Issuer, ("id", "name", "kind", "uri", "team_id", "standing")),
    "tool": (Tool, ("id", "server_id", "name", "claimed_class", "confirmed_class", "retired_at")),
    "secret_source": (SecretSource, ("id", "server_id", "kind", "reference", "retired_at")),
}  # fmt: skip


def _states(actor: Actor, kind: str, ids: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    """The things of one kind that the reader may see, as they stand now."""
    wanted = list(ids)
    if not wanted:
        return {}
    if kind in ("grant", "connection"):
        model: Any = Grant if kind == "grant" else Connection
        return {row["id"]: row for row in _relationships(actor, model, wanted)}
    model, columns = _COLUMNS[kind]
    rows = seen_by(actor, model) if kind in ("agent", "server", "system") else model.objects.all()
    if kind in ("tool", "secret_source"):
        rows = rows.filter(Q(server__confidential=False) | Q(server__in=seen_by(actor, Server).order_by().values("pk")))
    found = {row["id"]: row for row in rows.filter(pk__in=wanted).order_by().values(*columns)}
    if kind == "agent":
        servers = {row["server_id"] for row in found.values() if row["server_id"]}
        seen = set(seen_by(actor, Server).filter(pk__in=servers).values_list("pk", flat=True)) if servers else set()
        for row in found.values():
            row["server_id"] = row["server_id"] if row["server_id"] in seen else None
    return found


def _relationships(actor: Actor, model: Any, ids: list[UUID]) -> Iterable[dict[str, Any]]:
    return relationship_rows(model.objects.visible_to(actor).filter(pk__in=ids).order_by(), now=clock.now())
