"""Reports: a campaign on paper, its rows as files, and how reviewers decide."""

from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from registry.audit.services import record_export
from registry.catalog.models import Tier
from registry.core import limits
from registry.core.errors import NotFound
from registry.core.http import Request
from registry.core.permissions import allows, require
from registry.reviews import reports
from registry.reviews.filters import CampaignItemFilter
from registry.reviews.models import AutomaticAction, SubjectKind, TemplateStage, Verification, WorkItemMove
from registry.reviews.template_form import in_words
from registry.reviews.views.campaigns import visible_campaign
from registry.reviews.views.packs import PeriodForm


@require_safe
@limits.counts_as("export")
def export(request: Request, pk: UUID, what: str = "items", form: str = "csv") -> StreamingHttpResponse:
    """The rows of a campaign one may see; of its items exactly those that the page's filters show."""
    campaign = visible_campaign(request, pk)
    if what not in reports.KINDS_OF_FILE or form not in ("csv", "json"):
        raise NotFound
    if what == "population":
        reports.require_population(request.actor, campaign)
    seen = campaign.items.visible_to(request.actor)
    items = CampaignItemFilter(request.GET, queryset=seen, request=request).answered()
    record_export(actor=request.actor, of=campaign, question=f"{what}?{request.GET.urlencode()}", form=form)
    return reports.answer_file(what, form, campaign, request.actor, items)


FILES = (
    ("items", gettext_lazy("Items with decisions")),
    ("population", gettext_lazy("Population and exclusions")),
    ("sign-offs", gettext_lazy("Signatures")),
    ("remediations", gettext_lazy("Remediations")),
)


_PARTS = {
    "by_people": gettext_lazy("settled by people"),
    "by_clock": gettext_lazy("settled by the clock"),
    "unsigned": gettext_lazy("decided, not signed"),
    "undecided": gettext_lazy("undecided"),
    "obsolete": gettext_lazy("obsolete"),
    "cancelled": gettext_lazy("cancelled"),
}
_HEADS = {
    "unsigned": gettext_lazy("Decided, not signed"),
    "obsolete": gettext_lazy("Obsolete: what they were about ended"),
    "cancelled": gettext_lazy("Cancelled with the campaign"),
}


@require_safe
def report(request: Request, pk: UUID) -> HttpResponse:
    """Everything about a campaign on one page that prints well."""
    campaign = visible_campaign(request, pk)
    kinds = campaign.scope.get("kinds", [])
    whole = reports.may_read_population(request.actor, campaign)
    context = {
        "nav": "reviews",
        "campaign": campaign,
        "report": reports.summary(campaign, request.actor),
        "files": [each for each in FILES if whole or each[0] != "population"],
        "kinds": [kind.label for kind in SubjectKind if kind in kinds],
        "scope": in_words(campaign.scope.get("filter", {}), kinds),
        "rules": dict(TemplateStage.ReviewerRule.choices),
        "move_words": dict(WorkItemMove.Kind.choices),
        "tier_words": dict(Tier.choices),
        "action_words": dict(AutomaticAction.Kind.choices),
        "part_words": _PARTS,
        "part_heads": _HEADS,
        "source_words": dict(Verification.Source.choices),
    }
    return render(request, "reviews/report.html", context)


@require_safe
def statistics(request: Request) -> HttpResponse:
    """How reviewers decide, over all campaigns of a year: everybody's for those who oversee, else one's own."""
    require(request.actor, "reviews.view")
    context = {
        "nav": "reviews",
        "rows": reports.reviewer_table(request.actor),
        "sees_all": allows(request.actor, "reviews.view_statistics"),
        "may_pack": allows(request.actor, "reviews.pack_period"),
        "form": PeriodForm(),
    }
    return render(request, "reviews/statistics.html", context)
