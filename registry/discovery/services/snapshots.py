"""Keeping what a look at a server brought back, and telling noise from drift.

Each source has watches of its own. `belief` says what of a look is believed: that becomes `Watch.settled`; the
catalog's tools follow it, and drift is measured between it and what people approved.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Endpoint, Server, Tool
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import redact, refuse_secrets
from registry.discovery.definitions import Normal, Unusable, normalise, observed, said_digest
from registry.discovery.formats.reading import cleaned
from registry.discovery.models import Definitions, Snapshot, Watch
from registry.discovery.seen import Seen
from registry.discovery.services.baseline import baseline
from registry.discovery.services.belief import believe
from registry.discovery.services.drift import measure_drift, overrule_weaker
from registry.discovery.signs import find_signs, words_of

OBSERVER = Actor.system("observation")
LOOK_AGAIN = timedelta(minutes=2)
"""After this a probe looks once more: at a difference, and at what was listed for the first time."""
AHEAD = timedelta(minutes=5)
"""How far a pusher's clock may be ahead of ours."""
MOST_NAMES = 20_000

Outcome = Snapshot.Outcome


@transaction.atomic
def record_snapshot(
    *,
    actor: Actor,
    server: Server,
    channel: str,
    seen: Seen,
    taken_at: datetime,
    endpoint: Endpoint | None = None,
    identity: str = "anonymous",
    run: UUID | None = None,
) -> Snapshot:
    """Keep one look and draw its consequences: definitions, stability, the catalog's tools, drift.

    Looks are compared with those of the same source, endpoint, identity and client capabilities only. A listing that
    cannot be kept (too large, no valid JSON) becomes a snapshot that says so. `run` names looks that one program was
    started for one right after the other. Raises `Conflict` for a retired server, `Invalid` for an endpoint of another
    server or a time to come, `SecretRefused` for an identity that holds one.
    """
    require(actor, "discovery.record_snapshot", server)
    server = Server.objects.select_for_update(of=("self",)).get(pk=server.pk)
    if server.lifecycle == Lifecycle.RETIRED:
        raise Conflict(_("This server is retired; it is no longer looked at."))
    if endpoint is not None and (endpoint.server_id != server.pk or endpoint.retired_at is not None):
        raise Invalid(fields={"endpoint": [_("This is no endpoint of this server.")]})
    if taken_at > clock.now() + AHEAD:
        raise Invalid(fields={"taken_at": [_("This lies in the future.")]})
    refuse_secrets({"identity": identity})
    identity = _under(identity, seen.capabilities)
    pushed = channel != Snapshot.Channel.PROBE
    watch = _watch(server, endpoint, identity, pushed=pushed, pusher=actor.user if pushed else None)
    normal, seen = _kept(seen)
    snapshot = Snapshot.objects.create(
        server=server,
        endpoint=endpoint,
        channel=channel,
        run=run,
        taken_at=taken_at,
        by=actor.user,
        identity=identity,
        capabilities=cleaned(dict(seen.capabilities)),
        outcome=seen.outcome,
        detail=redact(seen.detail)[:500],
        era=seen.era[:12],
        transport=seen.transport[:16],
        server_info=cleaned(dict(seen.server_info)),
        definitions=_stored(normal) if normal else None,
        posture=cleaned([dict(each) for each in seen.posture]),
        signs=_signs(server, normal) if normal else [],
        pages=min(seen.pages, 32767),
        size=min(seen.size, 2**31 - 1),
        milliseconds=min(seen.milliseconds, 2**31 - 1),
    )
    record(
        actor=actor,
        act="snapshot.recorded",
        subject=server,
        data={
            "snapshot": str(snapshot.pk),
            "channel": channel,
            "identity": identity,
            "outcome": snapshot.outcome,
            "definitions": snapshot.definitions_id,
            "endpoint": endpoint.canonical_uri if endpoint else None,
        },
    )
    late = watch.last is not None and watch.last.taken_at > taken_at
    if not late:
        _note(watch, snapshot)
    return snapshot


def _under(identity: str, capabilities: Mapping[str, Any]) -> str:
    """A list may depend on what the client offers, so a client that offers something is another identity."""
    identity = identity.strip() or "anonymous"
    offered = "+".join(sorted(map(str, capabilities)))
    return (f"{identity} +{offered}" if offered else identity)[:120]


def _watch(server: Server, endpoint: Endpoint | None, identity: str, *, pushed: bool, pusher: User | None) -> Watch:
    watch, _made = Watch.objects.get_or_create(
        server=server, endpoint=endpoint, identity=identity, pushed=pushed, pusher=pusher
    )
    locked = Watch.objects.select_for_update(of=("self",)).select_related(
        "server", "last", "last_listed__definitions", "settled", "approved"
    )
    found: Watch = locked.get(pk=watch.pk)
    return found


def _kept(seen: Seen) -> tuple[Normal | None, Seen]:
    if seen.outcome != Outcome.LISTED or seen.listing is None:
        return None, seen
    try:
        return normalise(seen.listing), seen
    except Unusable as error:
        outcome = Outcome.TOO_LARGE if error.too_large else Outcome.FAILED
        return None, Seen(**{**vars(seen), "outcome": outcome, "detail": str(error), "listing": None})


def _stored(normal: Normal) -> Definitions:
    """By content: what is said again is not stored again."""
    Definitions.objects.bulk_create([Definitions(**vars(normal))], ignore_conflicts=True)
    found: Definitions = Definitions.objects.get(pk=normal.digest)
    return found


def _signs(server: Server, normal: Normal) -> list[dict[str, str]]:
    elsewhere = Tool.objects.filter(retired_at=None).exclude(server=server).order_by()
    said = dict(elsewhere.filter(name__in=words_of(normal)).values_list("name", "server__name"))
    # Names that look alike are not found by an index; the newest names are enough where there are very many.
    names = dict(elsewhere.values_list("name", "server__name").order_by("-id")[:MOST_NAMES])
    return [sign.as_json() for sign in find_signs(normal, names | said)]


# --- What follows ----------------------------------------------------------------------------------------


def _note(watch: Watch, snapshot: Snapshot) -> None:
    """Move the watch on; the caller holds its row."""
    before = watch.last_listed
    watch.last = snapshot
    if snapshot.definitions is None:
        watch.failures += 1
        watch.save()
        return
    watch.failures, watch.last_listed = 0, snapshot
    if before is None and watch.approved is None:
        watch.approved = baseline(watch, snapshot.definitions)
    if believe(watch, before, snapshot):
        _look_again(watch, snapshot)
    watch.save()
    observe(watch.server)
    measure_drift(actor=OBSERVER, watch=watch, snapshot=snapshot)
    if overrule_weaker(actor=OBSERVER, watch=watch, snapshot=snapshot):
        observe(watch.server)


def _look_again(watch: Watch, snapshot: Snapshot) -> None:
    """Ask for a second look soon. Whoever pushes looks by themselves; the command looks twice."""
    if snapshot.channel == Snapshot.Channel.PROBE:
        soon = clock.now() + LOOK_AGAIN
        watch.due_at = min(watch.due_at or soon, soon)


def observe(server: Server) -> bool:
    """Bring the catalog's tools of a server in line with what is believed of it.

    With more than one watch, our own and then the oldest that lists a tool says how it is defined; that another one
    lists it otherwise counts as something the server says besides, so that it ends a certificate as well.
    """
    watches = list(
        Watch.objects.filter(server=server, settled__isnull=False, endpoint__retired_at=None)
        .select_related("settled")
        .order_by("pushed", "id")
    )
    if not watches:
        return False
    tools: dict[str, Any] = {}
    otherwise: set[str] = set()
    said: dict[str, Definitions] = {}
    for watch in watches:
        settled = watch.settled
        assert settled is not None
        for tool in settled.tools:
            name, digest = tool["name"], settled.tool_digests[tool["name"]]
            known = tools.setdefault(name, observed(tool, digest))
            if known["digest"] != digest:
                otherwise.add(digest)
        if digest := said_digest(settled.instructions, settled.prompts, settled.resource_templates):
            said.setdefault(digest, settled)
    digests = sorted(said) + sorted(otherwise)
    everything = digests[0] if len(digests) == 1 else said_digest("", [], [], *digests)
    return catalog.observe_tools(actor=OBSERVER, server=server, tools=list(tools.values()), said_digest=everything)
