"""Pages that set campaigns up: templates, what is in scope, launching."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Max, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.http import require_safe

from registry.core import clock
from registry.core.errors import Invalid, NotFound
from registry.core.filtering import chosen
from registry.core.forms import answer, run
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require
from registry.reviews import services
from registry.reviews.cadence import period_for
from registry.reviews.filters import TemplateFilter
from registry.reviews.forms import LaunchForm, TemplateForm
from registry.reviews.models import Campaign, SubjectKind, Template
from registry.reviews.population import BUSY_ABOVE, count_in_scope
from registry.reviews.preview import preview
from registry.reviews.services import AlreadyLaunched
from registry.reviews.services.templates import clean_scope


@require_safe
def templates(request: Request) -> HttpResponse:
    require(request.actor, "reviews.view")
    running = Q(campaigns__state__in=["generating", "staged", "active", "sign_off", "remediating"])
    queryset = Template.objects.select_related("owner").annotate(
        running=Count("campaigns", filter=running), last=Max("campaigns__launched_at")
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
        context: dict[str, Any] = {"nav": "reviews", "template": template, "sections": _sections(form)}
        return answer(self.request, "reviews/template_form.html", form, context)

    def get(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "reviews.manage_templates")
        template = _template(pk) if pk else None
        return self._page(TemplateForm(initial=TemplateForm.initial_of(template) if template else None), template)

    def post(self, request: Request, pk: UUID | None = None) -> HttpResponse:
        require(request.actor, "reviews.manage_templates")
        template = _template(pk) if pk else None
        form = TemplateForm(request.POST)

        def act(*, version: str, **facts: Any) -> Template:
            if template is None:
                return services.create_template(actor=request.actor, **facts)
            return services.update_template(
                actor=request.actor, template=template, expected_version=version or None, **facts
            )

        saved = run(form, act)
        if saved is None:
            return self._page(form, template)
        messages.success(request, _("%(name)s is saved.") % {"name": saved.name})
        return redirect("reviews:launch", saved.pk)


def _sections(form: TemplateForm) -> list[tuple[str, list[Any]]]:
    def fields(*names: str) -> list[Any]:
        return [form[name] for name in names]

    return [
        (_("What"), fields("name", "kinds")),
        (_("Scope"), fields("tier", "environment", "team", "lifecycle", "status", "q")),
        (_("Who"), fields("reviewer_rule", "reviewers")),
        (_("When"), fields("cadence_days", "duration_days", "next_run_on")),
        (_("Words"), fields("instructions", "enabled")),
    ]


@require_safe
def count(request: Request) -> HttpResponse:
    """How much the form's scope holds at this moment; a fragment beside it."""
    require(request.actor, "reviews.manage_templates")
    kinds = [kind for kind in request.GET.getlist("kinds") if kind in SubjectKind.values]
    scope = {name: request.GET.getlist(name) for name in ("tier", "environment", "team", "lifecycle", "status")}
    try:
        counts = count_in_scope(kinds, clean_scope({**scope, "q": request.GET.get("q", "")}))
    except Invalid:
        counts = {}
    return render(request, "reviews/_scope_count.html", {"counts": _named(counts), "total": sum(counts.values())})


def _named(counts: dict[str, int]) -> list[tuple[str, int]]:
    labels = {"server": _("servers"), "grant": _("grants"), "connection": _("connections"), "agent": _("agents")}
    return [(labels[kind], number) for kind, number in counts.items()]


class Launch(View):
    """What a launch would do, and the button that does it."""

    request: Request

    def _page(self, form: LaunchForm, template: Template, already: Campaign | None = None) -> HttpResponse:
        found = preview(template)
        context = {
            "nav": "reviews",
            "template": template,
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
