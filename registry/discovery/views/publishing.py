"""How clients get at what is approved: the page that explains it, the list of what is out there, the exports."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from registry.catalog.models import Endpoint, Server
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import NotFound
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.discovery.exports import EXPORTS, lists, refused, sayable
from registry.discovery.guides import GUIDES
from registry.discovery.models import Publication, RegistryEntry
from registry.discovery.offering import published_now
from registry.discovery.publications import meta_key, obstacle
from registry.discovery.views.registry import admit, tagged

NAV = "publishing"


def base_url(door: str | None = None) -> str:
    return f"{settings.BASE_URL}/r/{door}" if door else settings.BASE_URL


@require_safe
def export(request: Request, name: str, door: str | None = None) -> HttpResponse:
    """One of the files of `EXPORTS`, for whoever may read the registry API."""
    admit(request, door)
    if name not in EXPORTS:
        raise NotFound
    wanted = EXPORTS[name]
    return tagged(request, wanted.build(lists(base_url(door))).encode(), wanted.content_type, door=door)


def _address(actor: Actor) -> dict[str, Any]:
    """Where clients find this registry, as far as `actor` may know."""
    # Who may see the settings of this installation may see the token; others see where it stands.
    token = settings.PUBLISH_PATH_TOKEN
    sees_token = bool(token) and allows(actor, "discovery.follow_registries")
    return {
        "base": base_url(token) if sees_token and not settings.PUBLISH_ANONYMOUS else base_url(),
        "anonymous": settings.PUBLISH_ANONYMOUS,
        "has_token": bool(token),
        "sees_token": sees_token,
    }


@require_safe
def guide(request: Request, name: str) -> HttpResponse:
    """How one client is wired in, with this installation's addresses."""
    require(request.actor, "discovery.view")
    if name not in GUIDES:
        raise NotFound
    found, address = GUIDES[name], _address(request.actor)
    base = address["base"]
    steps = [{"title": s.title, "words": s.words, "text": s.text(base) if s.text else ""} for s in found.steps]
    exports = [{"about": EXPORTS[each], "url": f"{base}/exports/{each}"} for each in found.exports]
    context = {"nav": NAV, "name": name, "guide": found, "guides": GUIDES.items(), "steps": steps, "exports": exports}
    return render(request, "discovery/guide.html", context | address)


@require_safe
def publishing(request: Request) -> HttpResponse:
    require(request.actor, "discovery.view")
    address = _address(request.actor)
    base = address["base"]
    context = address | {
        "nav": NAV,
        "guides": GUIDES.items(),
        "example": f'curl -s "{base}/v0.1/servers?limit=3&version=latest"',
        "https": base.startswith("https:"),
        "meta_key": meta_key(),
        "counts": _counts(request.actor),
        "exports": [{"about": each, "url": f"{base}/exports/{each.name}"} for each in EXPORTS.values()],
    }
    return render(request, "discovery/publishing.html", context)


def _counts(actor: Actor) -> dict[str, int]:
    offered = Publication.objects.filter(published_now())
    return {
        "published": offered.count(),
        "tombstones": Publication.objects.filter(status=Publication.Status.DELETED).count(),
        "refused": Server.objects.visible_to(actor).filter(refused()).count(),
        "not_published": _unpublished(actor).count(),
    }


def _unpublished(actor: Actor) -> QuerySet[Server]:
    """What is in service, or was published, and is not offered now."""
    mine = Publication.objects.filter(server=OuterRef("pk"))
    servers: QuerySet[Server] = Server.objects.visible_to(actor)
    return (servers.filter(lifecycle="active") | servers.filter(Exists(mine))).exclude(
        Exists(mine.filter(published_now()))
    )


SHOWS = ("published", "not", "tombstones")


@require_safe
def published(request: Request) -> HttpResponse:
    """Every server with what clients are told of it, or why they are told nothing."""
    require(request.actor, "discovery.view")
    show = request.GET.get("show", "published")
    if show not in SHOWS:
        raise NotFound
    words = request.GET.get("q", "").replace("\0", "").strip()[:200]
    context: dict[str, Any] = {"nav": NAV, "show": show, "q": words, "now": clock.now()}
    if show == "not":
        servers = _unpublished(request.actor).select_related("team")
        servers = servers.filter(name__icontains=words) if words else servers
        unpublished = keyset_page(servers, request, order="name", count=True)
        soon = _("Approved a moment ago; it is on its way.")
        context["page"] = unpublished
        context["rows"] = [(server, obstacle(server, context["now"]) or soon) for server in unpublished]
    else:
        offered = published_now()
        rows = Publication.objects.filter(offered if show == "published" else ~offered)
        # What became confidential is not listed to those who may not see it any more.
        rows = rows.filter(server__in=Server.objects.visible_to(request.actor)).select_related("server__team")
        rows = rows.filter(name__icontains=words) if words else rows
        current = Prefetch("server__endpoints", Endpoint.objects.filter(retired_at=None))
        page = keyset_page(rows.prefetch_related(current), request, order=["name", "release"], count=True)
        context["page"] = page
        context["rows"] = [(row, sayable(row.server.endpoints.all())) for row in page]
    return render(request, "discovery/published.html", context)


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """What clients are told of a server, and what other registries say of its name."""
    require(request.actor, "discovery.view")
    newest = Publication.objects.order_by("-updated_at")
    visible = Server.objects.visible_to(request.actor).prefetch_related(Prefetch("publications", newest))
    server = visible.filter(pk=pk).first()
    if server is None:
        raise NotFound
    entries = RegistryEntry.objects.visible_to(request.actor).filter(name=server.name, is_latest=True)
    context = {
        "nav": "servers",
        "server": server,
        "why_not": obstacle(server, clock.now()),
        "elsewhere": entries.select_related("source").order_by("source__name")[:10],
    }
    fragment = request.htmx and not request.htmx.boosted
    template = "discovery/_published_panel.html" if fragment else "discovery/published_panel.html"
    return render(request, template, context)
