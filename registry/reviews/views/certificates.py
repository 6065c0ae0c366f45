"""Certificates: the list, and what the page of a server or an agent shows of its reviews."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews.filters import CertificateFilter
from registry.reviews.models import Certificate, Item
from registry.reviews.models.subjects import about
from registry.trust.models import Grant
from registry.trust.states import HELD

RELATED = (
    "server",
    "agent",
    "grant__agent",
    "grant__server",
    "connection__server",
    "connection__system",
    "decision__sign_off__reviewer",
)
SHOWN = 10


@require_safe
def certificates(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    queryset = Certificate.objects.visible_to(request.actor).select_related(
        *RELATED, "decision__work_item__item__campaign"
    )
    queryset = queryset.defer("decision__work_item__item__snapshot")
    filterset = CertificateFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    return render(
        request,
        "reviews/certificates.html",
        {
            "nav": "reviews",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": keyset_page(rows, request, count=True),
            "now": clock.now(),
        },
    )


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """A server's certificate, those of the agents that call it, and the reviews it went through."""
    require(request.actor, "reviews.view")
    server = Server.objects.visible_to(request.actor).filter(pk=pk).first()
    if server is None:
        raise NotFound
    calling = Grant.objects.visible_to(request.actor).filter(server=server, status__in=HELD)
    return _panel(request, server, {"server": server, "calling": _listed(calling.select_related("agent"))})


@require_safe
def agent_panel(request: Request, pk: UUID) -> HttpResponse:
    """An agent's own certificate, those of its grants, and the reviews it went through."""
    require(request.actor, "reviews.view")
    agent = Agent.objects.visible_to(request.actor).filter(pk=pk).first()
    if agent is None:
        raise NotFound
    granted = Grant.objects.visible_to(request.actor).filter(agent=agent, status__in=HELD)
    return _panel(request, agent, {"agent": agent, "granted": _listed(granted.select_related("server"))})


def _listed(grants: Any) -> list[Grant]:
    return list(grants.order_by("-created_at", "-pk")[:SHOWN])


def _panel(request: Request, thing: Server | Agent, context: dict[str, Any]) -> HttpResponse:
    """A fragment of the thing's page; without htmx a page of its own."""
    seen = Certificate.objects.visible_to(request.actor).filter(about(thing.pk))
    last = seen.select_related("decision__sign_off__reviewer").order_by("-created_at", "-pk").first()
    items = (
        Item.objects.visible_to(request.actor)
        .filter(about(thing.pk))
        .select_related("campaign")
        .prefetch_related("work_items__reviewer", "work_items__decisions")
        .defer("snapshot")
        .order_by("-created_at")[:SHOWN]
    )
    context |= {
        "thing": thing,
        "certificate": last if last is not None and last.ended_at is None else None,
        "ended": last if last is not None and last.ended_at is not None else None,
        "items": list(items),
        "nav": "servers" if isinstance(thing, Server) else "agents",
        "now": clock.now(),
        "ask": allows(request.actor, "reviews.ask_for_review", thing) and not any(item.is_open for item in items),
        "kind": "server" if isinstance(thing, Server) else "agent",
    }
    return render(request, "reviews/_subject_panel.html" if request.htmx else "reviews/subject_reviews.html", context)
