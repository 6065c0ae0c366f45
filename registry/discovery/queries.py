"""Reads about imports: one pasted entry, what an import would do, and which jobs stand still."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils.translation import gettext as _

from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.errors import Invalid
from registry.discovery.entries import Entry, facts_digest
from registry.discovery.formats import read_document
from registry.discovery.models import ImportJob
from registry.discovery.order import is_behind
from registry.discovery.states import JobState, Outcome

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


class Expected(NamedTuple):
    entry: Any
    outcome: str
    reasons: list[str]


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


def forecast(entries: Iterable[Waiting]) -> list[Expected]:
    """What importing would do as things stand. What only the catalog checks may still refuse an entry."""
    waiting = list(entries)
    names = {entry.name for entry in waiting if not entry.settled}
    known = {server.name: server for server in Server.objects.filter(name__in=names)}
    started: set[str] = set()
    expected = []
    for entry in waiting:
        outcome, reasons = entry.settled, list(entry.said)
        if not outcome:
            outcome, told = _expected(known.get(entry.name), entry.facts or {}, entry.name in started)
            reasons = told or reasons
        if outcome in ("imported", "updated"):
            started.add(entry.name)
        expected.append(Expected(entry, outcome, reasons))
    return expected


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
