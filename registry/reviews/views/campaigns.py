"""Campaigns: the list, and one campaign with everything that happens in it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, Prefetch, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from registry.core import clock
from registry.core.errors import NotFound
from registry.core.filtering import chosen
from registry.core.http import Request
from registry.core.pagination import COUNT_UP_TO, keyset_page
from registry.core.permissions import allows, require
from registry.reviews import queries
from registry.reviews.assignment import seats_of_stage
from registry.reviews.filters import CampaignFilter, CampaignItemFilter
from registry.reviews.gate import gate, with_holders, without_reviewer
from registry.reviews.models import (
    AutomaticAction,
    Campaign,
    ExceptionRecord,
    Item,
    PopulationEntry,
    Remediation,
    SignOff,
    WorkItem,
)
from registry.reviews.services.quality import confirmers, open_verdicts, reviewer_statistics
from registry.reviews.states import (
    CAMPAIGN,
    SETTLED,
    UNFINISHED,
    AutomaticActionState,
    CampaignState,
    WorkItemState,
)

RUNNING = (CampaignState.GENERATING,)
SHOWN = 20
"""Rows of the lists beside the items; the rest is one link away."""
SHOWN_VERDICTS = 5
"""Red verdicts named at once: who may confirm is worked out for each."""


# --- The list --------------------------------------------------------------------------------------------

LISTS: tuple[tuple[str, str | Promise], ...] = (
    (Campaign.Kind.PERIODIC, gettext_lazy("Campaigns")),
    (Campaign.Kind.MICRO, gettext_lazy("Micro-certifications")),
    (Campaign.Kind.INTAKE, gettext_lazy("Intakes")),
)


@require_safe
def campaigns(request: Request) -> HttpResponse:
    """One kind at a time: what people launch, what changes set off, and what registrations ask for."""
    require(request.actor, "reviews.view")
    kind = request.GET.get("kind") or Campaign.Kind.PERIODIC
    visible = Campaign.objects.visible_to(request.actor)
    filterset = CampaignFilter(
        request.GET, queryset=visible.filter(kind=kind).select_related("owner", "template"), request=request
    )
    rows = filterset.qs if filterset.is_valid() else visible.none()
    page = keyset_page(rows, request, count=True)
    measured = queries.progress_of_many(page.items)
    manages = allows(request.actor, "reviews.manage_templates")
    open_here = visible.exclude(state__in=CAMPAIGN_ENDED).order_by().values_list("kind")
    counted = dict(open_here.annotate(n=Count("pk")))
    return render(
        request,
        "reviews/campaigns.html",
        {
            "nav": "reviews",
            "kind": kind,
            "lists": [(name, words, counted.get(name, 0)) for name, words in LISTS],
            "filter": filterset,
            "chosen": [each for each in chosen(filterset, request) if each.label != filterset.filters["kind"].label],
            "page": page,
            "rows": [(campaign, measured[campaign.pk]) for campaign in page.items],
            "missed": queries.missed_runs(clock.today()) if manages else [],
            "may_manage": manages,
        },
    )


CAMPAIGN_ENDED = (
    CampaignState.COMPLETED,
    CampaignState.COMPLETED_WITH_EXCEPTIONS,
    CampaignState.ACCEPTED,
    CampaignState.CANCELLED,
)


# --- One campaign ----------------------------------------------------------------------------------------


def visible_campaign(request: Request, pk: UUID) -> Campaign:
    """The campaign, or `NotFound`: what one may not see does not exist."""
    require(request.actor, "reviews.view")
    rows = Campaign.objects.select_related("owner", "interim_for", "template")
    found: Campaign | None = rows.one_visible_to(request.actor, pk)
    if found is None:
        raise NotFound
    return found


@require_safe
@vary_on_headers("HX-Request")
def campaign(request: Request, pk: UUID) -> HttpResponse:
    """What the people who run it have to know, in a number of queries that does not grow with it."""
    thing = visible_campaign(request, pk)
    actor = request.actor
    filterset = CampaignItemFilter(request.GET, queryset=listed_items(thing, request), request=request)
    rows = filterset.qs if filterset.is_valid() else thing.items.none()
    manages = allows(actor, "reviews.manage_campaign", thing)
    listed: dict[str, Any] = {
        "campaign": thing,
        "running": thing.state in RUNNING,
        "chosen": chosen(filterset, request),
        "page": keyset_page(rows, request, order="id", count=True),
        "manages": manages,
        "cancels": manages and CAMPAIGN.allows(thing.state, CampaignState.CANCELLED),
    }
    if request.htmx and request.htmx.target == "results":
        # Typing in the filters: the list and what repeats the question, not everything that is counted around it.
        return render(request, "reviews/_campaign_results.html", listed)
    mine = WorkItem.objects.filter(item__campaign=thing, reviewer=actor.user_id)
    active = thing.state == CampaignState.ACTIVE
    context: dict[str, Any] = {
        **listed,
        "nav": "reviews",
        "steps": steps_of(thing),
        "standing": queries.standing(thing),
        "filter": filterset,
        "packs": bool(thing.population_hash) and allows(actor, "reviews.pack_campaign", thing),
        "closes": thing.state == CampaignState.SIGN_OFF and allows(actor, "reviews.close_campaign", thing),
        "accepts": CAMPAIGN.allows(thing.state, CampaignState.ACCEPTED)
        and allows(actor, "reviews.accept_campaign", thing),
        "reviews_here": active and mine.exclude(state=WorkItemState.CLOSED).exists(),
        "late": active and thing.due_at < clock.now(),
        "ownerless": thing.owner is not None and not thing.owner.is_active and thing.state in UNFINISHED,
        **_people(request, thing, manages),
        **_attention(request, thing),
        **_population(request, thing, manages),
        **_remediations(request, thing),
    }
    return render(request, "reviews/campaign.html", context)


def listed_items(thing: Campaign, request: Request) -> QuerySet[Item]:
    """The items one may see, light enough to list: no snapshots."""
    work = WorkItem.objects.select_related("reviewer").order_by("-created_at")
    items: QuerySet[Item] = thing.items.visible_to(request.actor).defer("snapshot")
    return items.prefetch_related(Prefetch("work_items", queryset=work))


@dataclass(frozen=True)
class Step:
    """A state of the machine as the page shows it: `done`, `now`, `todo` or `failed`."""

    word: str | Promise
    look: str
    detail: str = ""


_PATH = (
    CampaignState.GENERATING,
    CampaignState.STAGED,
    CampaignState.ACTIVE,
    CampaignState.SIGN_OFF,
    CampaignState.REMEDIATING,
    CampaignState.COMPLETED,
    CampaignState.ACCEPTED,
)
_WORDS = {
    CampaignState.GENERATING: gettext_lazy("Facts recorded"),
    CampaignState.STAGED: gettext_lazy("Launch gate"),
    CampaignState.ACTIVE: gettext_lazy("Under review"),
    CampaignState.SIGN_OFF: gettext_lazy("Signature"),
    CampaignState.REMEDIATING: gettext_lazy("Carried out"),
    CampaignState.COMPLETED: gettext_lazy("Completed"),
    CampaignState.ACCEPTED: gettext_lazy("Accepted"),
}
_PLACE = {
    CampaignState.DRAFT: -1,
    CampaignState.GENERATION_FAILED: 0,
    CampaignState.COMPLETED_WITH_EXCEPTIONS: _PATH.index(CampaignState.COMPLETED),
    CampaignState.CANCELLED: -1,
}


def steps_of(campaign: Campaign) -> list[Step]:
    """The way of a campaign from launch to acceptance, and where it is."""
    here = _PLACE.get(CampaignState(campaign.state), -2)
    here = _PATH.index(CampaignState(campaign.state)) if here == -2 else here
    found = []
    for place, state in enumerate(_PATH):
        if state == CampaignState.SIGN_OFF and campaign.kind != Campaign.Kind.PERIODIC:
            continue  # nobody signs a micro-certification as a whole
        look = "done" if place < here else "now" if place == here else "todo"
        if place == here and campaign.state == CampaignState.GENERATION_FAILED:
            look = "failed"
        elif place == here and state in (CampaignState.COMPLETED, CampaignState.ACCEPTED):
            look = "done"
        detail = ""
        if state == CampaignState.ACTIVE and len(campaign.stages) > 1:
            words = {"n": campaign.stage, "m": len(campaign.stages)}
            detail = _("stage %(n)d of %(m)d") % words if look == "now" else _("%(m)d stages") % words
        elif place == here and campaign.state == CampaignState.COMPLETED_WITH_EXCEPTIONS:
            detail = _("with exceptions")
        found.append(Step(_WORDS[state], look, detail))
    return found


def _people(request: Request, thing: Campaign, manages: bool) -> dict[str, Any]:
    """Who reviews, how far they are and how carefully: the last only for those who answer for the campaign."""
    rows = queries.reviewers_of(thing)
    oversees = manages or allows(request.actor, "reviews.view_all")
    statistics = reviewer_statistics(thing) if oversees and thing.kind != Campaign.Kind.INTAKE else []
    return {
        "reviewers": rows,
        "silent": sum(row.silent for row in rows),
        "statistics": statistics,
        "sign_offs": list(thing.sign_offs.select_related("reviewer")),
        "verdicts": [
            (verdict, confirmers(thing, verdict.reviewer_id))
            for verdict in (open_verdicts(thing)[:SHOWN_VERDICTS] if oversees else [])
        ],
    }


def _attention(request: Request, thing: Campaign) -> dict[str, Any]:
    """What does not go on by itself: nobody's items, items that lie still, automatic actions that wait for somebody."""
    found: dict[str, Any] = {}
    if thing.state == CampaignState.STAGED:
        found |= {
            "gate": gate(thing, reader=request.actor),
            "may_waive": allows(request.actor, "reviews.waive_gap", thing),
        }
    if thing.state != CampaignState.ACTIVE:
        return found
    seen = Item.objects.visible_to(request.actor)
    nobodys = with_holders(without_reviewer(thing))
    held = AutomaticAction.objects.filter(item__campaign=thing, state=AutomaticActionState.HELD)
    return found | {
        "stuck_count": nobodys.count(),
        "stuck": list(nobodys.filter(pk__in=seen).only("id", "label", "tier", "campaign", "state")[:SHOWN]),
        "asked": len(seats_of_stage(thing.stages[thing.stage - 1])),
        "still": queries.lying_still(thing.items.all())[: COUNT_UP_TO + 1].count(),
        "still_days": queries.STILL_AFTER_DAYS,
        "held_count": held.count(),
        "held": list(held.filter(item__in=seen).select_related("item").defer("item__snapshot")[:SHOWN]),
    }


def _population(request: Request, thing: Campaign, manages: bool) -> dict[str, Any]:
    excluded = PopulationEntry.objects.filter(campaign=thing).exclude(excluded_because="")
    count = excluded.count()
    found: dict[str, Any] = {"excluded_count": count}
    if manages and count:
        seen = excluded.visible_to(request.actor)
        found["excluded_hidden"] = count - seen.count()
        found["excluded"] = list(
            seen.select_related(
                "server", "grant__agent", "grant__server", "connection__server", "connection__system", "agent"
            ).order_by("position")[:SHOWN]
        )
    return found


def _remediations(request: Request, thing: Campaign) -> dict[str, Any]:
    """What was taken away and is not seen to be gone, and what is let through for a time."""
    made = Remediation.objects.filter(item__campaign=thing)
    by_state = dict(made.order_by().values_list("state").annotate(n=Count("pk")))
    if not by_state:
        return {}
    seen = made.filter(item__in=thing.items.visible_to(request.actor)).select_related(
        "item", "decision__work_item__reviewer"
    )
    waiting = seen.exclude(state__in=SETTLED).defer("item__snapshot").order_by("created_at", "pk")[:SHOWN]
    may, me = allows(request.actor, "reviews.confirm_remediation"), request.actor.user_id
    exceptions = ExceptionRecord.objects.filter(remediation__in=seen, ended_at=None, approver__isnull=False)
    return {
        "taken": sum(by_state.values()),
        "settled": sum(by_state.get(state, 0) for state in SETTLED),
        "remediations": [
            (row, may and not (row.decision and row.decision.work_item.reviewer_id == me)) for row in waiting
        ],
        "exceptions": list(
            exceptions.select_related("remediation__item", "approver")
            .defer("remediation__item__snapshot")
            .order_by("expires_at")[:SHOWN]
        ),
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


def sign_off_of(request: Request, pk: UUID) -> SignOff:
    """A signature on a campaign one may see."""
    require(request.actor, "reviews.view")
    campaigns_ = Campaign.objects.visible_to(request.actor)
    found = SignOff.objects.filter(pk=pk, campaign__in=campaigns_).select_related("reviewer", "campaign").first()
    if found is None:
        raise NotFound
    return found
