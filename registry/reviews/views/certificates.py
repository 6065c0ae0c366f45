"""Certificates: the list, and what a server's page shows of its reviews."""

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from registry.catalog.models import Server
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import require
from registry.reviews.filters import CertificateFilter
from registry.reviews.models import Certificate, Item
from registry.reviews.queries import valid_certificate

RELATED = (
    "server",
    "grant__agent",
    "grant__server",
    "connection__server",
    "connection__system",
    "decision__sign_off__reviewer",
)


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
        },
    )


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """A server's certificate and the reviews it went through; a fragment of the server's page."""
    require(request.actor, "reviews.view")
    server = Server.objects.visible_to(request.actor).filter(pk=pk).first()
    if server is None:
        raise NotFound
    items = list(
        Item.objects.visible_to(request.actor)
        .filter(server=server)
        .select_related("campaign")
        .prefetch_related("work_items__reviewer", "work_items__decisions")
        .defer("snapshot")
        .order_by("-created_at")[:10]
    )
    context = {"server": server, "certificate": valid_certificate(server), "items": items, "nav": "servers"}
    template = "reviews/_server_panel.html" if request.htmx else "reviews/server_reviews.html"
    return render(request, template, context)
