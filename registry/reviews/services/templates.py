"""Campaign templates: what to review, how often, by whom."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from django.db import transaction

from registry.accounts.models import Team
from registry.audit.services import record
from registry.catalog.models import Environment, Tier
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.models import SubjectKind, Template, TemplateStage
from registry.reviews.population import SCOPE_KEYS, possible_reviewers
from registry.trust.states import HELD

CADENCE_DAYS = (7, 730)
DURATION_DAYS = (1, 90)
_CHOICES: Mapping[str, Sequence[str]] = {
    "tier": Tier.values,
    "environment": Environment.values,
    "lifecycle": [Lifecycle.ACTIVE, Lifecycle.SUSPENDED],
    "status": list(HELD),
}


def clean_scope(scope: Mapping[str, Any]) -> dict[str, Any]:
    """The filter in one canonical form, without what does not restrict. Raises `Invalid` for what it does not know."""
    errors: dict[str, list[str]] = {}
    cleaned: dict[str, Any] = {}
    if unknown := sorted(set(scope) - set(SCOPE_KEYS)):
        errors["scope"] = [f"Not a filter: {', '.join(unknown)}. Known: {', '.join(SCOPE_KEYS)}."]
    for key, choices in _CHOICES.items():
        values = sorted({str(value) for value in scope.get(key) or []})
        if strange := [value for value in values if value not in choices]:
            errors[f"scope.{key}"] = [f"Not a choice: {', '.join(strange)}. Known: {', '.join(choices)}."]
        elif values:
            cleaned[key] = values
    if teams := sorted({str(team) for team in scope.get("team") or []}):
        try:
            known = {
                str(pk)
                for pk in Team.objects.filter(pk__in=[UUID(team) for team in teams]).values_list("pk", flat=True)
            }
        except ValueError:
            known = set()
        if strange := [team for team in teams if team not in known]:
            errors["scope.team"] = [f"Not a team: {', '.join(strange)}."]
        cleaned["team"] = teams
    if text := str(scope.get("q") or "").strip():
        cleaned["q"] = text
    if errors:
        raise Invalid(fields=errors)
    return cleaned


def _fill(template: Template, facts: Mapping[str, Any]) -> None:
    allowed = {
        "name", "kinds", "scope", "rolling", "cadence_days", "risk_analysis", "ladder", "challenge_days", "grouping",
        "for_changes", "instructions", "enabled", "next_run_on", "owner",
    }  # fmt: skip
    errors: dict[str, list[str]] = {name: ["This cannot be set here."] for name in set(facts) - allowed}
    for name, value in facts.items():
        if name == "scope":
            template.scope = clean_scope(value or {})
        elif name == "kinds":
            template.kinds = [kind for kind in SubjectKind.values if kind in set(value)]
            if strange := sorted(set(value) - set(SubjectKind.values)):
                errors["kinds"] = [f"Not reviewed: {', '.join(strange)}."]
        elif name not in errors:
            setattr(template, name, value.strip() if isinstance(value, str) else value)
    refuse_secrets(
        {"name": template.name, "instructions": template.instructions, "scope.q": template.scope.get("q", "")}
    )
    if not template.name:
        errors["name"] = ["Give it the name people will see on campaigns."]
    elif Template.objects.filter(name__iexact=template.name).exclude(pk=template.pk).exists():
        errors["name"] = ["There is a template with this name already."]
    if not template.kinds:
        errors.setdefault("kinds", ["Choose what is reviewed."])
    least, most = CADENCE_DAYS
    if not least <= (template.cadence_days or 0) <= most:
        errors["cadence_days"] = [f"Between {least} and {most} days."]
    if "next_run_on" in facts and template.next_run_on is not None and template.next_run_on < clock.today():
        errors["next_run_on"] = ["Choose today or a later day."]
    if errors:
        raise Invalid(fields=errors)


STAGE = ("name", "reviewer_rule", "fallback", "group", "reviewers", "reviewers_per_item", "strategy", "duration_days")
"""What a stage is given as; everything but the reviewers is a field of `TemplateStage`."""


def _set_stages(template: Template, stages: Sequence[Mapping[str, Any]]) -> None:
    """Write the stages of a template anew. Raises `Invalid` with `stages.<position>.<field>` for what is wrong."""
    errors: dict[str, list[str]] = {}
    if not stages:
        errors["stages"] = ["At least one stage has to review."]
    for position, given in enumerate(stages, 1):
        for name, wrong in _stage_errors(given):
            errors.setdefault(f"stages.{position}.{name}", []).append(wrong)
    if not errors and sum(given.get("duration_days", 14) for given in stages) > template.cadence_days:
        errors["stages.1.duration_days"] = ["A campaign has to end before the next one starts."]
    if errors:
        raise Invalid(fields=errors)
    template.stages.all().delete()
    for position, given in enumerate(stages, 1):
        values = {name: value for name, value in given.items() if name != "reviewers"}
        stage = TemplateStage.objects.create(template=template, position=position, **values)
        stage.reviewers.set(given.get("reviewers", ()))


def _stage_errors(given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name in sorted(set(given) - set(STAGE)):
        yield name, "This cannot be set here."
    if given.get("reviewer_rule", "pool") not in TemplateStage.ReviewerRule.values:
        yield "reviewer_rule", "Choose how reviewers are found."
    least, most = DURATION_DAYS
    if not least <= (given.get("duration_days", 14) or 0) <= most:
        yield "duration_days", f"Between {least} and {most} days."
    chosen = list(given.get("reviewers", ()))
    fit = set(possible_reviewers().filter(pk__in=[user.pk for user in chosen]).values_list("pk", flat=True))
    if unfit := [str(user) for user in chosen if user.pk not in fit]:
        yield "reviewers", f"Inactive, or neither reviewer nor security: {', '.join(unfit)}."


@transaction.atomic
def create_template(
    *, actor: Actor, name: str, kinds: Sequence[str], stages: Sequence[Mapping[str, Any]] = ({},), **facts: Any
) -> Template:
    """`stages`: mappings of what `STAGE` names, one round of reviewers each. `facts`: scope, rolling, cadence_days,
    risk_analysis, ladder, challenge_days, grouping, for_changes, instructions, enabled, next_run_on, owner."""
    require(actor, "reviews.manage_templates")
    template = Template(owner=actor.user)
    _fill(template, {"name": name, "kinds": kinds, **facts})
    if template.owner_id is None:
        raise Invalid(fields={"owner": ["Somebody has to own the campaigns of this template."]})
    template.save(force_insert=True)
    _set_stages(template, stages)
    record(actor=actor, act="template.created", subject=template, data=_told(template))
    return template


@transaction.atomic
def update_template(
    *,
    actor: Actor,
    template: Template,
    stages: Sequence[Mapping[str, Any]] | None = None,
    expected_version: str | None = None,
    **facts: Any,
) -> Template:
    """Change what future campaigns do; running ones keep what they were launched with."""
    require(actor, "reviews.manage_templates")
    template = Template.objects.select_for_update(of=("self",)).get(pk=template.pk)
    template.check_version(expected_version)
    before = _told(template)
    # A day in the past was valid when it was entered; only a new one is checked.
    if facts.get("next_run_on") == template.next_run_on:
        facts.pop("next_run_on", None)
    _fill(template, facts)
    template.save()
    if stages is not None:
        _set_stages(template, stages)
    record(actor=actor, act="template.changed", subject=template, data={"before": before, "after": _told(template)})
    return template


def refuse_disabled(template: Template) -> None:
    if not template.enabled:
        raise Conflict("This template is switched off. Switch it on to launch a campaign from it.")


def _told(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "kinds": template.kinds,
        "scope": template.scope,
        "stages": [
            {
                "reviewer_rule": stage.reviewer_rule,
                "reviewers": sorted(str(pk) for pk in stage.reviewers.values_list("pk", flat=True)),
                "strategy": stage.strategy,
                "duration_days": stage.duration_days,
            }
            for stage in template.stages.order_by("position")
        ],
        "cadence_days": template.cadence_days,
        "enabled": template.enabled,
        "next_run_on": template.next_run_on,
    }


def next_run_after(day: date, cadence_days: int, today: date) -> date:
    """The next run on the template's own grid, in the future even when runs were missed."""
    missed = max(0, (today - day).days // cadence_days)
    return day + clock.days((missed + 1) * cadence_days)
