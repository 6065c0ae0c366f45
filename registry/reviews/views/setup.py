"""Pages that set campaigns up: templates, what is in scope, launching."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Max, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.http import require_safe

from registry.catalog.models import Tier
from registry.core import clock
from registry.core.errors import Invalid, NotFound, RegistryError
from registry.core.filtering import chosen
from registry.core.forms import answer, apply_error, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews import services
from registry.reviews.cadence import frozen_ladder, period_for, rungs, without_analysis
from registry.reviews.filters import TemplateFilter
from registry.reviews.forms import LaunchForm
from registry.reviews.models import Campaign, LadderStep, SubjectKind, Template
from registry.reviews.pools import BUSY_ABOVE
from registry.reviews.population import clean_scope, count_in_scope
from registry.reviews.preview import preview
from registry.reviews.services import AlreadyLaunched
from registry.reviews.services.templates import template_problems
from registry.reviews.template_form import TemplateForm, in_words, rearranged, started_from


@require_safe
def templates(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    running = Q(campaigns__state__in=["generating", "staged", "active", "sign_off", "remediating"])
    queryset = (
        Template.objects.select_related("owner")
        .prefetch_related("stages")
        .annotate(running=Count("campaigns", filter=running), last=Max("campaigns__launched_at"))
    )
    filterset = TemplateFilter(request.GET, queryset=queryset, request=request)
    rows = filterset.qs if filterset.is_valid() else queryset.none()
    return render(
        request,
        "reviews/templates.html",
        {
            "nav": "reviews",
            "filter": filterset,
            "chosen": chosen(filterset, request),
            "page": keyset_page(rows, request, count=True),
            "may_manage": allows(request.actor, "reviews.manage_templates"),
        },
    )


def _template(pk: UUID) -> Template:
    found = Template.objects.select_related("owner").filter(pk=pk).first()
    if found is None:
        raise NotFound
    return found


class TemplateEdit(View):
    """Create or change a template; the count of what is in scope follows the form."""

    request: Request

    def _page(self, form: TemplateForm, template: Template | None) -> HttpResponse:
        context: dict[str, Any] = {"nav": "reviews", "template": template, "acts": LadderStep.Act}
        return answer(self.request, "reviews/template_form.html", form, context)

    def get(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "reviews.manage_templates")
        template = _template(pk) if pk else None
        form = TemplateForm(initial=TemplateForm.initial_of(template)) if template else started_from(request.GET)
        return self._page(form, template)

    def post(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "reviews.manage_templates")
        template = _template(pk) if pk else None
        if wanted := request.POST.get("rearrange"):
            return self._page(rearranged(request.POST, wanted), template)
        form = TemplateForm(request.POST)

        def act(*, version: str, **facts: Any) -> Template:
            if template is None:
                return services.create_template(actor=request.actor, **facts)
            return services.update_template(
                actor=request.actor, template=template, expected_version=version or None, **facts
            )

        saved = run(form, act)
        if saved is None:
            _add_other_problems(form, template)
            return self._page(form, template)
        messages.success(request, _("%(name)s is saved.") % {"name": saved.name})
        return redirect("reviews:launch", saved.pk)


def _add_other_problems(form: TemplateForm, template: Template | None) -> None:
    """Where the form itself cannot be read, what else the service would refuse: all in one round."""
    if hasattr(form, "refused_with"):
        return  # the service was asked, and has said it all
    facts = {name: value for name, value in form.cleaned_data.items() if name != "version"}
    try:
        problems = template_problems(template, **facts)
    except RegistryError as error:
        apply_error(form, error)
        return
    for name, told in problems.items():
        if name in form.fields and name not in form.errors:
            form.add_error(name, told)


@require_safe
def count(request: Request) -> HttpResponse:
    """How much the form's scope holds at this moment; a fragment beside it."""
    require(request.actor, "reviews.manage_templates")
    form = TemplateForm(request.GET)
    cadence = form.raw("cadence_days")
    before = clock.now() + clock.days(int(cadence)) if form.raw("rolling") and cadence.isdecimal() else None
    try:
        counts = count_in_scope(form.chosen_kinds, clean_scope(form.scope, form.chosen_kinds), due_before=before)
    except Invalid:
        counts = {}
    return render(request, "reviews/_scope_count.html", {"counts": _named(counts), "total": sum(counts.values())})


def _named(counts: dict[str, int]) -> list[tuple[str, int]]:
    labels = {"server": _("servers"), "grant": _("grants"), "connection": _("connections"), "agent": _("agents")}
    return [(labels[kind], number) for kind, number in counts.items()]


ENDS = {
    LadderStep.Act.SUSPEND: gettext_lazy("suspended"),
    LadderStep.Act.LAPSE: gettext_lazy("lapsed"),
    LadderStep.Act.REVOKE: gettext_lazy("revoked"),
}


def silence(ladder: Mapping[str, Any], tiers: Iterable[str]) -> list[tuple[str, str]]:
    """What becomes of an item of each tier that nobody answers for, in words."""
    told = []
    for tier in (tier for tier in Tier if tier in set(tiers)):
        steps = [
            ngettext("%(act)s %(n)d day after the deadline", "%(act)s %(n)d days after the deadline", rung.day)
            % {"act": ENDS[rung.act], "n": rung.day}
            if rung.day
            else _("%(act)s at the deadline") % {"act": ENDS[rung.act]}
            for rung in rungs(ladder, tier)
            if rung.acts
        ]
        told.append((str(tier), ", ".join(steps)))
    return told


class Launch(View):
    """What a launch would do, and the button that does it."""

    request: Request

    def _page(self, form: LaunchForm, template: Template, already: Campaign | None = None) -> HttpResponse:
        try:
            found = preview(template, self.request.actor)
        except Invalid as error:
            # A team or an owner that the scope names is gone since it was saved.
            messages.error(self.request, " ".join(each for several in error.fields.values() for each in several))
            if allows(self.request.actor, "reviews.manage_templates"):
                return redirect("reviews:template_edit", template.pk)
            return redirect("reviews:templates")
        tiers = template.scope.get("tier") or Tier.values
        context = {
            "nav": "reviews",
            "template": template,
            "stages": list(template.stages.order_by("position").select_related("group")),
            "scope": in_words(template.scope, template.kinds),
            "kinds": [kind.label for kind in SubjectKind if kind in template.kinds],
            "silence": silence(frozen_ladder(template.ladder), tiers),
            "unexplained": without_analysis(template.cadence_days, tiers, template.risk_analysis),
            "preview": found,
            "counts": _named(found.counts),
            "busy_above": BUSY_ABOVE,
            "already": already,
            "may_launch": allows(self.request.actor, "reviews.launch_campaign"),
        }
        return answer(self.request, "reviews/launch.html", form, context)

    def get(self, request: Request, pk: UUID) -> HttpResponse:
        require(request.actor, "reviews.view")
        template = _template(pk)
        period = period_for(clock.today(), template.cadence_days)
        return self._page(LaunchForm(initial={"period": period}), template)

    def post(self, request: Request, pk: UUID) -> HttpResponse:
        # Before the form: what is wrong with it is shown beside the preview, which is not for everybody.
        require(request.actor, "reviews.launch_campaign")
        template = _template(pk)
        form = LaunchForm(request.POST)
        already: list[Campaign] = []

        def act(*, period: str) -> Campaign:
            try:
                return services.launch_campaign(actor=request.actor, template=template, period=period)
            except AlreadyLaunched as error:
                already.append(error.campaign)
                raise

        campaign = run(form, act)
        if campaign is None:
            return self._page(form, template, next(iter(already), None))
        return redirect("reviews:campaign", campaign.pk)
