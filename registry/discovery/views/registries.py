"""Pages of followed registries: the list, one with its entries, and what people do about them."""

from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from registry.catalog.models import Server
from registry.core.errors import Conflict
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.discovery import services
from registry.discovery.filters import EntryFilter
from registry.discovery.forms import RegistryForm
from registry.discovery.models import ImportJob, RegistryEntry, RegistrySource
from registry.discovery.services.registries import entry_counts
from registry.discovery.states import SourceState

NAV = "registries"
MANAGE = "discovery.follow_registries"


def _source(request: Request, pk: UUID) -> RegistrySource:
    require(request.actor, "discovery.view")
    visible = RegistrySource.objects.visible_to(request.actor).select_related("created_by")
    return get_object_or_404(visible, pk=pk)


@require_safe
def registries(request: Request) -> HttpResponse:
    require(request.actor, "discovery.view")
    offered = Count("entries", filter=~Q(entries__status="deleted"))
    troubled = Count("entries", filter=~Q(entries__problem=""))
    sources = RegistrySource.objects.visible_to(request.actor).annotate(offered=offered, troubled=troubled)
    context = {
        "nav": NAV,
        "page": keyset_page(sources, request, order="name"),
        "may_manage": allows(request.actor, MANAGE),
    }
    return render(request, "discovery/registries.html", context)


class NewRegistry(View):
    def get(self, request: Request) -> HttpResponse:
        require(request.actor, MANAGE)
        return self._page(request, RegistryForm())

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, MANAGE)
        form = RegistryForm(request.POST)
        if source := run(form, partial(services.follow_registry, actor=request.actor)):
            messages.success(request, _("Followed from now on; the first reading begins at once."))
            return redirect("discovery:registry", source.pk)
        return self._page(request, form)

    def _page(self, request: Request, form: RegistryForm) -> HttpResponse:
        return answer(request, "discovery/registry_form.html", form, {"nav": NAV})


class EditRegistry(View):
    def get(self, request: Request, pk: UUID) -> HttpResponse:
        source = _source(request, pk)
        require(request.actor, MANAGE)
        return self._page(request, RegistryForm.about(source), source)

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        source = _source(request, pk)
        require(request.actor, MANAGE)
        form = RegistryForm(request.POST)
        version = request.POST.get("version") or None
        act = partial(services.change_registry, actor=request.actor, source=source, expected_version=version)
        if run(form, act):
            messages.success(request, _("Saved."))
            return redirect("discovery:registry", pk)
        return self._page(request, form, source)

    def _page(self, request: Request, form: RegistryForm, source: RegistrySource) -> HttpResponse:
        return answer(request, "discovery/registry_form.html", form, {"nav": NAV, "source": source})


@require_safe
def registry(request: Request, pk: UUID) -> HttpResponse:
    source = _source(request, pk)
    entries = RegistryEntry.objects.visible_to(request.actor).filter(source=source)
    filterset = EntryFilter(request.GET, entries.defer("waiting"))
    page = keyset_page(filterset.qs, request, order=["name", "version"], count=True)
    here = Server.objects.visible_to(request.actor).filter(name__in={each.name for each in page})
    by_name = {server.name: server for server in here}
    context = {
        "nav": NAV,
        "source": source,
        "running": source.state == SourceState.RUNNING,
        "counts": entry_counts(source),
        "jobs": ImportJob.objects.visible_to(request.actor)
        .filter(pk__in=entries.exclude(job=None).order_by().values("job"))
        .order_by("-id")[:5],
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": page,
        "rows": [(each, by_name.get(each.name)) for each in page],
        "may_manage": allows(request.actor, MANAGE),
    }
    return render(request, "discovery/registry.html", context)


@require_safe
def progress(request: Request, pk: UUID) -> HttpResponse:
    """How far the walk is, asked for while it goes on; at its end the page reloads."""
    source = _source(request, pk)
    running = source.state == SourceState.RUNNING
    response = render(request, "discovery/_registry_progress.html", {"source": source, "running": running})
    if not running:
        response["HX-Refresh"] = "true"
    return response


def _act(act: Callable[..., RegistrySource], said: Promise) -> Callable[[Request, UUID], HttpResponse]:
    @require_POST
    def view(request: Request, pk: UUID) -> HttpResponse:
        source = _source(request, pk)
        try:
            act(actor=request.actor, source=source)
        except Conflict as error:
            messages.error(request, error.message)
        else:
            messages.success(request, str(said) % {"name": source.name})
        return redirect("discovery:registry", pk)

    return view


pause = _act(services.pause_registry, gettext_lazy("Paused. What was learned of %(name)s stays."))
resume = _act(services.resume_registry, gettext_lazy("%(name)s is followed again."))
sync = _act(services.sync_registry, gettext_lazy("%(name)s is read now."))
