"""Pages of secret sources: are the secrets where the catalog says, and are they rotated as promised?"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from registry.audit.services import record_export
from registry.catalog.looks import note_look
from registry.catalog.models import SecretSource, Server
from registry.core import clock, limits
from registry.core.actors import Actor
from registry.core.csv import stream_csv
from registry.core.errors import Conflict
from registry.core.filtering import chosen
from registry.core.forms import run, status_of
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.panels import panels_for
from registry.core.permissions import allows, require
from registry.discovery import services, stores
from registry.discovery.filters import SecretStateFilter
from registry.discovery.forms import AttestForm
from registry.discovery.models import SecretAttestation, SecretCheck
from registry.discovery.secret_states import age, is_explained_to, shown, sources_visible_to

NAV = "secret_sources"
VIEWS: tuple[tuple[str, "str | Promise"], ...] = (
    ("", gettext_lazy("All")),
    ("state=not_found&state=deleted", gettext_lazy("Missing")),
    ("state=stale&state=never_checked&state=cannot_check", gettext_lazy("Not known")),
    ("overdue=true", gettext_lazy("Rotation overdue")),
)


def _filtered(request: Request) -> SecretStateFilter:
    require(request.actor, "discovery.view")
    return SecretStateFilter(request.GET, shown(sources_visible_to(request.actor)), request=request)


@require_safe
def sources(request: Request) -> HttpResponse:
    filterset = _filtered(request)
    page = keyset_page(filterset.qs, request, order="-id", count=True)
    query = request.GET.urlencode()
    context = {
        "nav": NAV,
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": page,
        "rows": [_row(request.actor, each) for each in page.items],
        "views": [{"query": wanted, "title": title} for wanted, title in VIEWS],
        "query": query,
        "csv_url": f"{reverse('discovery:secret_sources_csv')}?{query}",
    }
    return render(request, "discovery/secret_sources.html", context)


def _row(actor: Actor, source: SecretSource) -> dict[str, Any]:
    """A source with what stands beside its state: nothing for those who do not answer for it."""
    if not is_explained_to(actor, source):
        return {"source": source, "explained": False, "askable": False, "attestable": False}
    watch = getattr(source, "watch", None)
    last = watch.last if watch else None
    return {
        "source": source,
        "explained": True,
        "last": last,
        "attestation": watch.attestation if watch else None,
        "due_at": watch.due_at if watch else None,
        "failures": watch.failures if watch else 0,
        "age": age(source, clock.today()),
        "why": last.detail if last and last.detail else stores.obstacle(source.kind),
        "askable": source.kind in stores.STORES,
        "attestable": source.kind != SecretSource.Kind.NONE,
    }


@require_safe
@limits.counts_as("export")
def sources_csv(request: Request) -> HttpResponseBase:
    """The list, as the page's filters show it."""
    found = _filtered(request).answered().order_by("-id")
    record_export(actor=request.actor, of="secret sources", question=request.GET.urlencode())
    header = (
        "server", "kind", "reference", "name", "state", "verified_at", "attested_until", "last_rotated_on",
        "rotation_interval_days", "rotate_by", "overdue", "rotation_enabled", "detail",
    )  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for source in found.iterator(chunk_size=500):
            row = _row(request.actor, source)
            if not row["explained"]:
                yield [source.server.name, source.kind, source.reference, source.name, source.state, *[None] * 8]
                continue
            last, attestation = row["last"], row["attestation"]
            yield [
                source.server.name, source.kind, source.reference, source.name, source.state, source.verified_at,
                attestation.until if attestation else None, source.rotated_on, source.rotation_interval_days,
                source.rotate_by, source.overdue, last.rotation_enabled if last else None, row["why"],
            ]  # fmt: skip

    return stream_csv("secret-sources", header, rows())


def _source(request: Request, pk: UUID) -> Any:
    require(request.actor, "discovery.view")
    return get_object_or_404(shown(sources_visible_to(request.actor)), pk=pk)


@require_safe
def source(request: Request, pk: UUID) -> HttpResponse:
    return _page(request, _source(request, pk))


def _page(request: Request, thing: Any, form: AttestForm | None = None) -> HttpResponse:
    """What is known of one source, and everything that was seen and said of it."""
    checks = SecretCheck.objects.visible_to(request.actor).filter(source=thing).select_related("by")
    words = SecretAttestation.objects.visible_to(request.actor).filter(source=thing).select_related("by")
    row = _row(request.actor, thing)
    may_attest = row["attestable"] and allows(request.actor, "discovery.attest_secret_source", thing.server)
    context = {
        "nav": NAV,
        "row": row,
        "source": thing,
        "server": thing.server,
        "page": keyset_page(checks, request, order="-id", size=25),
        "words": words[:20],
        "may_check": row["askable"] and allows(request.actor, "discovery.check_secret_source", thing),
        "form": (form or AttestForm()) if may_attest else None,
        "panels": panels_for("secret_source", thing.pk),
    }
    return render(request, "discovery/secret_source.html", context, status=status_of(form) if form else 200)


@require_POST
def check(request: Request, pk: UUID) -> HttpResponse:
    thing = _source(request, pk)
    try:
        seen = services.check_secret_source(actor=request.actor, source=thing)
    except Conflict as error:
        messages.error(request, error.message)
    else:
        said = seen.detail or seen.get_outcome_display()
        tell = messages.success if seen.outcome == SecretCheck.Outcome.VERIFIED else messages.warning
        tell(request, _("Asked: %(said)s") % {"said": said})
    return redirect("discovery:secret_source", pk)


@require_POST
def attest(request: Request, pk: UUID) -> HttpResponse:
    thing, form = _source(request, pk), AttestForm(request.POST)
    if run(form, partial(services.attest_secret_source, actor=request.actor, source=thing)):
        messages.success(request, _("Your word is kept, with its end."))
        return redirect("discovery:secret_source", pk)
    return _page(request, thing, form)


@require_safe
def server_panel(request: Request, pk: UUID) -> HttpResponse:
    """The panel of the server page."""
    require(request.actor, "discovery.view")
    server = get_object_or_404(Server.objects.visible_to(request.actor), pk=pk)
    note_look(request.actor, server)
    found = shown(sources_visible_to(request.actor).filter(server=server))
    context = {
        "nav": "servers",
        "server": server,
        "rows": [
            _row(request.actor, each) | {"may_check": allows(request.actor, "discovery.check_secret_source", each)}
            for each in found
        ],
        "may_attest": allows(request.actor, "discovery.attest_secret_source", server),
    }
    fragment = request.htmx and not request.htmx.boosted
    response = render(request, "discovery/_secrets_panel.html" if fragment else "discovery/secrets_panel.html", context)
    response["Vary"] = "HX-Request"
    return response
