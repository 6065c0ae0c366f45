"""The signature under one's decisions, and its receipt."""

from collections import Counter
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from registry.core.forms import answer, run
from registry.core.http import Request
from registry.reviews import desk, queries, services
from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.forms import SignOffForm
from registry.reviews.models import Campaign, Item
from registry.reviews.views.campaigns import sign_off_of, visible_campaign
from registry.reviews.views.queue import queue_of


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class SignOffView(View):
    """One's own decisions, counted and signed."""

    request: Request

    def _page(self, campaign: Campaign, form: SignOffForm) -> HttpResponse:
        queue = queue_of(self.request, campaign)
        drafts = [entry.decision for entry in queue.drafted if entry.decision is not None]
        times = sorted(draft.decided_ms for draft in drafts)
        kept = sum(draft.value in desk.CERTIFYING for draft in drafts)
        context = {
            "nav": "reviews",
            "campaign": campaign,
            "queue": queue,
            "progress": queries.progress(campaign, self.request.actor.user_id),
            "drafts": drafts,
            "median_seconds": round(times[len(times) // 2] / 1000) if times else 0,
            "kept_percent": round(100 * kept / len(drafts)) if drafts else 0,
            "by_answer": Counter(sorted(entry.answer for entry in queue.drafted if entry.decision is not None)).items(),
            "shown": services.drafts_digest(drafts),
            "quick": [
                e
                for e in queue.drafted
                if e.decision and e.decision.decided_ms < 5000 and e.item.tier in REASON_REQUIRED
            ],
            "taken": [e for e in queue.drafted if e.decision and e.decision.value in ("revoke", "certify_reduced")],
        }
        return answer(self.request, "reviews/sign_off.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        return self._page(visible_campaign(request, pk), SignOffForm(request=request))

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        campaign = visible_campaign(request, pk)
        form = SignOffForm(request.POST, request=request)

        def act(*, statement: str, password: str) -> Any:
            return services.sign_off(
                actor=request.actor,
                campaign=campaign,
                statement=statement,
                auth_method=password,
                expected=request.POST.get("expected", ""),
            )

        signature = run(form, act)
        if signature is None:
            return self._page(campaign, form)
        return redirect("reviews:receipt", signature.pk)


@require_safe
def receipt(request: Request, pk: UUID) -> HttpResponse:
    """What was signed, with its hash; made to be printed."""
    signature = sign_off_of(request, pk)
    visible = Item.objects.visible_to(request.actor)
    decisions = (
        signature.decisions.filter(work_item__item__in=visible)
        .select_related("work_item__item")
        .defer("work_item__item__snapshot")
        .order_by("id")
    )
    return render(
        request,
        "reviews/receipt.html",
        {
            "nav": "reviews",
            "signature": signature,
            "campaign": signature.campaign,
            "decisions": decisions,
            "entries": queue_of(request, signature.campaign).todo
            if request.actor.is_person(signature.reviewer_id)
            else [],
        },
    )
