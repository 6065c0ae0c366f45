"""Several equal items answered at once: outliers first, and taken out; a sample to open; one answer for the rest."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views import View

from registry.core import clock
from registry.core.errors import Invalid, NotFound, NotSignedIn, RegistryError
from registry.core.forms import answer, apply_error
from registry.core.http import Request
from registry.core.permissions import require
from registry.reviews import services
from registry.reviews.facts import reducible
from registry.reviews.forms import BulkForm
from registry.reviews.models import Campaign, Decision, WorkItem
from registry.reviews.presentation import sentence
from registry.reviews.services import bulk
from registry.reviews.services.decisions import latest_day
from registry.reviews.services.items import review_version
from registry.reviews.states import WorkItemState
from registry.reviews.views.campaigns import visible_campaign


def _asked_for(data: Any) -> list[UUID]:
    """The item ids of an address or a form, each once, in their order; what is no id is nothing."""
    found: dict[UUID, None] = {}
    for text in data.getlist("item"):
        try:
            found[UUID(text)] = None
        except ValueError:
            continue
    return list(found)


class Bulk(View):
    """`?item=` once asks for all that is equal to it, several times for exactly these."""

    request: Request

    def _own(self, campaign: Campaign, wanted: Sequence[UUID]) -> list[WorkItem]:
        """The reader's undecided work items about these, in the order asked for."""
        rows = WorkItem.objects.filter(
            item__campaign=campaign, item__in=wanted, reviewer=self.request.actor.user_id, state=WorkItemState.OPEN
        ).select_related("item__campaign")
        by_item = {row.item_id: row for row in rows}
        return [by_item[pk] for pk in wanted if pk in by_item]

    def _page(
        self, campaign: Campaign, wanted: Sequence[UUID], form: BulkForm, wrong: dict[UUID, list[str]] | None = None
    ) -> HttpResponse:
        own = self._own(campaign, wanted)
        found = bulk.Candidates()
        if own:
            # What is equal to a thing that must be decided singly is nothing: start from one that may be.
            first = next((row for row in own if row.item.tier in bulk.TIERS), own[0])
            chosen = {row.item_id for row in own} if len(wanted) > 1 else None
            found = bulk.bulk_candidates(actor=self.request.actor, work_item=first, chosen=chosen)
        wrong = wrong or {}
        rows = [
            {
                "item": candidate.item,
                "opened": candidate.opened,
                "version": review_version(candidate.work_item),
                "evidence_hash": candidate.item.seen.evidence_hash,
                "wrong": wrong.get(candidate.item.pk, []),
                "url": reverse("reviews:item", args=[campaign.pk, candidate.item.pk]),
            }
            for candidate in found.fit
        ]
        common = found.fit[0].item if found.fit else None
        context = {
            "nav": "reviews",
            "campaign": campaign,
            "asked": len(wanted),
            "found": found,
            "rows": rows,
            "sample": [
                {"item": c.item, "opened": c.opened, "url": reverse("reviews:item", args=[campaign.pk, c.item.pk])}
                for c in found.sample
            ],
            "most": bulk.MOST,
            "needed": bulk.sample_size(len(found.fit)),
            "opened": sum(candidate.opened for candidate in found.fit),
            "sentence": sentence(common.seen.evidence) if common is not None else "",
            "common": common,
            "atoms": reducible(common.seen.evidence) if common is not None else [],
            "latest": min((latest_day(candidate.item) for candidate in found.fit), default=None),
            "earliest": clock.today() + clock.days(1),
            "given": form.data if form.is_bound else {},
            "kept": form.data.getlist("kept") if form.is_bound else None,  # type: ignore[attr-defined]
        }
        return answer(self.request, "reviews/bulk.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        campaign = visible_campaign(request, pk)
        return self._page(campaign, _asked_for(request.GET), BulkForm())

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        campaign = visible_campaign(request, pk)
        wanted = _asked_for(request.POST)
        form = BulkForm(request.POST)
        # What was listed stays listed when the answer is refused, ticked or not.
        listed = _asked_for(request.GET) or wanted
        if not form.is_valid():
            return self._page(campaign, listed, form)
        facts = form.cleaned_data
        try:
            decisions = services.decide_bulk(
                actor=request.actor,
                campaign=campaign,
                work_items=self._own(campaign, wanted),
                evidence={item: request.POST.get(f"evidence-{item}", "") for item in wanted},
                versions={item: request.POST.get(f"version-{item}", "") for item in wanted},
                value=facts["value"],
                reason=facts["reason"],
                kept=facts["kept"] if facts["value"] == Decision.Value.CERTIFY_REDUCED else (),
                until=facts["until"] if facts["value"] == Decision.Value.CERTIFY_UNTIL else None,
            )
        except (NotFound, NotSignedIn):
            raise
        except Invalid as error:
            wrong = bulk.by_item(error)
            apply_error(form, bulk.without_items(error))
            return self._page(campaign, listed, form, wrong)
        except RegistryError as error:
            apply_error(form, error)
            return self._page(campaign, listed, form)
        return redirect("reviews:bulk_done", campaign.pk, decisions[0].bulk_id)


class BulkDone(View):
    """What one bulk drafted, and the way back."""

    def get(self, request: Request, pk: UUID, bulk_id: UUID) -> HttpResponse:
        campaign = visible_campaign(request, pk)
        require(request.actor, "reviews.view")
        drafts = (
            bulk.drafts_of_bulk(request.actor, campaign, bulk_id)
            .select_related("work_item__item")
            .defer("work_item__item__snapshot")
            .order_by("work_item__item__label", "pk")
        )
        found = list(drafts)
        if not found:
            raise NotFound("Nothing of this is left: it was signed, changed or taken back.")
        context = {"nav": "reviews", "campaign": campaign, "drafts": found, "bulk_id": bulk_id}
        return render(request, "reviews/bulk_done.html", context)

    def post(self, request: Request, pk: UUID, bulk_id: UUID) -> HttpResponse:
        campaign = visible_campaign(request, pk)
        number = services.undo_bulk(actor=request.actor, campaign=campaign, bulk_id=bulk_id)
        told = ngettext("%(n)d answer is taken back.", "%(n)d answers are taken back.", number) % {"n": number}
        messages.success(request, told)
        return redirect("reviews:workbench", campaign.pk)
