"""The audit trail: what was done by whom, and the proof that nobody changed it since."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_safe

from registry.audit.filters import EventFilter
from registry.audit.models import Event
from registry.audit.queries import chain_state, events_visible_to, story_visible_to, verify_chain
from registry.audit.services import event_digest
from registry.core import clock
from registry.core.csv import stream_csv
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require

NEWEST_FIRST = ("-at", "-id")
VERIFY_IN_BROWSER = 50_000
"""Up to this many sealed events are verified while one waits (some seconds); beyond, the command does it."""
STORY_SIZE = 20


def _filtered(request: Request) -> EventFilter:
    require(request.actor, "audit.view")
    visible = events_visible_to(request.actor).select_related("seal")
    return EventFilter(request.GET, visible, request=request)


@require_safe
def events(request: Request) -> HttpResponse:
    filterset = _filtered(request)
    query = request.GET.copy()
    for cursor in ("older", "newer"):
        query.pop(cursor, None)
    context = {
        "nav": "audit",
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order=NEWEST_FIRST, count=True),
        "sees_all": allows(request.actor, "audit.view_all"),
        "question": query.urlencode(),
    }
    return render(request, "audit/events.html", context)


@require_safe
def export(request: Request) -> HttpResponseBase:
    """Everything the page's question matches, as CSV."""
    header = (
        "at", "actor_kind", "actor", "actor_id", "token_id", "act", "subject_type", "subject_id", "subject",
        "request_id", "data", "position", "digest",
    )  # fmt: skip
    found = _filtered(request).qs.order_by(*NEWEST_FIRST)
    return stream_csv(f"audit-{clock.today():%Y-%m-%d}", header, _rows(found))


def _rows(found: QuerySet[Event]) -> Iterator[tuple[Any, ...]]:
    for each in found.iterator(chunk_size=2000):
        seal = getattr(each, "seal", None)
        yield (
            each.at, each.actor_kind, each.actor_label, each.actor_id, each.token_id, each.act, each.subject_type,
            each.subject_id, each.subject_label, each.request_id, json.dumps(each.data, sort_keys=True),
            seal.position if seal else "", seal.digest if seal else "",
        )  # fmt: skip


@require_safe
def event(request: Request, pk: UUID) -> HttpResponse:
    """One event with its place in the chain; its digest is recomputed here and now."""
    require(request.actor, "audit.view")
    visible = events_visible_to(request.actor).select_related("seal__batch")
    found = get_object_or_404(visible, pk=pk)
    seal = getattr(found, "seal", None)
    context: dict[str, Any] = {
        "nav": "audit",
        "event": found,
        "seal": seal,
        "intact": seal is not None and event_digest(found) == seal.digest,
        "data": json.dumps(found.data, indent=2, sort_keys=True, ensure_ascii=False) if found.data else "",
        "facts": found.data.items() if isinstance(found.data, dict) else [],
    }
    if seal is not None:
        context["before"] = visible.filter(seal__position=seal.position - 1).first()
        context["after"] = visible.filter(seal__position=seal.position + 1).first()
    return render(request, "audit/event.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def chain(request: Request) -> HttpResponse:
    """Where the chain stands; a POST verifies it from the first event on."""
    require(request.actor, "audit.view_all")
    state = chain_state()
    small = Event.objects.filter(seal__position__gt=VERIFY_IN_BROWSER).first() is None
    report = verify_chain() if request.method == "POST" and small else None
    context = {
        "nav": "audit",
        "chain": state,
        "small": small,
        "limit": VERIFY_IN_BROWSER,
        "report": report,
        "command": f"python manage.py verify_audit --head {state.head}",
    }
    return render(request, "audit/chain.html", context)


@require_safe
def story(request: Request, subject_type: str, subject_id: UUID) -> HttpResponse:
    """What happened to one thing, newest first: a panel of its page, or a page of its own."""
    found = story_visible_to(request.actor, subject_type, subject_id)
    page = keyset_page(found, request, order=NEWEST_FIRST, size=STORY_SIZE)
    template = "audit/_story.html" if request.headers.get("HX-Request") else "audit/story.html"
    context = {
        "nav": "audit",
        "page": page,
        "subject": page.items[0].subject_label if page.items else "",
        "sees_all": allows(request.actor, "audit.view_all"),
        "subject_type": subject_type,
        "subject_id": subject_id,
    }
    response = render(request, template, context)
    response["Vary"] = "HX-Request"
    return response
