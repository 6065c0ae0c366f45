"""Audit packs: ask for one, see how far it is, take it away."""

from functools import partial
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from registry.core import limits
from registry.core.actors import Actor
from registry.core.errors import Conflict, NotFound
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews.downloads import answer_pack
from registry.reviews.models import AuditPack
from registry.reviews.services import packs as services
from registry.reviews.views.campaigns import visible_campaign


class PeriodForm(forms.Form):
    since = forms.DateField(label=gettext_lazy("First day"), widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label=gettext_lazy("Last day"), widget=forms.DateInput(attrs={"type": "date"}))


def _visible(actor: Actor, pk: UUID) -> AuditPack:
    require(actor, "reviews.view")
    rows = AuditPack.objects.visible_to(actor).select_related("campaign", "asked_by")
    found: AuditPack | None = rows.filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


class Packs(View):
    """The packs one may take, newest first, and the form for one of a period."""

    request: Request

    def _page(self, form: PeriodForm) -> HttpResponse:
        actor = self.request.actor
        rows = AuditPack.objects.visible_to(actor).select_related("campaign", "asked_by")
        context = {
            "nav": "reviews",
            "page": keyset_page(rows, self.request, order="-id"),
            "may_period": allows(actor, "reviews.pack_period"),
        }
        return answer(self.request, "reviews/packs/list.html", form, context)

    def get(self, request: Request) -> HttpResponse:
        require(request.actor, "reviews.view")
        return self._page(PeriodForm())

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, "reviews.pack_period")
        form = PeriodForm(request.POST)
        if pack := run(form, partial(services.pack_period, actor=request.actor)):
            return redirect("reviews:pack", pack.pk)
        return self._page(form)


@require_POST
def campaign_pack(request: Request, pk: UUID) -> HttpResponse:
    campaign = visible_campaign(request, pk)
    try:
        pack = services.pack_campaign(actor=request.actor, campaign=campaign)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("reviews:campaign", pk)
    return redirect("reviews:pack", pack.pk)


@require_POST
def again(request: Request, pk: UUID) -> HttpResponse:
    """The same question once more: the old pack stays in the list as what it was."""
    old = _visible(request.actor, pk)
    if old.campaign is not None:
        pack = services.pack_campaign(actor=request.actor, campaign=old.campaign)
    else:
        pack = services.pack_period(actor=request.actor, since=old.since, until=old.until)
    return redirect("reviews:pack", pack.pk)


@require_safe
def pack(request: Request, pk: UUID) -> HttpResponse:
    return render(request, "reviews/packs/pack.html", {"nav": "reviews", "pack": _visible(request.actor, pk)})


@require_safe
def progress(request: Request, pk: UUID) -> HttpResponse:
    """Asked every two seconds while it is made; then the page as a whole says more."""
    found = _visible(request.actor, pk)
    response = render(request, "reviews/packs/_progress.html", {"pack": found})
    if not found.running:
        response["HX-Refresh"] = "true"
    return response


@require_safe
@limits.counts_as("export")
def pack_file(request: Request, pk: UUID) -> HttpResponseBase:
    try:
        return answer_pack(request, request.actor, _visible(request.actor, pk))
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("reviews:pack", pk)
