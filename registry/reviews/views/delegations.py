"""Absences: who is away, and who stands in for them."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.http import require_POST

from registry.accounts.models import User
from registry.core import clock
from registry.core.errors import NotFound, RegistryError
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.permissions import allows, require
from registry.reviews import services
from registry.reviews.absence import visible_delegations
from registry.reviews.models import Delegation
from registry.reviews.pools import possible_reviewers

SHOWN = 50
"""Absences that are over, listed below those to come."""


class DelegationForm(forms.Form):
    """I am away from … to …, … stands in."""

    delegator = forms.ModelChoiceField(
        User.objects.none(),
        label=gettext_lazy("Who is away"),
        empty_label=gettext_lazy("I am"),
        required=False,
    )
    starts_on = forms.DateField(
        label=gettext_lazy("From"), initial=clock.today, widget=forms.DateInput(attrs={"type": "date"})
    )
    ends_on = forms.DateField(label=gettext_lazy("Until, the last day"), widget=forms.DateInput(attrs={"type": "date"}))
    delegate = forms.ModelChoiceField(
        User.objects.none(),
        label=gettext_lazy("Stands in"),
        empty_label=gettext_lazy("Choose somebody"),
        help_text=gettext_lazy("Gets what is undecided and what comes, except what they may not decide on."),
    )
    note = forms.CharField(
        label=gettext_lazy("Note for them"), required=False, max_length=300, widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(self, *args: Any, for_others: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["delegate"].queryset = possible_reviewers()  # type: ignore[attr-defined]
        if for_others:
            self.fields["delegator"].queryset = User.objects.filter(is_active=True)  # type: ignore[attr-defined]
        else:
            del self.fields["delegator"]


class Delegations(View):
    """What is in force or to come, what is over, and the form for a new one."""

    request: Request

    def _page(self, form: DelegationForm) -> HttpResponse:
        actor = self.request.actor
        today = clock.today()
        rows = visible_delegations(actor)
        current = list(rows.filter(ended_at=None, ends_on__gte=today).order_by("starts_on", "pk"))
        mine = next((row for row in current if actor.is_person(row.delegator_id) and row.starts_on <= today), None)
        context = {
            "nav": "reviews",
            "current": [(row, row.starts_on <= today, allows(actor, "reviews.delegate", row)) for row in current],
            "over": list(rows.exclude(ended_at=None, ends_on__gte=today).order_by("-starts_on", "-pk")[:SHOWN]),
            "staying": services.staying(mine)[:SHOWN] if mine else [],
        }
        return answer(self.request, "reviews/delegations.html", form, context)

    def _form(self, data: Any = None) -> DelegationForm:
        return DelegationForm(data, for_others=allows(self.request.actor, "reviews.delegate_others"))

    def get(self, request: Request) -> HttpResponse:
        require(request.actor, "reviews.view")
        return self._page(self._form())

    def post(self, request: Request) -> HttpResponse:
        require(request.actor, "reviews.view")
        form = self._form(request.POST)

        def act(*, delegator: User | None = None, **facts: Any) -> Delegation:
            away = delegator or request.actor.user
            return services.create_delegation(actor=request.actor, delegator=away, **facts)

        made = run(form, act)
        if made is None:
            return self._page(form)
        words = {"name": made.delegate.name, "day": date_format(made.ends_on, "j F Y")}
        messages.success(request, _("%(name)s stands in until %(day)s.") % words)
        return redirect("reviews:delegations")


@require_POST
def end(request: Request, pk: UUID) -> HttpResponse:
    """Back early: nobody stands in from now on."""
    require(request.actor, "reviews.view")
    row = visible_delegations(request.actor).filter(pk=pk).first()
    if row is None:
        raise NotFound
    try:
        services.end_delegation(
            actor=request.actor, delegation=row, expected_version=request.POST.get("version") or None
        )
        messages.success(request, _("It has ended. What was handed over stays where it is."))
    except RegistryError as error:
        if error.status in (401, 403):
            raise
        messages.error(request, error.message)
    return redirect("reviews:delegations")
