"""Following other registries: acts of people, and the walk through their pages.

A page, what it changed and how far the walk came commit together, so a killed worker costs one page at most, and
whoever takes the walk up goes on from there. Nothing that people govern changes by it: entries are observations, and
drafts come by way of an ordinary import.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from registry.audit.services import build_event, record, record_all
from registry.catalog.models import Server
from registry.core import clock, outbound
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.discovery.entries import Entry, Refusal
from registry.discovery.events import RegistryDue
from registry.discovery.following import Heard, HeardPage, NotARegistry, page_url, read_answer
from registry.discovery.formats import Row, read_rows
from registry.discovery.models import RegistryEntry, RegistrySource
from registry.discovery.plan import File
from registry.discovery.services.imports import MAX_ENTRIES, request_import
from registry.discovery.states import SOURCE, SourceState

log = structlog.get_logger(__name__)

SYNC = Actor.system("registry sync")
LIMITS = outbound.Limits(total=60, read=30, size=20_000_000)
STALLED = timedelta(seconds=150)
"""Longer than one page may take; silence for this long means that nobody walks."""
OVERLAP = timedelta(minutes=10)
"""How far a walk looks back behind the one before: for clocks that differ, and transactions that commit late."""
SHORTEST, LONGEST = 15, 7 * 24 * 60


# --- Acts of people --------------------------------------------------------------------------------------


def _checked_url(base_url: str) -> str:
    """The address without what people copy along. Raises `Invalid`."""
    base_url = base_url.strip().rstrip("/")
    for tail in ("/servers", "/v0.1"):
        base_url = base_url.removesuffix(tail).rstrip("/")
    try:
        parts = urlsplit(base_url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise Invalid(fields={"base_url": [_("This is not an address.")]}) from None
    if not well_formed:
        raise Invalid(fields={"base_url": [_("Give an address such as https://registry.example.org.")]})
    if "@" in parts.netloc or parts.query or parts.fragment:
        said = _("Leave out credentials and everything after a question mark.")
        raise Invalid(fields={"base_url": [said]})
    return base_url


def _checked(name: str, base_url: str, interval_minutes: int, besides: UUID | None = None) -> dict[str, Any]:
    values: dict[str, Any] = {"name": name.strip(), "base_url": base_url, "interval_minutes": interval_minutes}
    refuse_secrets({"name": name, "base_url": base_url})
    values["base_url"] = _checked_url(base_url)
    fields: dict[str, list[str]] = {}
    if not values["name"]:
        fields["name"] = [_("Give it a name.")]
    if not SHORTEST <= interval_minutes <= LONGEST:
        fields["interval_minutes"] = [
            _("From %(least)d minutes to %(most)d (a week).") % {"least": SHORTEST, "most": LONGEST}
        ]
    others = RegistrySource.objects.exclude(pk=besides) if besides else RegistrySource.objects.all()
    if others.filter(name=values["name"]).exists():
        fields["name"] = [_("Another registry has this name.")]
    if others.filter(base_url=values["base_url"]).exists():
        fields["base_url"] = [_("This registry is followed already.")]
    if fields:
        raise Invalid(fields=fields)
    return values


@transaction.atomic
def follow_registry(
    *, actor: Actor, name: str, base_url: str, interval_minutes: int = 60, makes_drafts: bool = True
) -> RegistrySource:
    """Follow a registry from now on; the first walk starts at once."""
    require(actor, "discovery.follow_registries")
    values = _checked(name, base_url, interval_minutes)
    source = RegistrySource.objects.create(
        **values, makes_drafts=makes_drafts, created_by=actor.user, due_at=clock.now()
    )
    record(actor=actor, act="registry.followed", subject=source, data={**values, "makes_drafts": makes_drafts})
    publish(RegistryDue(source_id=source.pk))
    return source


@transaction.atomic
def change_registry(
    *,
    actor: Actor,
    source: RegistrySource,
    name: str,
    base_url: str,
    interval_minutes: int,
    makes_drafts: bool,
    expected_version: str | None = None,
) -> RegistrySource:
    """Another address is another registry: its walk starts from the beginning."""
    require(actor, "discovery.follow_registries")
    source = _locked(source.pk)
    source.check_version(expected_version)
    values = _checked(name, base_url, interval_minutes, besides=source.pk)
    if values["base_url"] != source.base_url:
        if source.state == SourceState.RUNNING:
            raise Conflict(_("It is being read at the moment; pause it first."))
        source.updated_since = source.newest_seen = None
        source.cursor = ""
    for key, value in values.items():
        setattr(source, key, value)
    source.makes_drafts = makes_drafts
    source.save()
    record(actor=actor, act="registry.edited", subject=source, data={**values, "makes_drafts": makes_drafts})
    return source


@transaction.atomic
def pause_registry(*, actor: Actor, source: RegistrySource) -> RegistrySource:
    """Stop reading it after the page that is being read. What was learned stays."""
    require(actor, "discovery.follow_registries")
    source = _locked(source.pk)
    SOURCE.move(source, SourceState.PAUSED, field="state")
    source.state_reason, source.due_at = _("Paused by %(who)s.") % {"who": actor.label}, None
    source.save()
    record(actor=actor, act="registry.paused", subject=source)
    return source


@transaction.atomic
def resume_registry(*, actor: Actor, source: RegistrySource) -> RegistrySource:
    require(actor, "discovery.follow_registries")
    source = _locked(source.pk)
    if source.state == SourceState.FULL:
        source.cursor = ""  # From the beginning: the limits are counted anew.
    SOURCE.move(source, SourceState.IDLE, field="state")
    source.state_reason, source.due_at, source.failures = "", clock.now(), 0
    source.save()
    record(actor=actor, act="registry.resumed", subject=source)
    publish(RegistryDue(source_id=source.pk))
    return source


@transaction.atomic
def sync_registry(*, actor: Actor, source: RegistrySource) -> RegistrySource:
    """Read it now instead of at its time."""
    require(actor, "discovery.follow_registries")
    source = _locked(source.pk)
    SOURCE.check(source.state, SourceState.RUNNING)
    source.due_at = clock.now()
    source.save()
    record(actor=actor, act="registry.sync_requested", subject=source)
    publish(RegistryDue(source_id=source.pk))
    return source


# --- The walk --------------------------------------------------------------------------------------------


def _locked(source_id: UUID | str) -> RegistrySource:
    return RegistrySource.objects.select_for_update(of=("self",)).get(pk=source_id)


def due_registries() -> QuerySet[RegistrySource, UUID]:
    """Ids of registries whose time has come, and of those whose worker died."""
    now = clock.now()
    waiting = Q(state__in=(SourceState.IDLE, SourceState.FAILED), due_at__lte=now)
    stalled = Q(state=SourceState.RUNNING, progressed_at__lt=now - STALLED)
    return RegistrySource.objects.filter(waiting | stalled).values_list("pk", flat=True)


def run_sync(*, source_id: UUID | str, ask: Callable[[str], outbound.Answer] | None = None) -> None:
    """Walk on until the last page. Safe to repeat, to interrupt anywhere, and to run twice at once.

    `ask` answers for an address instead of the network.
    """
    source = _begin(source_id)
    if source is None:
        return
    try:
        with outbound.Door(limits=LIMITS) as door:
            while source is not None:
                url = page_url(source.base_url, cursor=source.cursor, updated_since=source.run_since)
                answer = ask(url) if ask else door.fetch("GET", url, headers={"Accept": "application/json"})
                source = _take_page(source, read_answer(answer))
    except outbound.OutboundError as error:
        _fail(source_id, error)
    except OperationalError:
        raise  # The database is away; the sweep takes the walk up when it is back.
    except Exception:
        log.exception("registry_sync_failed", source_id=str(source_id))
        _fail(source_id, NotARegistry(_("Something went wrong on our side; it is logged.")))


@transaction.atomic
def _begin(source_id: UUID | str) -> RegistrySource | None:
    """Take the walk on: from its cursor if it was cut off, else from the first page. None when there is none to do."""
    source = RegistrySource.objects.select_for_update(of=("self",)).filter(pk=source_id).first()
    now = clock.now()
    if source is None or source.state in (SourceState.PAUSED, SourceState.FULL):
        return None
    if source.state == SourceState.RUNNING:
        if source.progressed_at and source.progressed_at >= now - STALLED:
            return None  # Somebody walks.
    elif source.due_at is None or source.due_at > now:
        return None  # A message that came twice.
    if not source.cursor:
        source.run_since, source.newest_seen, source.started_at = source.updated_since, None, now
        source.seen = source.unreadable = source.pages = 0
    source.state, source.progressed_at = SourceState.RUNNING, now
    _keep(source, "state", "progressed_at", "run_since", "newest_seen", "started_at", "seen", "unreadable", "pages")
    return source


def _keep(source: RegistrySource, *names: str) -> None:
    """Save without a new version: progress is nobody's edit."""
    RegistrySource.objects.filter(pk=source.pk).update(**{name: getattr(source, name) for name in names})


@transaction.atomic
def _take_page(walked: RegistrySource, page: HeardPage) -> RegistrySource | None:
    """Keep a page and move on. None when that was the last one, or when the walk is not ours any more."""
    source = _locked(walked.pk)
    if source.state != SourceState.RUNNING or (source.cursor, source.started_at) != (walked.cursor, walked.started_at):
        return None
    if page.cursor and page.cursor == source.cursor:
        raise NotARegistry(_("It answers the same page again and again."), again=True)
    now = clock.now()
    source.pages += 1
    if said := _beyond(source, page):
        _stop(source, said, now)
        return None
    _keep_entries(source, page.entries, now)
    times = [each.updated_at for each in page.entries if each.updated_at]
    source.newest_seen = max([*times, *([source.newest_seen] if source.newest_seen else [])], default=None)
    source.seen += len(page.entries)
    source.unreadable += page.unreadable
    source.cursor, source.progressed_at = page.cursor, now
    _keep(source, "newest_seen", "seen", "unreadable", "pages", "cursor", "progressed_at")
    if page.cursor:
        return source
    _finish(source, now)
    return None


def _beyond(source: RegistrySource, page: HeardPage) -> str:
    """Why this page is one too many, in a sentence; empty when it is not. What cannot be read counts as well."""
    if source.pages > settings.REGISTRY_MAX_PAGES:
        said = _("Stopped after %(n)d pages: it has no end, or its pages are very small (REGISTRY_MAX_PAGES).")
        return said % {"n": settings.REGISTRY_MAX_PAGES}
    most = settings.REGISTRY_MAX_ENTRIES
    heard = source.seen + source.unreadable + len(page.entries) + page.unreadable
    if heard > most or source.entries.count() + _unknown(source, page.entries) > most:
        said = _("Stopped: it holds more than the %(n)d entries that are followed of one (REGISTRY_MAX_ENTRIES).")
        return said % {"n": most}
    return ""


def _unknown(source: RegistrySource, heard: Iterable[Heard]) -> int:
    versions = {(each.name, each.version) for each in heard}
    known = source.entries.filter(name__in={name for name, _version in versions}).values_list("name", "version")
    return len(versions - set(known))


def _stop(source: RegistrySource, said: str, now: datetime) -> None:
    """Nothing of this run becomes a draft, and nobody asks again until somebody resumes it."""
    SOURCE.move(source, SourceState.FULL, field="state")
    source.state_reason, source.due_at, source.progressed_at = said, None, now
    _keep(source, "state", "state_reason", "due_at", "progressed_at", "pages")
    record(actor=SYNC, act="registry.sync_stopped", subject=source, data={"reason": said, "entries": source.seen})


def _keep_entries(source: RegistrySource, heard: Iterable[Heard], now: datetime) -> None:
    heard = list(heard)
    names = {each.name for each in heard}
    known = {(each.name, each.version): each for each in source.entries.filter(name__in=names)}
    rows, gone = [], []
    for each in heard:
        before = known.get((each.name, each.version))
        row = RegistryEntry(
            source=source, name=each.name, version=each.version, status=each.status, is_latest=each.is_latest,
            published_at=each.published_at, updated_at=each.updated_at, digest=each.digest, seen_at=now,
            job=before.job if before else None, problem=before.problem if before else "",
            waiting=before.waiting if before else None,
        )  # fmt: skip
        if each.status == "deleted" or not each.is_latest:
            row.waiting = None
            if each.status == "deleted" and before is not None and before.status != "deleted":
                gone.append(each)
        elif source.makes_drafts and _is_news(each, before):
            row.waiting, row.problem = _read(each)
        rows.append(row)
    RegistryEntry.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["source", "name", "version"],
        update_fields=[
            "status", "is_latest", "published_at", "updated_at", "digest", "seen_at", "problem", "waiting",
        ],
    )  # fmt: skip
    _note_gone(source, gone)


def _is_news(each: Heard, before: RegistryEntry | None) -> bool:
    if before is None or before.digest != each.digest:
        return True
    return before.status == "deleted" or (each.is_latest and not before.is_latest)


def _read(heard: Heard) -> tuple[dict[str, Any] | None, str]:
    """What an import would take of it, without any secret value; or why it cannot become a draft."""
    read = read_rows([dict(heard.raw)])[0].read
    if isinstance(read, Entry):
        return {"facts": read.facts(), "notes": read.notes}, ""
    return None, "; ".join(read.reasons)[:500] if isinstance(read, Refusal) else _("It describes no server.")


def _note_gone(source: RegistrySource, gone: list[Heard]) -> None:
    """Evidence on the servers here that bear the name of what was taken back there. They stay as they are."""
    if not gone:
        return
    by_name = {each.name: each for each in gone}
    events = []
    for server in Server.objects.filter(name__in=by_name):
        heard = by_name[server.name]
        data = {"registry": source.name, "version": heard.version, "message": heard.message}
        events.append(build_event(actor=SYNC, act="server.deleted_elsewhere", subject=server, data=data))
    record_all(events)


def _finish(source: RegistrySource, now: datetime) -> None:
    jobs = _hand_over(source)
    # Pages come by name: what changed behind the walk while it went on is seen by the next one, for that begins
    # before this one did.
    if source.newest_seen is not None and source.started_at is not None:
        reached = min(source.newest_seen, source.started_at) - OVERLAP
        source.updated_since = max(filter(None, (reached, source.updated_since)))
    SOURCE.move(source, SourceState.IDLE, field="state")
    source.state_reason, source.failures, source.finished_at = "", 0, now
    source.due_at = now + timedelta(minutes=source.interval_minutes)
    _keep(source, "updated_since", "state", "state_reason", "failures", "finished_at", "due_at")
    data = {"entries": source.seen, "unreadable": source.unreadable, "imports": [str(job) for job in jobs]}
    record(actor=SYNC, act="registry.synchronised", subject=source, data=data)


def _hand_over(source: RegistrySource) -> list[UUID]:
    """What is new or changed becomes imports, as if somebody had handed in a file."""
    jobs = []
    while waiting := list(source.entries.filter(waiting__isnull=False).order_by("name", "version")[:MAX_ENTRIES]):
        rows = [Row(place, _entry(each.waiting)) for place, each in enumerate(waiting)]
        job = request_import(actor=SYNC, files=[File(source.base_url, rows)], source=source.name)
        source.entries.filter(pk__in=[each.pk for each in waiting]).update(waiting=None, job=job)
        jobs.append(job.pk)
    return jobs


def _entry(kept: Any) -> Entry:
    return Entry(**kept["facts"], notes=kept["notes"])


@transaction.atomic
def _fail(source_id: UUID | str, error: outbound.OutboundError) -> None:
    source = _locked(source_id)
    if source.state != SourceState.RUNNING:
        return
    SOURCE.move(source, SourceState.FAILED, field="state")
    if getattr(error, "again", False):
        source.cursor = ""  # It may be the cursor that is not known there any more.
    now = clock.now()
    source.failures = min(source.failures + 1, 1000)
    pause = timedelta(minutes=min(source.interval_minutes, 2 ** min(source.failures, 12)))
    source.due_at = now + max(pause, timedelta(seconds=getattr(error, "wait", 0)))
    source.state_reason = error.message[:500]
    _keep(source, "state", "cursor", "failures", "due_at", "state_reason")
    if source.failures == 1:
        record(actor=SYNC, act="registry.sync_failed", subject=source, data={"reason": source.state_reason})


def entry_counts(source: RegistrySource) -> Counter[str]:
    """Entries per status, and `problem` for those that cannot become a draft."""
    counts = Counter(source.entries.order_by().values_list("status", flat=True))
    counts["problem"] = source.entries.exclude(problem="").count()
    return counts
