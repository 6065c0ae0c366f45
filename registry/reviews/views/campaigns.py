"""Campaigns: the list, one campaign with everything that happens in it, and its acts."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from registry.accounts.models import User
from registry.core import clock
from registry.core.csv import stream_csv
from registry.core.errors import NotFound, RegistryError
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import bars
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews import services
from registry.reviews.filters import CampaignFilter, CampaignItemFilter
from registry.reviews.forms import ConfirmForm, ExtendForm, ReasonForm, SignOffForm
from registry.reviews.models import Campaign, Decision, Item, PopulationEntry, Remediation, SignOff, WorkItem
from registry.reviews.population import gate, without_reviewer
from registry.reviews.queries import progress, progress_of_many, reviewers_of
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState, WorkItemState

RUNNING = (CampaignState.GENERATING,)
SHOWN_EXCLUSIONS = 100


@require_safe
def campaigns(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    queryset = Campaign.objects.visible_to(request.actor).select_related("owner", "template")
    filterset = CampaignFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    page = keyset_page(rows, request, count=True)
    measured = progress_of_many(page.items)
    return render(
        request,
        "reviews/campaigns.html",
        {
            "nav": "reviews",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": page,
            "rows": [(campaign, measured[campaign.pk]) for campaign in page.items],
            "may_manage": allows(request.actor, "reviews.manage_templates"),
        },
    )


def visible_campaign(request: Request, pk: UUID) -> Campaign:
    """The campaign, or `NotFound`: what one may not see does not exist."""
    require(request.actor, "reviews.view")
    found: Campaign | None = (
        Campaign.objects.visible_to(request.actor).select_related("owner", "template").filter(pk=pk).first()
    )
    if found is None:
        raise NotFound
    return found


@require_safe
def campaign(request: Request, pk: UUID) -> HttpResponse:
    thing = visible_campaign(request, pk)
    actor = request.actor
    queryset = (
        thing.items.visible_to(actor)
        .defer("snapshot")
        .prefetch_related(
            Prefetch("work_items", queryset=WorkItem.objects.select_related("reviewer").order_by("-created_at"))
        )
    )
    filterset = CampaignItemFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    manages = allows(actor, "reviews.manage_campaign", thing)
    mine = WorkItem.objects.filter(item__campaign=thing, reviewer=actor.user_id)
    context: dict[str, Any] = {
        "nav": "reviews",
        "campaign": thing,
        "running": thing.state in RUNNING,
        "progress": progress(thing),
        "filter": filterset,
        "chosen": chosen(filterset, request),
        "page": keyset_page(rows, request, order="id", count=True),
        "manages": manages,
        "closes": thing.state == CampaignState.SIGN_OFF and allows(actor, "reviews.close_campaign", thing),
        "cancels": manages and CAMPAIGN.allows(thing.state, CampaignState.CANCELLED),
        "reviews_here": mine.exclude(state=WorkItemState.CLOSED).exists() and thing.state == CampaignState.ACTIVE,
        "reviewers": reviewers_of(thing),
        "sign_offs": list(thing.sign_offs.select_related("reviewer")),
        "late": thing.state == CampaignState.ACTIVE and thing.due_at < clock.now(),
        **_gate_context(thing, manages),
        **_remediations(request, thing),
    }
    return render(request, "reviews/campaign.html", context)


def _gate_context(thing: Campaign, manages: bool) -> dict[str, Any]:
    """What keeps the campaign from starting, or an item from being decided, and what was left out of it."""
    excluded = PopulationEntry.objects.filter(campaign=thing).exclude(excluded_because="")
    found: dict[str, Any] = {"excluded_count": excluded.count()}
    if thing.state == CampaignState.STAGED:
        found["gate"] = gate(thing)
    elif thing.state == CampaignState.ACTIVE:
        found["stuck"] = list(without_reviewer(thing)[:20])
    if manages:
        # Named only to those who run the campaign: an excluded subject may be confidential.
        found["excluded"] = list(
            excluded.select_related("server", "grant__agent", "grant__server", "connection__server",
                                    "connection__system").order_by("position")[:SHOWN_EXCLUSIONS]
        )  # fmt: skip
    return found


def _remediations(request: Request, thing: Campaign) -> dict[str, Any]:
    rows = list(
        Remediation.objects.filter(item__campaign=thing, item__in=thing.items.visible_to(request.actor))
        .select_related("item", "decision__work_item__reviewer")
        .prefetch_related("verifications__by")
        .order_by("created_at", "pk")
    )
    may, me = allows(request.actor, "reviews.confirm_remediation"), request.actor.user_id
    return {
        "remediations": [
            (row, may and row.state != "verified" and not (row.decision and row.decision.work_item.reviewer_id == me))
            for row in rows
        ]
    }


@require_safe
def progress_fragment(request: Request, pk: UUID) -> HttpResponse:
    """The bar of a launch. Once it is done the answer makes htmx load the whole page."""
    thing = visible_campaign(request, pk)
    running = thing.state in RUNNING
    response = render(request, "reviews/_launching.html", {"campaign": thing, "running": running})
    if not running and request.htmx:
        response["HX-Refresh"] = "true"
    return response


@require_safe
def items_csv(request: Request, pk: UUID) -> StreamingHttpResponse:
    """Exactly the items of this view, with their answers."""
    thing = visible_campaign(request, pk)
    queryset: QuerySet[Item] = thing.items.visible_to(request.actor).defer("snapshot").order_by("id")
    filterset = CampaignItemFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    header = [
        "item", "kind", "label", "tier", "state", "outcome", "reviewer", "decision", "kept", "until", "reason",
        "decided_at", "signed_at", "fingerprint", "evidence_hash",
    ]  # fmt: skip

    def lines() -> Iterator[list[Any]]:
        answered = Prefetch("decisions", queryset=Decision.objects.order_by("decided_at"))
        work = WorkItem.objects.select_related("reviewer").prefetch_related(answered).order_by("created_at")
        for item in rows.prefetch_related(Prefetch("work_items", queryset=work)).iterator(chunk_size=500):
            held = list(item.work_items.all())
            last = held[-1] if held else None
            given = list(last.decisions.all())[-1:] if last else []
            decision = given[0] if given else None
            yield [
                item.pk, item.kind, item.label, item.tier, item.state, item.outcome,
                last.reviewer.email if last else "", decision.value if decision else "",
                " ".join(decision.kept) if decision else "", decision.until if decision else "",
                decision.reason if decision else "", decision.decided_at if decision else "",
                decision.signed_at if decision else "", item.fingerprint, item.evidence_hash,
            ]  # fmt: skip

    return stream_csv(f"campaign-{thing.period}", header, lines())


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


# --- Acts with a form ------------------------------------------------------------------------------------


class CampaignAct(View):
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

    def act(self, thing: Campaign, **facts: Any) -> str:
        raise NotImplementedError

    def facts(self, thing: Campaign) -> dict[str, Any]:
        return {}

    def _page(self, thing: Campaign, form: forms.Form) -> HttpResponse:
        context = {"nav": "reviews", "campaign": thing, "page_act": self, **self.facts(thing)}
        return answer(self.request, "reviews/campaign_act.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        require(request.actor, self.permission, thing)
        return self._page(thing, self.make_form())

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        thing = visible_campaign(request, pk)
        form = self.make_form(request.POST)
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

    def make_form(self, data: Any = None) -> forms.Form:
        form = SignOffForm(data, request=self.request)
        form.fields["statement"].initial = _(
            "This campaign is complete: every subject in scope was reviewed or excluded with a reason."
        )
        return form

    def facts(self, thing: Campaign) -> dict[str, Any]:
        return {
            "gate": gate(thing),
            "unready": _unready(thing),
            "progress": progress(thing),
            "sign_offs": list(thing.sign_offs.select_related("reviewer")),
        }

    def act(self, thing: Campaign, **facts: Any) -> str:
        services.close_campaign(
            actor=self.request.actor, campaign=thing, statement=facts["statement"], auth_method=facts["password"]
        )
        return _("The campaign is signed.")


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


class Confirm(View):
    """A second, independent person says whether a remediation took effect."""

    request: Request

    def _remediation(self, pk: UUID) -> Remediation:
        actor = self.request.actor
        require(actor, "reviews.view")
        found = (
            Remediation.objects.filter(pk=pk, item__in=Item.objects.visible_to(actor))
            .select_related("item__campaign", "decision__work_item__reviewer")
            .prefetch_related("verifications__by")
            .first()
        )
        if found is None:
            raise NotFound
        return found

    def _page(self, row: Remediation, form: ConfirmForm) -> HttpResponse:
        context = {"nav": "reviews", "remediation": row, "barred": bars(self.request.actor.user_id, row.item)}
        return answer(self.request, "reviews/remediation.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        row = self._remediation(pk)
        require(request.actor, "reviews.confirm_remediation", row)
        return self._page(row, ConfirmForm(initial={"version": row.etag}))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        row = self._remediation(pk)
        form = ConfirmForm(request.POST)

        def act(*, version: str, **facts: Any) -> Remediation:
            return services.confirm_remediation(
                actor=request.actor, remediation=row, expected_version=version or None, **facts
            )

        if run(form, act) is None:
            return self._page(row, form)
        messages.success(request, _("Your observation is recorded."))
        return redirect("reviews:campaign", row.item.campaign_id)


def sign_off_of(request: Request, pk: UUID) -> SignOff:
    """A signature on a campaign one may see."""
    require(request.actor, "reviews.view")
    campaigns_ = Campaign.objects.visible_to(request.actor)
    found = SignOff.objects.filter(pk=pk, campaign__in=campaigns_).select_related("reviewer", "campaign").first()
    if found is None:
        raise NotFound
    return found
