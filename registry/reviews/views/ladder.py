"""What the clock does when nobody answers: the automatic actions of a campaign, the simulation, and what called for a
review at once."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.http import require_safe

from registry.catalog.models import Agent, Server
from registry.core import clock
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews import services
from registry.reviews.cadence import end_of_day
from registry.reviews.filters import ActionFilter, TriggerFilter
from registry.reviews.forms import ReasonForm
from registry.reviews.models import AutomaticAction, Campaign, SubjectKind, Trigger
from registry.reviews.silence import breaker_limit
from registry.reviews.simulation import Simulation, foreseeable, simulate
from registry.reviews.states import AutomaticActionState, CampaignState
from registry.reviews.views.campaigns import visible_campaign
from registry.trust.models import Connection, Grant

State = AutomaticActionState
SHOWN = 50
AT_ONCE = 200
"""How many held actions one page lets somebody decide on: the whole list, but readable."""


def _actions(request: Request, thing: Campaign) -> Any:
    return (
        AutomaticAction.objects.visible_to(request.actor)
        .filter(item__campaign=thing)
        .select_related("item__campaign", "decided_by", "restored_by")
        .defer("item__snapshot")
    )


# --- The actions of a campaign ---------------------------------------------------------------------------


class Decide(forms.Form):
    """Which of the held actions, and why."""

    action = forms.ModelMultipleChoiceField(AutomaticAction.objects.none(), label=gettext_lazy("Actions"))
    reason = ReasonForm.base_fields["reason"]

    def __init__(self, *args: Any, held: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["action"].queryset = held  # type: ignore[attr-defined]
        self.fields["action"].error_messages["required"] = _("Choose at least one action.")


class Actions(View):
    """The list; held ones are released or declined together, with one reason."""

    request: Request

    def _page(self, thing: Campaign, form: forms.Form) -> HttpResponse:
        request = self.request
        queryset = _actions(request, thing)
        filterset = ActionFilter(request.GET, queryset=queryset, request=request)
        rows = filterset.qs if filterset.is_valid() else queryset.none()
        held = list(queryset.filter(state=State.HELD).order_by("due_at", "item")[:AT_ONCE])
        own = request.actor.is_person(thing.owner_id)
        context = {
            "nav": "reviews",
            "campaign": thing,
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": keyset_page(rows, request, count=True),
            "held": [(action, bars(request.actor.user_id, action.item)) for action in held],
            "held_count": queryset.filter(state=State.HELD).count(),
            "picked": request.POST.getlist("action"),
            "limit": breaker_limit(thing),
            "owns_it": own,
            "may_decide": allows(request.actor, "reviews.release_action") and not own,
            "may_restore": allows(request.actor, "reviews.restore_action"),
        }
        return answer(request, "reviews/ladder.html", form, context)

    def _form(self, thing: Campaign, data: Any = None) -> Decide:
        return Decide(data, held=_actions(self.request, thing).filter(state=State.HELD))

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        return self._page(thing, self._form(thing))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        declines = request.POST.get("verb") == "decline"
        act: Callable[..., int] = services.decline_actions if declines else services.release_actions
        form = self._form(thing, request.POST)
        number = run(form, lambda action, reason: act(actor=request.actor, actions=list(action), reason=reason))
        if number is None:
            return self._page(thing, form)
        if declines:
            told = ngettext(
                "%(n)d action is declined; its item has a new deadline.",
                "%(n)d actions are declined; their items have a new deadline.",
                number,
            )
        else:
            told = ngettext(
                "%(n)d action is released and carried out within a minute.",
                "%(n)d actions are released and carried out within a minute.",
                number,
            )
        messages.success(request, told % {"n": number})
        return redirect("reviews:actions", thing.pk)


class Restore(View):
    """Give back what was suspended, with a reason."""

    request: Request

    def _action(self, pk: UUID) -> AutomaticAction:
        require(self.request.actor, "reviews.view")
        found: AutomaticAction | None = (
            AutomaticAction.objects.visible_to(self.request.actor)
            .select_related("item__campaign")
            .defer("item__snapshot")
            .filter(pk=pk)
            .first()
        )
        if found is None:
            raise NotFound
        return found

    def _page(self, action: AutomaticAction, form: forms.Form) -> HttpResponse:
        context = {
            "nav": "reviews",
            "campaign": action.item.campaign,
            "item": action.item,
            "title": _("Restore %(item)s") % {"item": action.item.label},
            "intro": _(
                "What was suspended is in service again. It is not certified by that: a review of it opens at once."
            ),
            "button": _("Restore"),
            "icon": "rotate-ccw",
            "barred": bars(self.request.actor.user_id, action.item),
        }
        return answer(self.request, "reviews/ladder_act.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        action = self._action(pk)
        require(request.actor, "reviews.restore_action", action)
        return self._page(action, ReasonForm())

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        action = self._action(pk)
        form = ReasonForm(request.POST)
        if run(form, lambda reason: services.restore_action(actor=request.actor, action=action, reason=reason)) is None:
            return self._page(action, form)
        messages.success(request, _("It is in service again; a review of it opens."))
        return redirect("reviews:actions", action.item.campaign_id)


# --- Simulation ------------------------------------------------------------------------------------------


class DayForm(forms.Form):
    """A day up to which the clock is turned; without one, now."""

    day = forms.DateField(
        label=gettext_lazy("Until"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def clean_day(self) -> date | None:
        day: date | None = self.cleaned_data["day"]
        if day is not None and not foreseeable(day):
            raise ValidationError(_("Choose a day from today on, within half a year."))
        return day


def _simulated(thing: Campaign, form: DayForm) -> Simulation:
    day = form.cleaned_data["day"] if form.is_valid() else None
    return simulate(thing, end_of_day(day) if day else clock.now())


@require_safe
def simulation(request: Request, pk: UUID) -> HttpResponse:
    """What the ladder would do, with the items; every part of it by a day that is asked for."""
    thing = visible_campaign(request, pk)
    form = DayForm(request.GET or None, initial={"day": clock.today()})
    found = _simulated(thing, form)
    visible = set(
        thing.items.visible_to(request.actor)
        .filter(pk__in=[each.item_id for each in found.items[:SHOWN]])
        .values_list("pk", flat=True)
    )
    context = {
        "nav": "reviews",
        "campaign": thing,
        "form": form,
        "simulation": found,
        "shown": [each for each in found.items[:SHOWN] if each.item_id in visible],
        "limit": breaker_limit(thing),
    }
    return render(request, "reviews/simulation.html", context, status=422 if form.is_bound and form.errors else 200)


@require_safe
def panel(request: Request, pk: UUID) -> HttpResponse:
    """The ladder's part of a campaign's page: what is held back, what was done, what would happen now."""
    thing = visible_campaign(request, pk)
    actions = _actions(request, thing)
    now = clock.now()
    soon = simulate(thing, now + timedelta(days=7))
    context = {
        "nav": "reviews",
        "campaign": thing,
        "active": thing.state == CampaignState.ACTIVE,
        "simulation": soon.until(now),
        "soon": soon,
        "held_count": actions.filter(state=State.HELD).count(),
        "done_count": actions.filter(state=State.DONE).count(),
    }
    return render(request, "reviews/_ladder_panel.html" if request.htmx else "reviews/ladder_panel.html", context)


# --- What called for a review ----------------------------------------------------------------------------


@require_safe
def triggers(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    queryset = Trigger.objects.visible_to(request.actor).select_related(
        "server", "grant__agent", "grant__server", "connection__server", "connection__system", "agent", "campaign",
        "absorbed_by__campaign",
    ).defer("absorbed_by__snapshot")  # fmt: skip
    filterset = TriggerFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    context = {
        "nav": "reviews",
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(rows, request, count=True),
    }
    return render(request, "reviews/triggers.html", context)


class AskForm(forms.Form):
    reason = forms.CharField(
        label=gettext_lazy("Why now"),
        max_length=300,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy("Its reviewer reads it first."),
    )


PAGES = {
    SubjectKind.SERVER: "catalog:server",
    SubjectKind.AGENT: "catalog:agent",
    SubjectKind.GRANT: "trust:grant",
    SubjectKind.CONNECTION: "trust:connection",
}


class AskForReview(View):
    """Security or a campaign manager wants one thing reviewed now."""

    request: Request

    SEEN: ClassVar[dict[str, Callable[[Request], Any]]] = {
        SubjectKind.SERVER: lambda request: Server.objects.visible_to(request.actor),
        SubjectKind.GRANT: lambda request: Grant.objects.visible_to(request.actor),
        SubjectKind.CONNECTION: lambda request: Connection.objects.visible_to(request.actor),
        SubjectKind.AGENT: lambda request: Agent.objects.visible_to(request.actor),
    }

    def _subject(self, kind: str, pk: UUID) -> Any:
        require(self.request.actor, "reviews.view")
        find = self.SEEN.get(kind)
        found = find(self.request).filter(pk=pk).first() if find else None
        if found is None:
            raise NotFound
        return found

    def _page(self, kind: str, subject: Any, form: forms.Form) -> HttpResponse:
        context = {
            "nav": "reviews",
            "subject": subject,
            "back": reverse(PAGES[SubjectKind(kind)], args=[subject.pk]),
            "title": _("Review %(subject)s now") % {"subject": subject},
            "intro": _(
                "Opens a micro-certification within a minute: its facts as they are now, an independent reviewer, "
                "a deadline by its tier."
            ),
            "button": _("Ask for the review"),
            "icon": "shield-question-mark",
        }
        return answer(self.request, "reviews/ladder_act.html", form, context)

    def get(self, request: Request, kind: str, pk: UUID) -> HttpResponse:
        subject = self._subject(kind, pk)
        require(request.actor, "reviews.ask_for_review", subject)
        return self._page(kind, subject, AskForm())

    def post(self, request: Request, kind: str, pk: UUID) -> HttpResponse:
        subject = self._subject(kind, pk)
        form = AskForm(request.POST)

        def act(reason: str) -> Trigger:
            return services.ask_for_review(actor=request.actor, kind=kind, subject=subject, reason=reason)

        if run(form, act) is None:
            return self._page(kind, subject, form)
        messages.success(request, _("The review is asked for and opens within a minute."))
        return redirect("reviews:triggers")
