"""Pages of shadow servers: what clients use that nobody answers for, and what people say about it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from registry.audit.services import record_export
from registry.catalog.models import Server
from registry.core import limits
from registry.core.actors import Actor
from registry.core.csv import stream_csv
from registry.core.filtering import chosen
from registry.core.forms import run, status_of
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.discovery import services
from registry.discovery.filters import ShadowListFilter
from registry.discovery.forms import IgnoreShadowForm, LinkShadowForm, ReopenShadowForm
from registry.discovery.models import Shadow, Sighting
from registry.discovery.sighting_queries import (
    client_name,
    names_of,
    references_in,
    secrets_in,
    usage_of,
    wizard_facts,
)
from registry.discovery.states import SHADOW, ShadowState

NAV = "shadows"
ORDERS = {"": ("-last_seen", "-id"), "times": ("-times", "-id")}
VIEWS: tuple[tuple[str, "str | Promise"], ...] = (
    ("state=open", gettext_lazy("Nobody answers")),
    ("state=open&inline_secret=true", gettext_lazy("With a secret in them")),
    ("state=ignored", gettext_lazy("Left alone")),
    ("", gettext_lazy("All")),
)
ON_SERVER_PAGE = 10
ROWS_AT_ONCE = 500


def _filtered(request: Request) -> ShadowListFilter:
    require(request.actor, "discovery.view")
    visible = Shadow.objects.visible_to(request.actor)
    return ShadowListFilter(request.GET, visible.select_related("server"), request=request)


@require_safe
def shadows(request: Request) -> HttpResponse:
    filterset = _filtered(request)
    order = ORDERS.get(request.GET.get("sort", ""), ORDERS[""])
    page = keyset_page(filterset.qs, request, order=order, count=True)
    usage = usage_of(page.items, request.actor)
    query = request.GET.urlencode()
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": page,
        "rows": [(shadow, usage.get(shadow.pk)) for shadow in page.items],
        "views": [{"query": wanted, "title": title} for wanted, title in VIEWS],
        "query": query,
        "csv_url": f"{reverse('discovery:shadows_csv')}?{query}",
        "may_import": allows(request.actor, "discovery.import_servers"),
    }
    return render(request, "discovery/shadows.html", context)


@require_safe
@limits.counts_as("export")
def shadows_csv(request: Request) -> HttpResponseBase:
    """The list, as the page's filters show it."""
    found = _filtered(request).answered().order_by("-id")
    record_export(actor=request.actor, of="shadow servers", question=request.GET.urlencode())

    def rows() -> Iterator[list[Any]]:
        batch: list[Shadow] = []
        for shadow in found.iterator(chunk_size=ROWS_AT_ONCE):
            batch.append(shadow)
            if len(batch) == ROWS_AT_ONCE:
                yield from _rows_of(batch, request.actor)
                batch = []
        yield from _rows_of(batch, request.actor)

    header = (
        "address", "label", "transport", "state", "server", "times", "clients", "places", "with_inline_secrets",
        "first_seen", "last_seen", "ignored_until", "reason",
    )  # fmt: skip
    return stream_csv("shadow-servers", header, rows())


def _rows_of(batch: list[Shadow], actor: Actor) -> Iterator[list[Any]]:
    usage = usage_of(batch, actor)
    for each in batch:
        used = usage.get(each.pk)
        yield [
            each.canonical_uri, each.label, each.transport, each.state, each.server.name if each.server else "",
            each.times, ", ".join(used.clients) if used else "", used.places if used else 0,
            used.with_secrets if used else 0, each.first_seen, each.last_seen, each.ignored_until, each.reason,
        ]  # fmt: skip


def _shadow(request: Request, pk: UUID) -> Shadow:
    require(request.actor, "discovery.view")
    visible = Shadow.objects.visible_to(request.actor).select_related("server", "settled_by")
    return get_object_or_404(visible, pk=pk)


@require_safe
def shadow(request: Request, pk: UUID) -> HttpResponse:
    return _page(request, _shadow(request, pk))


def _page(request: Request, thing: Shadow, form: forms.Form | None = None) -> HttpResponse:
    """With the form that was refused, if one was, in place of a fresh one."""
    told = Sighting.objects.visible_to(request.actor).filter(shadow=thing)
    page = keyset_page(told.select_related("reported_by"), request, size=25)
    offered = _forms(request, thing) if allows(request.actor, "discovery.settle_shadow", thing) else {}
    for name, fresh in offered.items():
        if isinstance(form, type(fresh)):
            offered[name] = form
    context = {
        "nav": NAV,
        "thing": thing,
        "used": usage_of([thing], request.actor).get(thing.pk),
        "names": names_of(thing),
        "secrets": secrets_in(told),
        "references": references_in(told),
        "page": page,
        "rows": [(each, client_name(each.client)) for each in page.items],
        "acts": offered,
        "refused": form,
        "lookups": ["servers"] if "link" in offered else [],
        "register_url": _wizard(request, thing),
    }
    return render(request, "discovery/shadow.html", context, status=status_of(form) if form else 200)


def _forms(request: Request, thing: Shadow) -> dict[str, forms.Form]:
    """The acts that the shadow's state allows."""
    found: dict[str, forms.Form] = {}
    if SHADOW.allows(thing.state, ShadowState.LINKED):
        found["link"] = LinkShadowForm(actor=request.actor, auto_id="link_%s")
    if SHADOW.allows(thing.state, ShadowState.IGNORED):
        found["ignore"] = IgnoreShadowForm(auto_id="ignore_%s")
    if thing.state in (ShadowState.LINKED, ShadowState.IGNORED):
        found["reopen"] = ReopenShadowForm(auto_id="reopen_%s")
    return found


def _wizard(request: Request, thing: Shadow) -> str:
    """The registration, filled in with what is known. Once a server has this address, the shadow settles by itself."""
    if thing.state not in (ShadowState.OPEN, ShadowState.IGNORED):
        return ""
    if not allows(request.actor, "catalog.register_server"):
        return ""
    return f"{reverse('portal:register_by_hand')}?{urlencode(wizard_facts(thing))}"


def _act(request: Request, pk: UUID, form: forms.Form, act: Callable[..., Shadow], said: str) -> HttpResponse:
    thing = _shadow(request, pk)
    if run(form, partial(act, actor=request.actor, shadow=thing)):
        messages.success(request, said)
        return redirect("discovery:shadow", pk)
    return _page(request, thing, form)


@require_POST
def link(request: Request, pk: UUID) -> HttpResponse:
    form = LinkShadowForm(request.POST, actor=request.actor, auto_id="link_%s")
    return _act(request, pk, form, services.link_shadow, _("Linked. What is seen of it from now on is the server's."))


@require_POST
def ignore(request: Request, pk: UUID) -> HttpResponse:
    form = IgnoreShadowForm(request.POST, auto_id="ignore_%s")
    return _act(request, pk, form, services.ignore_shadow, _("Left alone until that day; it is still counted."))


@require_POST
def reopen(request: Request, pk: UUID) -> HttpResponse:
    form = ReopenShadowForm(request.POST, auto_id="reopen_%s")
    return _act(request, pk, form, services.reopen_shadow, _("Open again."))


@require_safe
def server_sightings(request: Request, pk: UUID) -> HttpResponse:
    """The panel of the server page: in whose configurations it was seen."""
    require(request.actor, "discovery.view")
    server = get_object_or_404(Server.objects.visible_to(request.actor), pk=pk)
    told = Sighting.objects.visible_to(request.actor).of_server(server)
    newest = list(told.select_related("reported_by")[: ON_SERVER_PAGE + 1])
    context = {
        "server": server,
        "elsewhere": 0 if newest else Sighting.objects.of_server(server).count(),
        "rows": [(each, client_name(each.client)) for each in newest[:ON_SERVER_PAGE]],
        "total": told.count() if len(newest) > ON_SERVER_PAGE else 0,
        "secrets": secrets_in(told),
    }
    template = "discovery/_seen_in.html" if request.htmx else "discovery/seen_in.html"
    response = render(request, template, context | {"nav": "servers"})
    response["Vary"] = "HX-Request"
    return response
