"""The signature under one's decisions, its receipt, and the second person whom a hasty set of decisions needs."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from registry.core import limits
from registry.core.canonical import canonical_json
from registry.core.errors import NotFound, NotSignedIn, RegistryError
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.independence import spoken_to
from registry.core.pagination import Page, keyset_page
from registry.core.permissions import require
from registry.reviews import carefulness, services, signing
from registry.reviews.cadence import REASON_REQUIRED
from registry.reviews.forms import QualityForm, SignOffForm
from registry.reviews.models import Campaign, Decision, Item, QualityVerdict, SignOff, WorkItem
from registry.reviews.services import quality
from registry.reviews.services.sign_off import signed_form, why_nothing
from registry.reviews.states import OPEN_ITEM, CampaignState, WorkItemState
from registry.reviews.views.campaigns import sign_off_of, visible_campaign

PAGE = 50
HASTY_SHOWN = 8


@dataclass(frozen=True)
class Quality:
    """What the page says about how carefully one decided; `row` is there once somebody tried to sign or asked."""

    found: quality.Assessment
    row: QualityVerdict | None

    @property
    def verdict(self) -> str:
        return self.row.verdict if self.row is not None else self.found.verdict

    @property
    def reasons(self) -> list[str]:
        return list(self.row.reasons) if self.row is not None else self.found.reasons

    @property
    def confirmed(self) -> bool:
        return self.row is not None and quality.is_confirmed(self.row)

    @property
    def blocks(self) -> bool:
        return self.verdict == carefulness.Verdict.RED and not self.confirmed

    @property
    def figures(self) -> list[tuple[str, str, str]]:
        """Name, own figure, the others' figure."""
        own, peers = self.found.metrics, self.found.metrics.peers
        return [
            (
                _("Median time"),
                _seconds(own.median_ms),
                _seconds(peers.median_ms) if peers else "",
            ),
            (_("Kept as they are"), _percent(own.kept), _percent(peers.kept) if peers else ""),
            (_("Evidence opened"), _percent(own.opened), _percent(peers.opened) if peers else ""),
        ]


def _percent(share: float) -> str:
    return _("%(n)d %%") % {"n": round(100 * share)}


def _seconds(ms: int) -> str:
    seconds = ms / 1000
    if seconds >= 90:
        return _("%(n)d min") % {"n": round(seconds / 60)}
    return _("%(n)s s") % {"n": f"{seconds:.1f}" if seconds < 10 else round(seconds)}


def _quality(request: Request, campaign: Campaign) -> Quality | None:
    actor = request.actor
    found = quality.look_at(actor.user_id, campaign) if actor.user_id is not None else None
    if found is None:
        return None
    row = (
        QualityVerdict.objects.visible_to(actor)
        .filter(campaign=campaign, reviewer=actor.user_id, stage=campaign.stage, drafts_digest=found.digest)
        .select_related("confirmation__by")
        .first()
    )
    return Quality(found, row)


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class SignOffView(View):
    """One's own decisions, counted and signed."""

    request: Request

    def _page(self, campaign: Campaign, form: SignOffForm) -> HttpResponse:
        reviewer = self.request.actor.user_id
        drafts = signing.drafts_by_consequence(campaign, reviewer)
        page: Page[Decision] = keyset_page(drafts, self.request, order=("rank", "id"), size=PAGE)
        by_value = signing.count_by_value(campaign, reviewer)
        found = _quality(self.request, campaign)
        form.fields["statement"].initial = signing.true_statement(found.found.metrics if found else None)
        # All of them, not only this page: a hasty decision on a critical thing must not hide on page forty.
        hasty = drafts.filter(
            decided_ms__lt=carefulness.LIMITS.fast * 1000, work_item__item__tier__in=REASON_REQUIRED
        ).order_by("decided_ms", "id")[:HASTY_SHOWN]
        context = {
            "nav": "reviews",
            "campaign": campaign,
            "nothing": None if found else why_nothing(self.request.actor, campaign),
            "takes_signatures": campaign.state == CampaignState.ACTIVE,
            "tally": signing.tally(campaign, reviewer),
            "by_value": by_value,
            "page": page,
            "groups": signing.grouped(signing.lines(page.items, campaign), by_value),
            "quality": found,
            "limits": carefulness.LIMITS,
            "hasty": signing.lines(list(hasty), campaign) if found and found.found.metrics.fast_high else [],
            "shown": found.found.digest if found else "",
            "confirmers": quality.confirmers(campaign, reviewer) if found and found.blocks and reviewer else None,
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


@require_POST
def ask_confirmation(request: Request, pk: UUID) -> HttpResponse:
    """Put one's present drafts before a second person."""
    campaign = visible_campaign(request, pk)
    try:
        services.assess(actor=request.actor, campaign=campaign)
    except (NotFound, NotSignedIn):
        raise
    except RegistryError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, _("A second person is asked. Changing a decision asks again."))
    return redirect("reviews:sign_off", campaign.pk)


# --- The second person -----------------------------------------------------------------------------------


class QualityView(View):
    """A red verdict, the decisions it is about, and the word of somebody else."""

    request: Request

    def _verdict(self, pk: int) -> QualityVerdict:
        require(self.request.actor, "reviews.view")
        found: QualityVerdict | None = (
            QualityVerdict.objects.visible_to(self.request.actor)
            .select_related("reviewer", "campaign__owner", "confirmation__by")
            .filter(pk=pk)
            .first()
        )
        if found is None:
            raise NotFound
        return found

    def _page(self, verdict: QualityVerdict, form: QualityForm) -> HttpResponse:
        actor, campaign = self.request.actor, verdict.campaign
        now = quality.look_at(verdict.reviewer_id, campaign)
        current = now is not None and now.digest == verdict.drafts_digest
        drafts = signing.drafts_by_consequence(campaign, verdict.reviewer_id) if current else Decision.objects.none()
        seen = drafts.filter(work_item__item__in=Item.objects.visible_to(actor))
        page: Page[Decision] = keyset_page(seen, self.request, order=("decided_ms", "id"), size=PAGE)
        open_now = current and verdict.verdict == carefulness.Verdict.RED and not quality.is_confirmed(verdict)
        second = quality.confirmers(campaign, verdict.reviewer_id) if open_now else None
        context = {
            "nav": "reviews",
            "campaign": campaign,
            "verdict": verdict,
            "quality": Quality(now, verdict) if now is not None and current else None,
            "current": current,
            "confirmed": quality.is_confirmed(verdict),
            "page": page,
            "hidden": drafts.count() - seen.count(),
            "lines": signing.lines(page.items, campaign),
            "confirms": second is not None and actor.user in second.able,
            "barred": spoken_to(second.barred.get(actor.user, ""))
            if second is not None and actor.user is not None
            else "",
            "confirmers": second,
        }
        return answer(self.request, "reviews/quality.html", form, context)

    def get(self, request: Request, pk: int) -> HttpResponse:
        return self._page(self._verdict(pk), QualityForm())

    def post(self, request: Request, pk: int) -> HttpResponse:
        verdict = self._verdict(pk)
        form = QualityForm(request.POST)

        def act(*, reason: str) -> Any:
            return services.confirm_quality(actor=request.actor, verdict=verdict, reason=reason)

        if run(form, act) is None:
            return self._page(self._verdict(pk), form)
        messages.success(request, _("%(name)s can sign these decisions now.") % {"name": verdict.reviewer.name})
        return redirect("reviews:campaign", verdict.campaign_id)


# --- The receipt -----------------------------------------------------------------------------------------


@require_safe
def receipt(request: Request, pk: UUID) -> HttpResponse:
    """What was signed, with its hash; made to be printed."""
    signature = sign_off_of(request, pk)
    campaign = signature.campaign
    visible = Item.objects.visible_to(request.actor)
    decisions = (
        signature.decisions.filter(work_item__item__in=visible)
        .select_related("work_item__item")
        .defer("work_item__item__snapshot")
    )
    page: Page[Decision] = keyset_page(decisions, request, order="id", size=PAGE)
    own = request.actor.is_person(signature.reviewer_id)
    left = (
        WorkItem.objects.filter(
            item__campaign=campaign,
            reviewer=signature.reviewer_id,
            state=WorkItemState.OPEN,
            item__state__in=OPEN_ITEM,
        ).count()
        if own and campaign.state == CampaignState.ACTIVE
        else 0
    )
    return render(
        request,
        "reviews/receipt.html",
        {
            "nav": "reviews",
            "signature": signature,
            "campaign": campaign,
            "page": page,
            "decisions": page.items,
            "left": left,
            "verifiable": _shows_all(request, signature),
            "file": reverse("reviews:receipt_decisions", args=[signature.pk]),
        },
    )


def _shows_all(request: Request, signature: SignOff) -> bool:
    """Whether this reader sees every signed decision: the hash covers all of them or says nothing."""
    if signature.kind != SignOff.Kind.REVIEWER:
        return False
    seen = signature.decisions.filter(work_item__item__in=Item.objects.visible_to(request.actor))
    return seen.count() == signature.decision_count


@require_safe
@limits.counts_as("export")
def receipt_decisions(request: Request, pk: UUID) -> HttpResponse:
    """The signed decisions in the bytes that were hashed: SHA-256 of this file is the hash on the receipt."""
    signature = sign_off_of(request, pk)
    require(request.actor, "reviews.view")
    if not _shows_all(request, signature):
        raise NotFound
    decisions = signature.decisions.select_related("work_item").order_by("pk")
    body = canonical_json([signed_form(decision) for decision in decisions])
    name = f"decisions-{signature.decisions_root[:12]}.json"
    return HttpResponse(
        body, content_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
