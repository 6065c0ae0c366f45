"""Pages of the rules by which teams and environments keep their things confidential."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from registry.catalog import services
from registry.catalog.forms import ReasonForm, VisibilityRuleForm, VisibilityRuleReasonForm
from registry.catalog.models import VisibilityRule
from registry.catalog.queries import Preview, kept_by, preview_of
from registry.catalog.services import RuleChange
from registry.core.errors import Conflict, NotFound
from registry.core.forms import run, status_of
from registry.core.http import Request
from registry.core.pagination import keyset_page
from registry.core.permissions import allows, require

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
def visibility_rules(request: Request) -> HttpResponse:
    """The rules in force with what each keeps, or those that were dropped."""
    require(request.actor, "catalog.view_visibility_rules")
    dropped = request.GET.get("in_force") == "false"
    visible = VisibilityRule.objects.visible_to(request.actor).filter(dropped_at__isnull=not dropped)
    page = keyset_page(visible.select_related("team", "created_by", "dropped_by"), request)
    kept = {} if dropped else kept_by(page)
    context = {
        "nav": "people",
        "may_view_groups": allows(request.actor, "accounts.view_group_roles"),
        "page": page,
        "dropped": dropped,
        "rows": [(rule, kept.get(rule.pk)) for rule in page],
        "may_set": allows(request.actor, "catalog.set_visibility_rule"),
        "may_drop": allows(request.actor, "catalog.drop_visibility_rule"),
    }
    return render(request, "catalog/visibility_rules.html", context)


@get_or_post
def visibility_rule_new(request: Request) -> HttpResponse:
    """First what, which shows how many things it would hide; then why, and it is in force."""
    require(request.actor, "catalog.set_visibility_rule")
    chosen = (request.POST if request.method == "POST" else request.GET).get("over", "")
    # Ids of its own: the other form carries the choice along.
    choice = VisibilityRuleForm({"over": chosen} if chosen else None, auto_id="id_choose_%s")
    context: dict[str, Any] = {"nav": "people", "choice": choice}
    form = VisibilityRuleReasonForm(request.POST or None, initial={"over": chosen})
    if choice.is_valid():
        rule = VisibilityRule(**choice.cleaned_data["over"])
        context |= {"rule": rule, "effect": preview_of(rule), "form": form}

    def act(*, over: dict[str, Any], reason: str) -> RuleChange:
        return services.set_visibility_rule(actor=request.actor, reason=reason, **over)

    if request.method == "POST" and (done := run(form, act)) is not None:
        messages.success(request, f"{done.rule.sentence} {_changed(done)}")
        return redirect("catalog:visibility_rules")
    status = status_of(form) if request.method == "POST" else status_of(choice)
    return render(request, "catalog/visibility_rule_new.html", context, status=status)


@get_or_post
def visibility_rule_drop(request: Request, pk: UUID) -> HttpResponse:
    """What every member would see again, and why it may."""
    require(request.actor, "catalog.drop_visibility_rule")
    rules = VisibilityRule.objects.visible_to(request.actor).select_related("team")
    rule = rules.filter(pk=pk).first()
    if rule is None:
        raise NotFound
    if rule.dropped_at is not None:
        raise Conflict(_("This rule was dropped already."))
    form = ReasonForm(request.POST or None, initial={"version": rule.etag})

    def act(*, reason: str, version: str) -> RuleChange:
        return services.drop_visibility_rule(
            actor=request.actor, rule=rule, reason=reason, expected_version=version or None
        )

    if request.method == "POST" and (done := run(form, act)) is not None:
        messages.success(request, f"{_('The rule is dropped.')} {_changed(done)}")
        return redirect("catalog:visibility_rules")
    effect: list[Preview] = preview_of(rule)
    context = {"nav": "people", "rule": rule, "form": form, "effect": effect}
    return render(request, "catalog/visibility_rule_drop.html", context, status=status_of(form))


def _changed(done: RuleChange) -> str:
    return _("Seen by others than before: servers %(server)d, systems %(system)d, agents %(agent)d.") % done.changed
