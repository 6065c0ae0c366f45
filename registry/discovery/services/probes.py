"""Looking at active servers again and again, and at any server when somebody asks.

A watch says when its endpoint is due. A probe is one run over a watch: it is claimed by writing the time into the
watch, so that two workers never look at the same thing and only a few at one host, and a claim that falls silent is
taken over. The network is used outside of every transaction.
"""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Endpoint, Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, NotFound, RegistryError
from registry.core.events import publish
from registry.core.limits import Limit, TooOften, spend
from registry.core.outbound import leads_inside
from registry.core.permissions import require
from registry.core.secrets import redact, refuse_secrets
from registry.discovery.events import ProbeQueued
from registry.discovery.models import Probe, Snapshot, Watch
from registry.discovery.probing import probe
from registry.discovery.probing.look import LASTING
from registry.discovery.probing.steps import Say, ignore
from registry.discovery.queries import remote_endpoints
from registry.discovery.seen import Seen
from registry.discovery.services.snapshots import record_snapshot
from registry.discovery.states import PROBE, ProbeState

log = structlog.get_logger(__name__)

PROBER = Actor.system("probe")
IDENTITY = "anonymous"
PER_HOST = 2
STALLED = timedelta(minutes=3)
"""Longer than a look may last; a claim that says nothing for this long is nobody's any more."""
REMINDED = timedelta(seconds=30)
"""How long a queued probe waits for a worker before it is sent again."""
GIVEN_UP = timedelta(hours=1)
FIRST_RETRY = timedelta(minutes=15)
BATCH = 200
UNFINISHED = (ProbeState.QUEUED, ProbeState.RUNNING)
DOWN = (Snapshot.Outcome.UNREACHABLE, Snapshot.Outcome.TIMED_OUT, Snapshot.Outcome.FAILED)
"""Outcomes that may pass by themselves soon, unlike "protected" or "not MCP"."""
REVIEWED = (Lifecycle.ACTIVE, Lifecycle.SUSPENDED)
"""A draft's address is anybody's word: it is asked at most so often, and says less."""
UNREVIEWED_LOOKS = Limit("unreviewed-looks", 30, 3600)


class Look(Protocol):
    def __call__(self, url: str, *, say: Say) -> Seen: ...


class _Overtaken(Exception):
    """The claim went to another worker; what this one sees counts for nothing."""


# --- On demand -------------------------------------------------------------------------------------------


@transaction.atomic
def request_probe(*, actor: Actor, server: Server, endpoint: Endpoint | None = None) -> Probe:
    """Have a remote endpoint looked at now; by default the server's first. One that is under way is handed out.

    Raises `Conflict` when there is nothing that could be asked, `NotFound` for an endpoint of another server.
    """
    require(actor, "discovery.probe_server", server)
    server = Server.objects.select_for_update(of=("self",)).get(pk=server.pk)
    if server.lifecycle == Lifecycle.RETIRED:
        raise Conflict(_("This server is retired; it is no longer looked at."))
    remote = remote_endpoints().filter(server=server)
    chosen = remote.filter(pk=endpoint.pk).first() if endpoint else remote.first()
    if chosen is None:
        if endpoint is not None:
            raise NotFound
        raise Conflict(
            _("It has no remote endpoint. What runs from a package is started by its operator: manage.py probe_stdio.")
        )
    if server.lifecycle not in REVIEWED:
        _count_look(actor)
    watch, _made = Watch.objects.get_or_create(
        server=server, endpoint=chosen, identity=IDENTITY, pushed=False, defaults={"host": _host(chosen.url)}
    )
    watch = Watch.objects.select_for_update(of=("self",)).get(pk=watch.pk)
    under_way: Probe | None = watch.probes.filter(state__in=UNFINISHED).first()
    if under_way is not None:
        return under_way
    queued = _queue(watch, requested_by=actor.user_id)
    record(actor=actor, act="probe.requested", subject=server, data={"endpoint": chosen.canonical_uri})
    publish(ProbeQueued(probe_id=queued.pk))
    return queued


def _count_look(actor: Actor) -> None:
    """Raises `TooOften`: who asks for one address after the other maps a network."""
    state = spend(UNREVIEWED_LOOKS, str(actor.user_id))
    if state.refused:
        raise TooOften(state.ends_in)


def _queue(watch: Watch, requested_by: UUID | None = None) -> Probe:
    made: Probe = Probe.objects.create(
        server_id=watch.server_id, watch=watch, requested_by_id=requested_by, progressed_at=clock.now()
    )
    return made


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "")[:260]
    except ValueError:
        return ""


# --- By the clock ----------------------------------------------------------------------------------------


def sweep_probes() -> list[UUID]:
    """Keep watches in line with the catalog, queue what is due, and name every probe that waits for a worker."""
    give_up_probes()
    due: list[UUID] = []
    if settings.PROBE_BY_CLOCK:
        watch_endpoints()
        due = queue_due()
    return [*due, *_waiting()]


@transaction.atomic
def watch_endpoints() -> int:
    """Every remote endpoint of an active server is due at some time, and no other. Returns how many were new."""
    now = clock.now()
    active = remote_endpoints().filter(server__lifecycle=Lifecycle.ACTIVE)
    known = Watch.objects.filter(endpoint=OuterRef("pk"), server=OuterRef("server"), identity=IDENTITY, pushed=False)
    missing = active.filter(~Exists(known)).select_related("server")[:BATCH]
    made = Watch.objects.bulk_create(
        (
            Watch(server=each.server, endpoint=each, host=_host(each.url), due_at=now + _soon(each.server))
            for each in missing
        ),
        ignore_conflicts=True,
    )
    ours = Watch.objects.filter(identity=IDENTITY, pushed=False, endpoint__isnull=False)
    ours.filter(due_at__isnull=True, endpoint__in=active, paused_reason="").exclude(
        probes__state__in=UNFINISHED
    ).update(due_at=Now())
    ours.filter(due_at__isnull=False).exclude(endpoint__in=active).update(due_at=None)
    return len(made)


def _soon(server: Server) -> timedelta:
    """First looks are spread over an hour, so that an import of thousands does not ask them all at once."""
    return timedelta(seconds=random.uniform(0, 3600)) * (0.1 if server.tier == "critical" else 1)  # noqa: S311


@transaction.atomic
def queue_due() -> list[UUID]:
    """Make probes for watches whose time has come; at most a batch, the rest next time."""
    busy = Probe.objects.filter(watch=OuterRef("pk"), state__in=UNFINISHED)
    due = (
        Watch.objects.filter(~Exists(busy), due_at__lte=clock.now(), paused_reason="", endpoint__retired_at=None)
        .order_by("due_at")
        .select_for_update(of=("self",), skip_locked=True)
    )
    return [_queue(watch).pk for watch in due[:BATCH]]


@transaction.atomic
def _waiting() -> list[UUID]:
    """Probes no worker took, because a message got lost or its host was busy, and those whose worker died."""
    now = clock.now()
    left = Probe.objects.filter(
        Q(state=ProbeState.QUEUED, progressed_at__lt=now - REMINDED)
        | Q(state=ProbeState.RUNNING, progressed_at__lt=now - STALLED)
    )
    ids = list(left.select_for_update(skip_locked=True).values_list("pk", flat=True).order_by("pk")[:BATCH])
    Probe.objects.filter(pk__in=ids, state=ProbeState.QUEUED).update(progressed_at=now)
    return ids


@transaction.atomic
def give_up_probes() -> int:
    """A probe nobody finished within an hour would hold up its watch for ever."""
    stale = Probe.objects.filter(state__in=UNFINISHED, created_at__lt=clock.now() - GIVEN_UP)
    watches = Watch.objects.filter(Exists(stale.filter(watch=OuterRef("pk"))))
    held = [watch.pk for watch in watches.select_for_update(of=("self",), skip_locked=True)[:BATCH]]
    found = list(stale.filter(watch__in=held).select_for_update(of=("self",)))
    for each in found:
        _fail(each, _("No worker finished it within an hour."))
    return len(found)


# --- The work --------------------------------------------------------------------------------------------


def run_probe(*, probe_id: UUID | str, look: Look | None = None) -> None:
    """Look, step by step, and keep what was seen. Safe to repeat, to interrupt anywhere, and to run twice at once.

    `look` is what looks, by default over the network; another one tells what is known already.
    """
    mine = _claim(probe_id)
    if mine is None:
        return
    claimed_at, endpoint = mine.watch.claimed_at, mine.watch.endpoint
    assert claimed_at is not None and endpoint is not None
    steps: list[dict[str, Any]] = []

    def say(said: str, outcome: str) -> None:
        steps.append({"at": clock.now().isoformat(), "said": redact(said)[:500], "outcome": outcome})
        _tell(mine, claimed_at, steps)

    try:
        started = clock.now()
        if look is not None:
            seen = look(endpoint.url, say=say)
        elif mine.server.lifecycle in REVIEWED:
            seen = probe(endpoint.url, say=say, vouched=_ports(endpoint.url))
        else:
            seen = look_discreetly(endpoint.url, say=say)
        _finish(mine, claimed_at, seen, started)
    except _Overtaken:
        log.info("probe_overtaken", probe_id=str(probe_id))
    except OperationalError:
        raise  # The database is away; the sweep takes the probe up when it is back.
    except RegistryError as error:
        _end(mine, claimed_at, error.message)
    except Exception:
        log.exception("probe_failed", probe_id=str(probe_id))
        _end(mine, claimed_at, _("Something went wrong on our side; it is logged."))


@transaction.atomic
def _claim(probe_id: UUID | str) -> Probe | None:
    """The probe, if it is to be done and its host is not busy; else it stays for the sweep."""
    found = Probe.objects.filter(pk=probe_id, state__in=UNFINISHED).values_list("watch_id", "watch__host").first()
    if found is None:
        return None
    watch_id, host = found
    now = clock.now()
    with connection.cursor() as cursor:
        # Whoever counts the claims on a host does so alone, until the claim is committed.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('registry.probe:' || %s, 0))", [host])
    watch = Watch.objects.select_for_update(of=("self",)).get(pk=watch_id)
    mine = Probe.objects.select_for_update(of=("self",)).select_related("watch__endpoint", "server").get(pk=probe_id)
    if mine.state not in UNFINISHED:
        return None
    if mine.state == ProbeState.RUNNING and mine.progressed_at and mine.progressed_at > now - STALLED:
        return None
    if host and _claims(host, now).exclude(pk=watch_id).count() >= PER_HOST:
        return None
    if mine.state == ProbeState.QUEUED:
        PROBE.move(mine, ProbeState.RUNNING, field="state")
    mine.steps, mine.progressed_at = [], now
    mine.save(update_fields=["state", "steps", "progressed_at"])
    Watch.objects.filter(pk=watch.pk).update(claimed_at=now)
    mine.watch.claimed_at = now
    return mine


def _claims(host: str, now: datetime) -> Any:
    return Watch.objects.filter(host=host, claimed_at__gt=now - STALLED)


def _tell(mine: Probe, claimed_at: datetime, steps: list[dict[str, Any]]) -> None:
    still = Probe.objects.filter(pk=mine.pk, state=ProbeState.RUNNING, watch__claimed_at=claimed_at)
    if not still.update(steps=steps, progressed_at=clock.now()):
        raise _Overtaken


def _ports(url: str) -> frozenset[int]:
    """The port of a reviewed endpoint, which entries of OUTBOUND_ALLOW without a port open as well."""
    try:
        port = urlsplit(url).port
    except ValueError:
        return frozenset()
    return frozenset({port} if port else ())


@transaction.atomic
def _finish(mine: Probe, claimed_at: datetime, seen: Seen, started: datetime) -> None:
    server = Server.objects.select_for_update(of=("self",)).get(pk=mine.server_id)
    watch, mine = _held(mine, claimed_at)
    watch.due_at = _next(server, watch, seen) if server.lifecycle == Lifecycle.ACTIVE else None
    watch.claimed_at = None
    watch.save(update_fields=["due_at", "claimed_at"])
    # Afterwards, for whoever keeps the snapshot may want a second look sooner than that.
    mine.snapshot = record_snapshot(
        actor=PROBER,
        server=server,
        endpoint=watch.endpoint,
        channel=Snapshot.Channel.PROBE,
        seen=seen,
        identity=IDENTITY,
        taken_at=started,
    )
    PROBE.move(mine, ProbeState.FINISHED, field="state")
    mine.finished_at = mine.progressed_at = clock.now()
    mine.save(update_fields=["state", "snapshot", "finished_at", "progressed_at"])


def _held(mine: Probe, claimed_at: datetime) -> tuple[Watch, Probe]:
    """Both rows, locked, watch first as everywhere; `_Overtaken` when the claim is another's by now."""
    watch = Watch.objects.select_for_update(of=("self",)).select_related("endpoint").get(pk=mine.watch_id)
    fresh = Probe.objects.select_for_update(of=("self",)).get(pk=mine.pk)
    if fresh.state != ProbeState.RUNNING or watch.claimed_at != claimed_at:
        raise _Overtaken
    return watch, fresh


@transaction.atomic
def _end(mine: Probe, claimed_at: datetime, reason: str) -> None:
    try:
        _watch, fresh = _held(mine, claimed_at)
    except _Overtaken:
        return
    _fail(fresh, reason)


def _fail(failed: Probe, reason: str) -> None:
    """End a probe without a snapshot, and let its watch try again after a while; the caller holds the row."""
    now = clock.now()
    PROBE.move(failed, ProbeState.FAILED, field="state")
    failed.steps = [*failed.steps, {"at": now.isoformat(), "said": reason[:500], "outcome": "fail"}]
    failed.finished_at = now
    failed.save(update_fields=["state", "steps", "finished_at"])
    Watch.objects.filter(pk=failed.watch_id).update(claimed_at=None)
    Watch.objects.filter(pk=failed.watch_id, due_at__isnull=False).update(due_at=now + FIRST_RETRY)


def _next(server: Server, watch: Watch, seen: Seen) -> datetime:
    """When to look again: by tier, a little off so that looks do not bunch; sooner, then later, while it is down."""
    wait = interval(server.tier)
    if seen.outcome in DOWN:
        wait = min(FIRST_RETRY * 2 ** min(watch.failures, 12), wait)
    return clock.now() + wait * random.uniform(0.9, 1.1)  # noqa: S311


def interval(tier: str) -> timedelta:
    """A tier nobody computed yet counts as medium."""
    days: Mapping[str, float] = settings.PROBE_INTERVAL_DAYS
    return timedelta(days=days.get(tier) or days["medium"])


# --- Before a server is registered -----------------------------------------------------------------------

LOOK_LASTS = 12.0
SPOKEN = (
    Snapshot.Outcome.LISTED,
    Snapshot.Outcome.PROTECTED,
    Snapshot.Outcome.SSE_ONLY,
    Snapshot.Outcome.REFUSED,  # decided here, before anything was asked
)


def look_discreetly(url: str, *, say: Say = ignore, lasting: float = LASTING) -> Seen:
    """As `probe`, for an address nobody reviewed. What is inside the network and no MCP server is not told apart:
    closed, silent and something else are one answer, so that nobody maps hosts and ports this way."""
    told: list[tuple[Any, ...]] = []
    outside = not leads_inside(url)
    seen = probe(url, say=say if outside else lambda *step: told.append(step), lasting=lasting)
    if outside:
        return seen
    if seen.outcome in SPOKEN:
        for step in told:
            say(*step)
        return seen
    words = _("No MCP server answers there.")
    say(words, "fail")
    return Seen(Snapshot.Outcome.UNREACHABLE, words, capabilities=seen.capabilities)


@transaction.atomic
def look_at_address(*, actor: Actor, address: str) -> Seen:
    """What is behind an address nobody registered yet, here and now, without keeping it. One look at a time each.

    Never raises for what the address does. Raises `Conflict` while another look of the same person lasts, and
    `SecretRefused` for an address that holds one.
    """
    require(actor, "discovery.probe_address")
    refuse_secrets({"address": address})
    _count_look(actor)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('registry.look:' || %s, 0))", [str(actor.user_id)]
        )
        if not cursor.fetchone()[0]:
            raise Conflict(_("A look you asked for is still going on. Wait for it, then try again."))
    return look_discreetly(address.strip(), lasting=LOOK_LASTS)


__all__ = [
    "give_up_probes",
    "interval",
    "look_at_address",
    "look_discreetly",
    "queue_due",
    "request_probe",
    "run_probe",
    "sweep_probes",
    "watch_endpoints",
]
