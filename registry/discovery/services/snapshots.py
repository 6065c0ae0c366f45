"""Keeping what a look at a server brought back, and telling noise from drift.

A difference is believed when a second look shows it again. Two looks in a row that differ from each other, while the
server names the same release, show places that vary by themselves: the watch is unstable there, and those places never
count as drift. What is believed becomes `Watch.settled`; the catalog's tools follow it, and drift is measured between
it and what people approved.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

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
from registry.discovery.pointers import ORDER, leaves, stable_leaves, tree, unstable_path
from registry.discovery.seen import Seen
from registry.discovery.services.drift import measure_drift
from registry.discovery.signs import find_signs, words_of

OBSERVER = Actor.system("observation")
LOOK_AGAIN = timedelta(minutes=2)
"""After this a probe looks once more: at a difference, and at what was listed for the first time."""
STEADY = 8
"""After so many equal listings in a row, what varied no longer does."""
AHEAD = timedelta(minutes=5)
"""How far a pusher's clock may be ahead of ours."""
MOST_UNSTABLE = 200
MOST_NAMES = 20_000

Outcome = Snapshot.Outcome
Stability = Watch.Stability


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

    Looks are compared with those of the same endpoint, identity and client capabilities only. A listing that cannot be
    kept (too large, no valid JSON) becomes a snapshot that says so. `run` names looks that one program was started for
    one right after the other. Raises `Conflict` for a retired server, `Invalid`
    for an endpoint of another server or a time to come, `SecretRefused` for an identity that holds one.
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
    watch = _watch(server, endpoint, identity)
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


def _watch(server: Server, endpoint: Endpoint | None, identity: str) -> Watch:
    watch, _made = Watch.objects.get_or_create(server=server, endpoint=endpoint, identity=identity)
    locked = Watch.objects.select_for_update(of=("self",)).select_related(
        "last", "last_listed__definitions", "settled", "approved"
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
    if before is None or watch.settled is None:
        watch.settled = snapshot.definitions
        _look_again(watch, snapshot)
    else:
        _believe(watch, before, snapshot)
    watch.save()
    observe(watch.server)
    measure_drift(actor=OBSERVER, watch=watch, snapshot=snapshot)


def _believe(watch: Watch, before: Snapshot, snapshot: Snapshot) -> None:
    """Compare with the last listing and with what is believed; settle what was seen twice."""
    now, last, settled = snapshot.definitions, before.definitions, watch.settled
    assert now is not None and last is not None and settled is not None
    watch.agreeing = watch.agreeing + 1 if now.digest == last.digest else 0
    if watch.agreeing >= STEADY:
        # What varied has come to rest, as after a release that reached one machine after the other.
        watch.unstable_paths = [path for path in watch.unstable_paths if path.endswith(ORDER)]
    pending = bool(stable_leaves(settled, last, watch.unstable_paths))
    if now.digest != last.digest and _same_release(before, snapshot) and (pending or _together(before, snapshot)):
        # A first difference is only noted. One that the next look takes back, or shows otherwise, varies by itself.
        _remember(watch, (unstable_path(leaf) for leaf in leaves(tree(last), tree(now))))
    if stable_leaves(settled, now, watch.unstable_paths) or _hidden_change(settled, now):
        if stable_leaves(last, now, watch.unstable_paths) or _hidden_change(last, now):
            _look_again(watch, snapshot)
        else:
            watch.settled = now
    if watch.unstable_paths:
        watch.stability = Stability.UNSTABLE
    elif watch.agreeing:
        watch.stability = Stability.STABLE


def _together(before: Snapshot, after: Snapshot) -> bool:
    """Whether one run of the operator's command took both: nobody releases in between."""
    return after.run is not None and before.run == after.run


def _hidden_change(before: Definitions, after: Definitions) -> bool:
    """Whether digests differ where nothing that is kept does: a secret changed, which is blanked out on both sides."""
    return before.digest != after.digest and not list(leaves(tree(before), tree(after)))


def _same_release(before: Snapshot, after: Snapshot) -> bool:
    """Whether it says to be the same release. Its word proves no sameness, but a new number explains a change."""
    return before.server_info.get("version") == after.server_info.get("version")  # type: ignore[no-any-return]


def _remember(watch: Watch, paths: Iterable[str]) -> None:
    known = set(watch.unstable_paths)
    watch.unstable_paths = sorted(known | set(paths))[:MOST_UNSTABLE]


def _look_again(watch: Watch, snapshot: Snapshot) -> None:
    """Ask for a second look soon. Whoever pushes looks by themselves; the command looks twice."""
    if snapshot.channel == Snapshot.Channel.PROBE:
        soon = clock.now() + LOOK_AGAIN
        watch.due_at = min(watch.due_at or soon, soon)


def observe(server: Server) -> bool:
    """Bring the catalog's tools of a server in line with what is believed of it.

    With more than one watch, the oldest that lists a tool says how it is defined; that another one lists it otherwise
    counts as something the server says besides, so that it ends a certificate as well.
    """
    watches = list(
        Watch.objects.filter(server=server, settled__isnull=False, endpoint__retired_at=None)
        .select_related("settled")
        .order_by("id")
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
