"""Pages of probes: what was last seen of a server, a look while it lasts, and all looks there were."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST, require_safe

from registry.catalog.looks import note_look
from registry.catalog.models import Endpoint, Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.errors import Conflict, NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.limits import TooOften
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.discovery import queries, services
from registry.discovery.evidence import signed
from registry.discovery.filters import SnapshotFilter
from registry.discovery.models import Drift, DriftState, Probe, Snapshot
from registry.discovery.probing.posture import CHECKS
from registry.discovery.services.probes import UNFINISHED

NAV = "servers"


@dataclass(frozen=True)
class Checked:
    """One posture check as it is shown."""

    title: Any
    outcome: str
    detail: str


def posture_of(snapshot: Snapshot | None) -> list[Checked]:
    """The checks of a snapshot, what needs attention first."""
    if snapshot is None:
        return []
    shown = [
        Checked(CHECKS.get(each["check"], each["check"]), each["outcome"], each["detail"]) for each in snapshot.posture
    ]
    weight = {"fail": 0, "warn": 1, "unknown": 2}
    return sorted(shown, key=lambda each: weight.get(each.outcome, 3))


def _server(request: Request, pk: UUID) -> Server:
    require(request.actor, "discovery.view")
    server = get_object_or_404(Server.objects.visible_to(request.actor), pk=pk)
    note_look(request.actor, server)
    return server


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """Per remote endpoint: the last look, how it is guarded, when it is looked at next."""
    server = _server(request, pk)
    rows = queries.observed_endpoints(server)
    context = {
        "nav": NAV,
        "server": server,
        "by_clock": settings.PROBE_BY_CLOCK,
        "rows": [(row, posture_of(row.last)) for row in rows],
        "may_probe": allows(request.actor, "discovery.probe_server", server),
    }
    fragment = request.htmx and not request.htmx.boosted
    return render(request, "discovery/_probes_panel.html" if fragment else "discovery/probes_panel.html", context)


@require_safe
def looks(request: Request, pk: UUID) -> HttpResponse:
    """Every look at a server, whoever looked."""
    server = _server(request, pk)
    visible = queries.with_listing_before(Snapshot.objects.visible_to(request.actor).filter(server=server))
    filterset = SnapshotFilter(request.GET, visible.select_related("endpoint", "by", "probe"))
    context = {
        "nav": NAV,
        "server": server,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(filterset.qs, request, order="-id"),
        "may_probe": allows(request.actor, "discovery.probe_server", server),
    }
    return render(request, "discovery/looks.html", context)


@require_POST
def probe_now(request: Request, pk: UUID) -> HttpResponse:
    server = _server(request, pk)
    endpoint = None
    if given := request.POST.get("endpoint"):
        try:
            endpoint = Endpoint.objects.filter(server=server, pk=UUID(given)).first()
        except ValueError:
            endpoint = None
        if endpoint is None:
            raise NotFound
    try:
        probe = services.request_probe(actor=request.actor, server=server, endpoint=endpoint)
    except (Conflict, TooOften) as error:
        messages.error(request, error.message)
        return redirect("catalog:server", server.pk)
    return redirect("discovery:probe", probe.pk)


def _context(request: Request, pk: UUID) -> dict[str, Any]:
    require(request.actor, "discovery.view")
    visible = Probe.objects.visible_to(request.actor).select_related(
        "server", "watch__endpoint", "requested_by", "snapshot__definitions"
    )
    probe = get_object_or_404(visible, pk=pk)
    running = probe.state in UNFINISHED
    return {
        "nav": NAV,
        "probe": probe,
        "server": probe.server,
        "running": running,
        "steps": [{**step, "at": parse_datetime(step["at"])} for step in probe.steps],
        # Silence counts as well: a greeting that is not answered takes seconds.
        "seconds": max(0, int(((probe.finished_at or clock.now()) - probe.created_at).total_seconds())),
        "attempt": probe.watch.failures + 1 if running else 0,
        "signs": signed([probe.snapshot]),
        "drifts": Drift.objects.filter(watch=probe.watch, state=DriftState.OPEN) if probe.snapshot else [],
        "posture": posture_of(probe.snapshot),
        "may_edit": allows(request.actor, "catalog.edit_server", probe.server)
        and probe.server.lifecycle == Lifecycle.DRAFT,
        "may_probe": allows(request.actor, "discovery.probe_server", probe.server),
    }


@require_safe
def probe(request: Request, pk: UUID) -> HttpResponse:
    return render(request, "discovery/probe.html", _context(request, pk))


@require_safe
def progress(request: Request, pk: UUID) -> HttpResponse:
    """The live log by itself, asked for while the look lasts; at its end the page reloads with the result."""
    context = _context(request, pk)
    response = render(request, "discovery/_probe_steps.html", context)
    if not context["running"]:
        response["HX-Refresh"] = "true"
    return response
