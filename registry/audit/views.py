"""The audit trail: what was done by whom, and the proof that nobody changed it since."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_safe

from registry.audit.filters import EventFilter, Period, StoryFilter
from registry.audit.log import event_hash
from registry.audit.models import Checkpoint, Event
from registry.audit.notes import write_keys
from registry.audit.queries import (
    anchors,
    events_visible_to,
    log_keys,
    log_state,
    public_keys,
    server_story_visible_to,
    story_visible_to,
    trouble,
)
from registry.audit.services import About, check_log, export_extract, export_log, record_access
from registry.core import clock, limits
from registry.core.csv import stream_csv
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require

NEWEST_FIRST = ("-at", "-id")
VERIFY_IN_BROWSER = 50_000
"""Up to this many sealed events are verified while one waits (some seconds); beyond, the command does it."""
STORY_SIZE = 20
SERVER_STORY_SIZE = 50


def _filtered(request: Request) -> EventFilter:
    require(request.actor, "audit.view")
    visible = events_visible_to(request.actor).select_related("seal")
    return EventFilter(request.GET, visible, request=request)


def _question(request: Request) -> str:
    query = request.GET.copy()
    for cursor in ("older", "newer"):
        query.pop(cursor, None)
    return query.urlencode()


@require_safe
def events(request: Request) -> HttpResponse:
    filterset = _filtered(request)
    sees_all = allows(request.actor, "audit.view_all")
    context = {
        "nav": "audit",
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order=NEWEST_FIRST, count=True),
        "sees_all": sees_all,
        "question": _question(request),
    }
    _note_look(request)
    return render(request, "audit/events.html", context)


def _note_look(request: Request) -> None:
    """Those who oversee read what others did; everybody else reads their own, which is no look at anybody."""
    if allows(request.actor, "audit.view_all"):
        record_access(actor=request.actor, act="audit.viewed", subject="audit trail")


def _note_story(request: Request, subject_type: str, subject_id: UUID, label: str) -> None:
    """That somebody who oversees reads a thing's story stands in that story, where only those who oversee see it."""
    if allows(request.actor, "audit.view_all"):
        record_access(actor=request.actor, act="story.viewed", subject=About(subject_type, subject_id, label))


@require_safe
@limits.counts_as("export")
def export(request: Request) -> HttpResponseBase:
    """Everything the page's question matches, as CSV."""
    found = _filtered(request).answered().order_by(*NEWEST_FIRST)
    _note_export(request, "audit trail", "csv")
    return _csv(f"audit-{clock.today():%Y-%m-%d}", found)


def _note_export(request: Request, what: str, form: str) -> None:
    data = {"form": form, "question": _question(request)}
    record_access(actor=request.actor, act="audit.exported", subject=what, data=data)


def _csv(name: str, found: QuerySet[Event]) -> HttpResponseBase:
    header = (
        "at", "actor_kind", "actor", "actor_id", "token_id", "act", "subject_type", "subject_id", "subject",
        "request_id", "data", "position", "leaf_hash",
    )  # fmt: skip
    return stream_csv(name, header, _rows(found))


def _rows(found: QuerySet[Event]) -> Iterator[tuple[Any, ...]]:
    for each in found.iterator(chunk_size=2000):
        seal = getattr(each, "seal", None)
        yield (
            each.at, each.actor_kind, each.actor_label, each.actor_id, each.token_id, each.act, each.subject_type,
            each.subject_id, each.subject_label, each.request_id, json.dumps(each.data, sort_keys=True),
            seal.position if seal else "", seal.leaf_hash if seal else "",
        )  # fmt: skip


def _json_lines(name: str, lines: Iterator[bytes]) -> HttpResponseBase:
    headers = {"Content-Disposition": f'attachment; filename="{name}.jsonl"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(lines, content_type="application/jsonl", headers=headers)


@require_safe
@limits.counts_as("export")
def export_whole(request: Request) -> HttpResponseBase:
    """The log, or the batches of a period, as JSON Lines that `registry.audit.verifier` verifies offline."""
    require(request.actor, "audit.view_all")
    period = Period.read(request.GET)
    _note_export(request, "audit log", "jsonl")
    return _json_lines("audit-log", export_log(period.since, period.until))


@require_safe
def event(request: Request, pk: UUID) -> HttpResponse:
    """One event with its place in the log; its hash is recomputed here and now."""
    require(request.actor, "audit.view")
    visible = events_visible_to(request.actor).select_related("seal__batch")
    found = get_object_or_404(visible, pk=pk)
    _note_look(request)
    seal = getattr(found, "seal", None)
    context: dict[str, Any] = {
        "nav": "audit",
        "event": found,
        "seal": seal,
        "intact": seal is not None and event_hash(found).hex() == seal.leaf_hash,
        "data": json.dumps(found.data, indent=2, sort_keys=True, ensure_ascii=False) if found.data else "",
        "facts": found.data.items() if isinstance(found.data, dict) else [],
    }
    if seal is not None:
        context["before"] = visible.filter(seal__position=seal.position - 1).first()
        context["after"] = visible.filter(seal__position=seal.position + 1).first()
    return render(request, "audit/event.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@limits.counts_as("export", "POST")
def chain(request: Request) -> HttpResponse:
    """Where the log stands and who vouches for it; a POST verifies it from the first entry on."""
    require(request.actor, "audit.view_all")
    state = log_state()
    small = state.tree_size <= VERIFY_IN_BROWSER
    found = check_log(actor=request.actor) if request.method == "POST" and small else None
    context = {
        "nav": "audit",
        "log": state,
        "small": small,
        "limit": VERIFY_IN_BROWSER,
        "found": found,
        "trouble": trouble(),
        "keys": log_keys(),
        "anchors": anchors(),
        "checkpoints": Checkpoint.objects.select_related("key")[:10],
        "origin": settings.AUDIT_ORIGIN,
        "offline": "python -m registry.audit.verifier audit-log.jsonl --key audit-keys.txt",
        "command": "python manage.py verify_audit",
    }
    return render(request, "audit/chain.html", context)


@require_safe
@limits.counts_as("export")
def keys(request: Request) -> HttpResponse:
    """The public keys with their validity, as the verifier takes them."""
    require(request.actor, "audit.view")
    return _text("audit-keys", write_keys(public_keys()))


@require_safe
@limits.counts_as("export")
def checkpoint(request: Request) -> HttpResponse:
    """The newest checkpoint, to be kept elsewhere."""
    require(request.actor, "audit.view")
    newest = Checkpoint.objects.first()
    if newest is None:
        raise NotFound("No checkpoint was signed yet.")
    return _text("audit-checkpoint", newest.note)


def _text(name: str, text: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.txt"', "Cache-Control": "no-store"}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


# --- Stories -------------------------------------------------------------------------------------------------


@require_safe
def story(request: Request, subject_type: str, subject_id: UUID) -> HttpResponse:
    """What happened to one thing, newest first: a panel of its page, or a page of its own."""
    found = story_visible_to(request.actor, subject_type, subject_id)
    page = keyset_page(found, request, order=NEWEST_FIRST, size=STORY_SIZE)
    label = page.items[0].subject_label if page.items else ""
    panel = bool(request.headers.get("HX-Request"))  # part of the thing's page, which notes its own looks
    context = {
        "nav": "audit",
        "page": page,
        "subject": label,
        "sees_all": allows(request.actor, "audit.view_all"),
        "subject_type": subject_type,
        "subject_id": subject_id,
    }
    if not panel:
        _note_story(request, subject_type, subject_id, label)
    response = render(request, "audit/_story.html" if panel else "audit/story.html", context)
    response["Vary"] = "HX-Request"
    return response


def _server_story(request: Request, pk: UUID) -> StoryFilter:
    require(request.actor, "audit.view")
    return StoryFilter(request.GET, server_story_visible_to(request.actor, pk), request=request)


@require_safe
def server_story(request: Request, pk: UUID) -> HttpResponse:
    """Everything about a server: of itself, its relationships, reviews, tools and secret sources, in one timeline."""
    filterset = _server_story(request, pk)
    page = keyset_page(filterset.qs, request, order=NEWEST_FIRST, size=SERVER_STORY_SIZE, count=True)
    named = Event.objects.filter(subject_type="server", subject_id=pk).order_by("-at").first()
    name = named.subject_label if named else ""
    _note_story(request, "server", pk, name)
    context = {
        "nav": "audit",
        "page": page,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "server_id": pk,
        "name": name,
        "sees_all": allows(request.actor, "audit.view_all"),
        "question": _question(request),
    }
    return render(request, "audit/server_story.html", context)


@require_safe
@limits.counts_as("export")
def server_story_csv(request: Request, pk: UUID) -> HttpResponseBase:
    found = _server_story(request, pk).answered().select_related("seal").order_by(*NEWEST_FIRST)
    _note_export(request, f"story of server {pk}", "csv")
    return _csv(f"server-story-{clock.today():%Y-%m-%d}", found)


@require_safe
@limits.counts_as("export")
def server_story_proved(request: Request, pk: UUID) -> HttpResponseBase:
    """The same as JSON Lines, each event with the proof that it stands in the log."""
    found = _server_story(request, pk).answered()
    _note_export(request, f"story of server {pk}", "jsonl")
    return _json_lines(f"server-story-{clock.today():%Y-%m-%d}", export_extract(found))
