"""What the people who run a campaign do with it: acts of one button, and acts with a form of their own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from registry.accounts.models import User
from registry.catalog.filters import as_uuid
from registry.core.errors import NotFound, RegistryError
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import require
from registry.reviews import services
from registry.reviews.assignment import seats_of_stage
from registry.reviews.forms import AssignForm, ExtendForm, ReasonForm, SignOffForm
from registry.reviews.gate import gate, with_holders, without_reviewer
from registry.reviews.models import Campaign, Item
from registry.reviews.services.items import ASSIGNED_AT_ONCE, Assigned
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState
from registry.reviews.views.campaigns import visible_campaign

# --- Acts without a form ---------------------------------------------------------------------------------


def _done(request: Request, thing: Campaign, act: Callable[[], str]) -> HttpResponse:
    """Run an act, say what it did or why not, and go back to the campaign."""
    try:
        messages.success(request, act())
    except NotFound:
        raise
    except RegistryError as error:
        if error.status in (401, 403):
            raise
        messages.error(request, error.message)
    return redirect("reviews:campaign", thing.pk)


@require_POST
def activate(request: Request, pk: UUID) -> HttpResponse:
    thing = visible_campaign(request, pk)

    def act() -> str:
        services.activate_campaign(actor=request.actor, campaign=thing)
        return _("The campaign is active. Its reviewers find it in their inbox.")

    return _done(request, thing, act)


@require_POST
def retry(request: Request, pk: UUID) -> HttpResponse:
    """Look for reviewers once more."""
    thing = visible_campaign(request, pk)

    def act() -> str:
        found = services.retry_assignment(actor=request.actor, campaign=thing)
        return ngettext("%(n)d item found a reviewer.", "%(n)d items found a reviewer.", found) % {"n": found}

    return _done(request, thing, act)


@require_POST
def resume(request: Request, pk: UUID) -> HttpResponse:
    """Go on with a launch that failed."""
    thing = visible_campaign(request, pk)

    def act() -> str:
        services.retry_generation(actor=request.actor, campaign=thing)
        return _("The launch goes on from where it stopped.")

    return _done(request, thing, act)


@require_POST
def remind(request: Request, pk: UUID, reviewer: UUID) -> HttpResponse:
    thing = visible_campaign(request, pk)
    person = get_object_or_404(User, pk=reviewer)

    def act() -> str:
        count = services.remind_reviewer(actor=request.actor, campaign=thing, reviewer=person)
        return ngettext("%(name)s was reminded of %(n)d item.", "%(name)s was reminded of %(n)d items.", count) % {
            "name": person.name,
            "n": count,
        }

    return _done(request, thing, act)


@require_POST
def recheck(request: Request, pk: UUID) -> HttpResponse:
    """Compare the recorded facts with the present ones again."""
    thing = visible_campaign(request, pk)

    def act() -> str:
        moved = services.recheck_campaign(actor=request.actor, campaign=thing)
        if not moved:
            return _("The recorded facts still hold.")
        return ngettext("The facts of %(n)d item moved.", "The facts of %(n)d items moved.", moved) % {"n": moved}

    return _done(request, thing, act)


class Assign(View):
    """Everything that lacks a reviewer, and one person for several of them."""

    def _lacking(self, request: Request, thing: Campaign) -> QuerySet[Item]:
        return without_reviewer(thing).filter(pk__in=Item.objects.visible_to(request.actor))

    def _page(self, request: Request, thing: Campaign, form: forms.Form, chosen: Collection[str] = ()) -> HttpResponse:
        lacking = with_holders(self._lacking(request, thing))
        context = {
            "nav": "reviews",
            "campaign": thing,
            "page": keyset_page(lacking.defer("snapshot"), request, order="id", count=True),
            "chosen": chosen,
            "asked": len(seats_of_stage(thing.stages[thing.stage - 1])),
            "most": ASSIGNED_AT_ONCE,
        }
        return answer(request, "reviews/campaign_assign.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        require(request.actor, "reviews.manage_campaign", thing)
        return self._page(request, thing, AssignForm())

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        require(request.actor, "reviews.manage_campaign", thing)
        form = AssignForm(request.POST)
        chosen = request.POST.getlist("item")
        told = run(form, lambda **facts: self._assign(request, thing, chosen, **facts))
        if told is None:
            return self._page(request, thing, form, chosen)
        name = form.cleaned_data["to"].name
        if told.work_items:
            words = ngettext("%(name)s has %(n)d item now.", "%(name)s has %(n)d items now.", len(told.work_items))
            messages.success(request, words % {"name": name, "n": len(told.work_items)})
        for item, why in told.refused[:NAMED]:
            messages.error(request, f"{item.label}: {why}")
        if (more := len(told.refused) - NAMED) > 0:
            messages.error(request, _("%(name)s may not have %(n)d more either.") % {"name": name, "n": more})
        left = self._lacking(request, thing).exists()
        return redirect("reviews:campaign_assign" if left else "reviews:campaign", thing.pk)

    def _assign(
        self, request: Request, thing: Campaign, chosen: Sequence[str], *, to: User, note: str, every: bool
    ) -> Assigned:
        if every:
            ids = list(self._lacking(request, thing).order_by("pk").values_list("pk", flat=True)[:ASSIGNED_AT_ONCE])
        else:
            ids = [pk for text in chosen if (pk := as_uuid(text)) is not None]
        return services.assign_reviewers(actor=request.actor, campaign=thing, items=ids, to=to, note=note)


NAMED = 8
"""So many refusals are told one by one."""


# --- Acts with a form ------------------------------------------------------------------------------------


class CampaignAct(View, ABC):
    """One form about one campaign: its page, its service call, and back to the campaign."""

    request: Request

    form_class: ClassVar[type[forms.Form]] = ReasonForm
    permission: ClassVar[str] = "reviews.manage_campaign"
    title: Any = ""
    intro: Any = ""
    button: Any = ""
    icon: ClassVar[str] = "check"
    destructive: ClassVar[bool] = False

    def make_form(self, data: Any = None) -> forms.Form:
        return self.form_class(data)

    @abstractmethod
    def act(self, thing: Campaign, **facts: Any) -> str: ...

    def facts(self, thing: Campaign) -> dict[str, Any]:
        return {}

    def _page(self, thing: Campaign, form: forms.Form) -> HttpResponse:
        context = {"nav": "reviews", "campaign": thing, "page_act": self, **self.facts(thing)}
        return answer(self.request, "reviews/campaign_act.html", form, context)

    def get(self, request: Request, pk: UUID, **kwargs: str) -> HttpResponse:
        thing = visible_campaign(request, pk)
        require(request.actor, self.permission, thing)
        return self._page(thing, self.make_form())

    def post(self, request: Request, pk: UUID, **kwargs: str) -> HttpResponse:
        thing = visible_campaign(request, pk)
        form = self.make_form(request.POST)
        if not form.is_valid():
            # What is wrong with the form is told to those it is for.
            require(request.actor, self.permission, thing)
        told = run(form, lambda **facts: self.act(thing, **facts))
        if told is None:
            return self._page(thing, form)
        messages.success(request, told)
        return redirect("reviews:campaign", thing.pk)


class Cancel(CampaignAct):
    title = gettext_lazy("Cancel this campaign")
    intro = gettext_lazy(
        "Everything is kept, and what was signed stays signed. Unsigned drafts are discarded, and what was open can be "
        "reviewed by another campaign."
    )
    button = gettext_lazy("Cancel the campaign")
    icon = "circle-x"
    destructive = True

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.cancel_campaign(actor=self.request.actor, campaign=thing, **facts)
        return _("The campaign is cancelled.")


class Extend(CampaignAct):
    form_class = ExtendForm
    title = gettext_lazy("Give reviewers more time")
    intro = gettext_lazy("Decisions after the deadline are refused. A later deadline is the way to accept them.")
    button = gettext_lazy("Move the deadline")
    icon = "calendar-clock"

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.extend_campaign(actor=self.request.actor, campaign=thing, **facts)
        return _("The deadline is moved.")


class Waive(CampaignAct):
    """Let the campaign start although the gate has a reservation, with a reason that everybody reads."""

    permission = "reviews.waive_gap"
    title = gettext_lazy("Let it start all the same")
    intro = gettext_lazy(
        "Covers what is missing at this moment and nothing that comes later. Your reason stands in the report."
    )
    button = gettext_lazy("Waive it")
    icon = "flag"

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.waive_gap(actor=self.request.actor, campaign=thing, gap=self.kwargs["gap"], **facts)
        return _("Your reason is recorded.")


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class Close(CampaignAct):
    permission = "reviews.close_campaign"
    title = gettext_lazy("Sign the campaign")
    intro = gettext_lazy(
        "Every item has its outcome. Your signature covers the population and all sign-offs; what was taken away then "
        "has to be verified."
    )
    button = gettext_lazy("Sign the campaign")
    icon = "signature"
    statement: Any = gettext_lazy(
        "This campaign is complete: every subject in scope was reviewed or excluded with a reason."
    )

    def make_form(self, data: Any = None) -> forms.Form:
        form = SignOffForm(data, request=self.request)
        form.fields["statement"].initial = self.statement
        return form

    def facts(self, thing: Campaign) -> dict[str, Any]:
        return {
            "gate": gate(thing, reader=self.request.actor),
            "unready": _unready(thing),
            "sign_offs": list(thing.sign_offs.select_related("reviewer")),
        }

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.close_campaign(
            actor=self.request.actor, campaign=thing, statement=facts["statement"], auth_method=facts["password"]
        )
        return _("The campaign is signed.")


class Accept(Close):
    """An auditor's signature under a completed campaign."""

    permission = "reviews.accept_campaign"
    title = gettext_lazy("Accept the campaign")
    intro = gettext_lazy(
        "Read the report first. Your signature says that the result can be relied upon; it covers the population and "
        "all signatures before it. Nobody accepts what they took part in."
    )
    button = gettext_lazy("Accept the campaign")
    icon = "badge-check"
    statement = gettext_lazy(
        "I have read the report, followed a sample of items to their evidence, and rely on the result."
    )

    def facts(self, thing: Campaign) -> dict[str, Any]:
        reachable = CAMPAIGN.allows(thing.state, CampaignState.ACCEPTED)
        why = _("Only a completed campaign can be accepted; this one is: %(state)s.") % {
            "state": thing.get_state_display()
        }
        return {**super().facts(thing), "unready": "" if reachable else why}

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.accept_campaign(
            actor=self.request.actor, campaign=thing, statement=facts["statement"], auth_method=facts["password"]
        )
        return _("The campaign is accepted.")


def _unready(thing: Campaign) -> str:
    """Why the campaign cannot be signed yet, or any more; empty when it can."""
    if thing.state == CampaignState.SIGN_OFF:
        return ""
    if left := thing.items.filter(state__in=OPEN_ITEM).count():
        words = ngettext(
            "%(n)d item has no outcome yet. The campaign can be signed when every item has one.",
            "%(n)d items have no outcome yet. The campaign can be signed when every item has one.",
            left,
        )
        return words % {"n": left}
    return _("The campaign is not waiting for a signature: %(state)s.") % {"state": thing.get_state_display()}
