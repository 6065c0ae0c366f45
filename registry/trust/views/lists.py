"""Lists of trust: relationships, as a page and as CSV, and what waits for a decision."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from registry.audit.services import record_export
from registry.core import clock, limits
from registry.core.csv import stream_csv
from registry.core.errors import Malformed, NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import NEWER, OLDER, Page, keyset_page
from registry.core.permissions import allows, require
from registry.trust import queries
from registry.trust.filters import AnyGrantFilter, filtered
from registry.trust.models import Grant
from registry.trust.views.shared import MODELS, NAV, requested, verdict, waiting_for_decision

CSV_PAGE = 1000
ROWS = 40
"""What fits into 60 kB of page."""

TABS = (("", gettext_lazy("All")), ("grant", gettext_lazy("Grants")), ("connection", gettext_lazy("Connections")))


@require_safe
def relationships(request: Request) -> HttpResponse:
    """Grants and connections, newest first; the question is the URL."""
    require(request.actor, "trust.view")
    filterset = AnyGrantFilter(request.GET, queryset=Grant.objects.none())
    page: Page[Any] = Page(items=[], older=None, newer=None)
    if filterset.is_valid():
        page = _union_page(request)
    without_kind = _query(request, "kind")
    kinds = request.GET.getlist("kind")
    tabs = [
        {
            "title": title,
            "url": f"?{'&'.join(part for part in (f'kind={kind}' if kind else '', without_kind) if part)}",
            "current": kinds == ([kind] if kind else []),
        }
        for kind, title in TABS
    ]
    query = _query(request)
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": [each for each in chosen(filterset, request) if each.word not in ("grant", "connection")],
        "page": page,
        "tabs": tabs,
        "csv_url": f"{reverse('trust:relationships_csv')}?{query}",
        "may_request": allows(request.actor, "trust.request_grant"),
        "waiting": waiting_for_decision(request.actor),
    }
    return render(request, "trust/relationships.html", context)


def _query(request: Request, *dropped: str) -> str:
    query = request.GET.copy()
    for name in (OLDER, NEWER, *dropped):
        query.pop(name, None)
    return query.urlencode()


def _union_page(request: Request) -> Page[Any]:
    found = queries.relationship_page(
        **filtered(request.actor, request.GET),
        now=clock.now(),
        before=_cursor(request, OLDER),
        after=_cursor(request, NEWER),
        limit=ROWS,
    )

    def link(direction: str, cursor: UUID | None) -> str | None:
        parts = [part for part in (_query(request), f"{direction}={cursor}") if part]
        return f"{request.path}?{'&'.join(parts)}" if cursor else None

    return Page(items=found.rows, older=link(OLDER, found.next), newer=link(NEWER, found.previous))


def _cursor(request: Request, name: str) -> UUID | None:
    value = request.GET.get(name)
    try:
        return UUID(value) if value else None
    except ValueError as error:
        raise Malformed(_("This page link is damaged. Start again from the first page.")) from error


CSV_COLUMNS = (
    "kind", "status", "agent_name", "server_name", "system_name", "tools", "all_tools", "access", "scopes",
    "environment", "tier", "team_name", "valid_until", "certified_until", "certified", "id",
)  # fmt: skip


@require_safe
@limits.counts_as("export")
def relationships_csv(request: Request) -> HttpResponseBase:
    """Exactly the list's question, all of its rows."""
    require(request.actor, "trust.view")
    sides = filtered(request.actor, request.GET)
    record_export(actor=request.actor, of="relationships", question=request.GET.urlencode())
    now = clock.now()

    def rows() -> Iterator[list[Any]]:
        before: UUID | None = None
        while True:
            page = queries.relationship_page(**sides, now=now, before=before, limit=CSV_PAGE)
            for row in page.rows:
                yield [row[name] for name in CSV_COLUMNS]
            if page.next is None:
                return
            before = page.next

    return stream_csv(f"relationships-{now:%Y-%m-%d}", CSV_COLUMNS, rows())


@require_safe
def requests(request: Request) -> HttpResponse:
    """What waits for a decision, each with whether the reader may decide it and, if not, why."""
    require(request.actor, "trust.view")
    kind = request.GET.get("kind", "grant")
    if kind not in MODELS:
        raise NotFound
    page = keyset_page(requested(request.actor, kind), request, order=("valid_until", "id"))
    context = {
        "nav": NAV,
        "kind": kind,
        "page": page,
        "rows": [{"thing": thing, "verdict": verdict(request.actor, thing)} for thing in page],
        "waiting": waiting_for_decision(request.actor),
    }
    return render(request, "trust/requests.html", context)
