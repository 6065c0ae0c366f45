"""Keeping what is published true to the catalog, in bulk: a fixed number of statements for a thousand servers."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Lower
from django.utils.translation import gettext as _

from registry.audit.models import Event
from registry.audit.services import build_event, record_all
from registry.catalog.models import Endpoint, Purpose, Server, Tool
from registry.catalog.queries import SERVER_JSON_SCHEMA
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, parts_of, table_of
from registry.core.permissions import require
from registry.discovery import publications as said
from registry.discovery.models import Publication

PART = 1000
_PUBLISHER_LOCK = 7_301_005  # one publisher at a time, so that two never number the same release
ACTIVE, DELETED = Publication.Status.ACTIVE, Publication.Status.DELETED


def publish_servers(*, actor: Actor, server_ids: Iterable[UUID]) -> Counter[str]:
    """Publish what these servers are now, or withdraw what they are no more; a transaction per thousand.

    Returns how many were `published`, `updated` (other facts about the same version) and `withdrawn`.
    """
    require(actor, "discovery.publish")
    counts: Counter[str] = Counter()
    for part in parts_of(server_ids, PART):
        counts += _publish_part(actor, part)
    return counts


def sweep_publications(*, actor: Actor, everything: bool = False) -> Counter[str]:
    """Find what is not true any more, because time passed or a message was lost, and mend it.

    What differs shows in a comparison of columns; `everything` compares every published word instead.
    """
    require(actor, "discovery.publish")
    return publish_servers(actor=actor, server_ids=_all_concerned() if everything else _stale(clock.now()))


def _stale(now: datetime) -> list[UUID]:
    mine = Publication.objects.filter(server=OuterRef("pk"))
    # Certificates of one campaign end at one instant: found by that, thousands would be compared for each server. So
    # the planner is not offered the index on it, whatever its statistics say.
    until = Coalesce("certified_until", "certified_until")
    true = mine.annotate(tier=KT("facts__tier"), until=until).filter(
        status=ACTIVE,
        server_version=OuterRef("version"),
        until=OuterRef("certified_until"),
        tier=OuterRef("tier"),
    )
    servers: QuerySet[Server] = Server.objects.order_by()
    missing = servers.filter(said.publishable(now)).exclude(Exists(true))
    ended = servers.filter(Exists(mine.filter(status=ACTIVE))).exclude(said.publishable(now))
    exposed = servers.filter(Exists(mine.filter(withheld=False)), confidential=True)
    return list({pk for found in (missing, ended, exposed) for pk in found.values_list("pk", flat=True)})


def _all_concerned() -> list[UUID]:
    published = Exists(Publication.objects.filter(server=OuterRef("pk")))
    servers = Server.objects.order_by()
    found = [servers.filter(said.publishable(clock.now())), servers.filter(published)]
    return list({pk for queryset in found for pk in queryset.values_list("pk", flat=True)})


# --- One part --------------------------------------------------------------------------------------------


@dataclass
class _Changes:
    """What has to be written for one part."""

    now: datetime
    keys: dict[str, str] = field(default_factory=dict)
    """For servers that are published for the first time."""
    created: list[Publication] = field(default_factory=list)
    offered: list[Publication] = field(default_factory=list)
    """Rows that are there, and are offered again or say other facts from now on."""
    touched: list[Publication] = field(default_factory=list)
    """Rows that say the same of a newer state of the server; nobody need hear of it."""
    ended: dict[str, list[UUID]] = field(default_factory=lambda: defaultdict(list))
    withheld: list[UUID] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@transaction.atomic
def _publish_part(actor: Actor, ids: list[UUID]) -> Counter[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PUBLISHER_LOCK])
    now = clock.now()
    servers = Server.objects.filter(pk__in=among(ids)).select_related("team").order_by("pk")
    known: dict[UUID, list[Publication]] = defaultdict(list)
    rows = Publication.objects.filter(server__in=among(ids)).defer("body").order_by("published_at", "pk")
    for publication in rows:
        known[publication.server_id].append(publication)
    wanted = [server.pk for server in servers if not said.obstacle(server, now)]
    parts = _parts(wanted)
    changes = _Changes(now, keys=_new_keys([each for each in servers if each.pk in set(wanted) and not known[each.pk]]))
    offered = set(wanted)
    for server in servers:
        if server.pk in offered:
            _offer(actor, changes, server, known[server.pk], parts)
        else:
            _withdraw(actor, changes, server, known[server.pk])
    _write(changes)
    return changes.counts


@dataclass(frozen=True)
class _Parts:
    endpoints: Mapping[UUID, list[Endpoint]]
    tools: Mapping[UUID, list[Tool]]
    ends_on: Mapping[UUID, date]


def _new_keys(servers: Sequence[Server]) -> dict[str, str]:
    """A key once given is never given again, not even when its server is withdrawn: people may still have it."""
    names = [server.name for server in servers]
    wanted = {key.lower() for name in names for key in said.client_keys(name)}
    taken = Publication.objects.annotate(key=Lower("client_key")).filter(key__in=wanted)
    return said.assign_client_keys(names, set(taken.values_list("client_key", flat=True)))


def _parts(ids: list[UUID]) -> _Parts:
    endpoints: dict[UUID, list[Endpoint]] = defaultdict(list)
    tools: dict[UUID, list[Tool]] = defaultdict(list)
    if not ids:
        return _Parts(endpoints, tools, {})
    for endpoint in Endpoint.objects.filter(server__in=among(ids), retired_at=None):
        endpoints[endpoint.server_id].append(endpoint)
    listed = Tool.objects.filter(server__in=among(ids), retired_at=None, approved_digest=F("digest")).exclude(digest="")
    for tool in listed.only("server", "name", "digest", "approved_digest", "confirmed_class", "claimed_class"):
        tools[tool.server_id].append(tool)
    purposes = Purpose.objects.filter(server__in=among(ids)).order_by("number")
    return _Parts(endpoints, tools, dict(purposes.values_list("server_id", "ends_on")))


def _offer(actor: Actor, changes: _Changes, server: Server, known: list[Publication], parts: _Parts) -> None:
    body = said.body_of(server, parts.endpoints[server.pk])
    facts = said.facts_of(server, parts.tools[server.pk], parts.ends_on.get(server.pk))
    digest = said.content_digest(body)
    row = next((each for each in known if (each.name, each.digest) == (server.name, digest)), None)
    others = [each for each in known if each is not row]
    told = True
    if row is None:
        body["version"] = said.free_version(body["version"], {each.release for each in known})
        key = known[-1].client_key if known else changes.keys[server.name]
        row = Publication(
            server=server, name=server.name, client_key=key, release=body["version"], body=body, digest=digest
        )
        row.published_at = row.status_changed_at = row.updated_at = changes.now
        changes.created.append(row)
    elif row.status != ACTIVE or row.facts != facts or not row.is_latest or row.withheld:
        told = row.status != ACTIVE
        # What was blanked while its server was confidential says what it said before.
        row.body = body | {"version": row.release}
        changes.offered.append(row)
        changes.counts["updated"] += not told
    else:
        told = False
        if (row.server_version, row.certified_until) != (server.version, server.certified_until):
            changes.touched.append(row)
    row.facts, row.certified_until, row.server_version = facts, server.certified_until, server.version
    for each in others:
        if each.status != DELETED:
            changes.ended[_("Superseded by version %(version)s.") % {"version": row.release}].append(each.pk)
    if told:
        changes.counts["published"] += 1
        data = {"version": row.release, "digest": digest, "certified_until": server.certified_until}
        changes.events.append(build_event(actor=actor, act="server.published", subject=server, data=data))


def _withdraw(actor: Actor, changes: _Changes, server: Server, known: list[Publication]) -> None:
    why = said.farewell(server, changes.now)
    ending = [each for each in known if each.status != DELETED]
    changes.ended[why] += [each.pk for each in ending]
    if server.confidential:
        changes.withheld += [each.pk for each in known if not each.withheld]
    if ending:
        changes.counts["withdrawn"] += 1
        data = {"versions": [each.release for each in ending], "reason": said.obstacle(server, changes.now)}
        changes.events.append(build_event(actor=actor, act="server.unpublished", subject=server, data=data))


# --- Writing ---------------------------------------------------------------------------------------------

_OFFER = """
    UPDATE {table} AS row
    SET status = 'active', status_message = '', is_latest = true, withheld = false, facts = given.facts,
        body = given.body, certified_until = given.certified_until, server_version = given.server_version,
        updated_at = %s, status_changed_at = CASE WHEN row.status = 'active' THEN row.status_changed_at ELSE %s END
    FROM jsonb_to_recordset(%s::jsonb)
         AS given(id uuid, facts jsonb, body jsonb, certified_until timestamptz, server_version integer)
    WHERE row.id = given.id
"""
_TOUCH = """
    UPDATE {table} AS row SET certified_until = given.certified_until, server_version = given.server_version
    FROM jsonb_to_recordset(%s::jsonb) AS given(id uuid, certified_until timestamptz, server_version integer)
    WHERE row.id = given.id
"""
_WITHHOLD = """
    UPDATE {table} SET withheld = true, facts = '{{}}', updated_at = %s, body = jsonb_build_object(
        '$schema', %s::text, 'name', name, 'version', release, 'description', 'Withdrawn.')
    WHERE id = ANY(%s)
"""


def _write(changes: _Changes) -> None:
    """Endings first: of each name one version is active and one the latest, and the database holds us to it."""
    now, table = changes.now, table_of(Publication)
    for message, ids in changes.ended.items():
        Publication.objects.filter(pk__in=among(ids)).update(
            status=DELETED, status_message=message[:500], status_changed_at=now, updated_at=now
        )
    newer = {row.server_id for row in (*changes.created, *changes.offered)}
    Publication.objects.filter(server__in=among(newer), is_latest=True).update(is_latest=False)
    for row in changes.created:
        row.is_latest = True
    Publication.objects.bulk_create(changes.created, batch_size=PART)
    with connection.cursor() as cursor:
        if changes.offered:
            given = _rows(changes.offered, "facts", "body", "certified_until", "server_version")
            cursor.execute(_OFFER.format(table=table), [now, now, given])
        if changes.touched:
            cursor.execute(_TOUCH.format(table=table), [_rows(changes.touched, "certified_until", "server_version")])
        if changes.withheld:
            cursor.execute(_WITHHOLD.format(table=table), [now, SERVER_JSON_SCHEMA, changes.withheld])
    record_all(changes.events)


def _rows(publications: Iterable[Publication], *names: str) -> str:
    """Rows as one JSON parameter, whatever their number."""

    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else value

    return json.dumps(
        [{"id": str(row.pk), **{name: plain(getattr(row, name)) for name in names}} for row in publications]
    )
