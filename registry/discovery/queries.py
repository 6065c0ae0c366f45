"""Reads: one pasted entry, what an import would do, which jobs stand still, and what is looked at."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from registry.catalog.models import Endpoint, Server, Transport
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid
from registry.discovery.entries import Configured, Entry, facts_digest, sighting_digest
from registry.discovery.formats import read_document
from registry.discovery.matching import servers_behind
from registry.discovery.models import ImportJob, Probe, Sighting, Snapshot, Watch
from registry.discovery.order import is_behind
from registry.discovery.sighting_words import reasons as told_of
from registry.discovery.states import EntryKind, JobState, Outcome, ProbeState

STALLED = timedelta(seconds=90)
"""A worker writes progress with every entry; silence for this long means there is none."""


def read_entry(text: str) -> Entry:
    """The one server a pasted or uploaded text describes.

    Raises `Malformed` for text that holds no server, `Invalid` with the fields that need attention.
    """
    rows = read_document(text)
    if len(rows) != 1:
        raise Invalid(
            _("This holds %(n)d entries, not one. Import such a file on the page Imports.") % {"n": len(rows)}
        )
    read = rows[0].read
    if isinstance(read, Entry):
        return read
    if isinstance(read, Configured):
        raise Invalid(_("This is a client's configuration. Import it on the page Imports, to see what is used."))
    raise Invalid(_("This entry cannot become a server."), fields=read.fields)


def counts(job: ImportJob) -> dict[str, int]:
    """Results per outcome, those with none included."""
    found = Counter(job.results.order_by().values_list("outcome", flat=True))
    return {outcome: found[outcome] for outcome in Outcome.values}


def stalled_jobs() -> QuerySet[ImportJob, UUID]:
    """Ids of jobs whose message was lost or whose worker died."""
    return ImportJob.objects.filter(
        state__in=(JobState.QUEUED, JobState.RUNNING), progressed_at__lt=clock.now() - STALLED
    ).values_list("pk", flat=True)


# --- What would happen -----------------------------------------------------------------------------------


class Waiting(Protocol):
    """A `Planned` or a stored `PendingEntry`."""

    @property
    def name(self) -> str: ...
    @property
    def facts(self) -> Mapping[str, Any] | None: ...
    @property
    def settled(self) -> str: ...
    @property
    def said(self) -> list[str]: ...
    @property
    def kind(self) -> str: ...


class Expected(NamedTuple):
    entry: Any
    outcome: str
    reasons: list[str]
    server: Server | None = None
    """The catalogued server an entry of a client's configuration points at, when the reader may see it."""
    catalogued: bool = False
    told: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """Of such an entry: `reasons` once more, where it leads apart from the secrets in it."""


def outdated(known: Server, release: str) -> str:
    """Why an entry of `release` is behind the draft that an import made; empty when it is not."""
    if not known.import_digest or known.release == release or not is_behind(release, known.release):
        return ""
    if not release:
        return _("it has no release number, and %(known)s is here already") % {"known": known.release}
    return _("release %(old)s is not newer than %(known)s, which is here already") % {
        "old": release,
        "known": known.release,
    }


def forecast(entries: Iterable[Waiting], actor: Actor | None = None) -> list[Expected]:
    """What importing would do as things stand. What only the catalog checks may still refuse an entry."""
    waiting = list(entries)
    sighted = _sighted([each for each in waiting if each.kind == EntryKind.SIGHTING], actor)
    names = {entry.name for entry in waiting if not entry.settled}
    known = {server.name: server for server in Server.objects.filter(name__in=names)}
    started: set[str] = set()
    expected = []
    for entry in waiting:
        if entry.kind == EntryKind.SIGHTING:
            expected.append(next(sighted))
            continue
        outcome, reasons = entry.settled, list(entry.said)
        if not outcome:
            outcome, told = _expected(known.get(entry.name), entry.facts or {}, entry.name in started)
            reasons = told or reasons
        if outcome in ("imported", "updated"):
            started.add(entry.name)
        expected.append(Expected(entry, outcome, reasons))
    return expected


def _sighted(entries: list[Waiting], actor: Actor | None) -> Iterator[Expected]:
    """What would be seen: where each entry points, and whether the catalog knows it."""
    seen = [dict(entry.facts or {}) for entry in entries]
    behind = servers_behind(seen)
    shown = Server.objects.visible_to(actor) if actor else Server.objects.all()
    visible = set(shown.filter(pk__in={server.pk for server in behind.values()}).values_list("pk", flat=True))
    digests = [sighting_digest(actor.user_id if actor else None, each) for each in seen]
    told = set(Sighting.objects.filter(digest__in=digests).values_list("digest", flat=True))
    for entry, each, mine in zip(entries, seen, digests, strict=True):
        server = behind.get(each["canonical_uri"])
        outcome = Outcome.SKIPPED if mine in told else Outcome.SEEN
        said = [_("told before, unchanged")] if mine in told else []
        told.add(mine)
        mine_to_see = server if server is not None and server.pk in visible else None
        where, *warnings = told_of(each)
        told_apart = [*said, where]
        yield Expected(entry, outcome, [*told_apart, *warnings], mine_to_see, server is not None, told_apart, warnings)


def _expected(known: Server | None, facts: Mapping[str, Any], started: bool) -> tuple[str, list[str]]:
    if known is None or started:
        return ("updated" if started else "imported"), []
    if older := outdated(known, facts["release"]):
        return "skipped", [older]
    if known.import_digest == facts_digest(facts):
        return "skipped", [_("unchanged")]
    if known.lifecycle != Lifecycle.DRAFT:
        return "skipped", [_("is no draft any more; change it in the registry")]
    if not known.import_digest:
        return "skipped", [_("was registered by hand; its draft is left alone")]
    if known.owner_id is not None:
        return "skipped", [_("somebody works on this draft already")]
    return "updated", []


def tally(expected: Iterable[Expected]) -> dict[str, int]:
    found = Counter(each.outcome for each in expected)
    return {outcome: found[outcome] for outcome in Outcome.values}


def with_counts(jobs: QuerySet[ImportJob]) -> QuerySet[ImportJob]:
    """Jobs with the number of results per outcome (`n_imported`, …), for lists."""
    numbers = {f"n_{outcome}": Count("results", filter=Q(results__outcome=outcome)) for outcome in Outcome.values}
    return jobs.annotate(**numbers)


# --- What is looked at ------------------------------------------------------------------------------------


class Observed(NamedTuple):
    """A remote endpoint with what is known of it: its watch and last look once there are any, and a probe under way."""

    endpoint: Endpoint
    watch: Watch | None
    last: Snapshot | None
    under_way: Probe | None


def remote_endpoints() -> QuerySet[Endpoint]:
    """What can be asked over the network; packages are started by whoever operates them."""
    remote = (Transport.STREAMABLE_HTTP, Transport.SSE)
    return Endpoint.objects.filter(retired_at=None, transport__in=remote).exclude(url="")


def with_listing_before(snapshots: QuerySet[Snapshot]) -> QuerySet[Snapshot]:
    """Looks with `listed_before`: the definitions that the same source listed last before, None at its first time."""
    same = Snapshot.objects.annotate(
        same_place=Coalesce("endpoint", "server"), same_person=Coalesce("by", "server")
    ).filter(
        server=OuterRef("server"),
        identity=OuterRef("identity"),
        channel=OuterRef("channel"),
        same_place=Coalesce(OuterRef("endpoint"), OuterRef("server")),
        same_person=Coalesce(OuterRef("by"), OuterRef("server")),
        pk__lt=OuterRef("pk"),
    )
    earlier = same.filter(definitions__isnull=False).order_by("-pk").values("definitions_id")[:1]
    return snapshots.annotate(listed_before=Subquery(earlier))


def observed_endpoints(server: Server) -> list[Observed]:
    endpoints = list(remote_endpoints().filter(server=server))
    ours = Watch.objects.filter(server=server, identity="anonymous", pushed=False, endpoint__in=endpoints)
    watches = ours.select_related("last")
    by_endpoint = {watch.endpoint_id: watch for watch in watches}
    unfinished = Probe.objects.filter(server=server, state__in=(ProbeState.QUEUED, ProbeState.RUNNING))
    under_way = {probe.watch_id: probe for probe in unfinished}
    rows = []
    for endpoint in endpoints:
        watch = by_endpoint.get(endpoint.pk)
        last = watch.last if watch else None
        rows.append(Observed(endpoint, watch, last, under_way.get(watch.pk) if watch else None))
    return rows
