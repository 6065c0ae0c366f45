"""Campaign templates: what to review, how often, by whom."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from datetime import date
from typing import Any

from django.db import transaction

from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import MAXIMUM_DAYS, clean_ladder, without_analysis
from registry.reviews.models import SubjectKind, Template, TemplateStage
from registry.reviews.pools import possible_reviewers
from registry.reviews.population import clean_scope

CADENCE_DAYS = (7, 730)
DURATION_DAYS = (1, 90)
REVIEWERS_PER_ITEM = (1, 5)
MOST_STAGES = 4
MOST_CHALLENGE_DAYS = 30
FACTS = frozenset({
    "name", "kinds", "scope", "rolling", "cadence_days", "risk_analysis", "ladder", "challenge_days", "grouping",
    "for_changes", "instructions", "enabled", "next_run_on", "owner",
})  # fmt: skip
"""What a template is given as, besides its stages."""
STAGE = ("name", "reviewer_rule", "fallback", "group", "reviewers", "reviewers_per_item", "strategy", "duration_days")
"""What a stage is given as; everything but the reviewers is a field of `TemplateStage`."""

Errors = dict[str, list[str]]


# --- What a template says --------------------------------------------------------------------------------


def _fill(template: Template, facts: Mapping[str, Any]) -> Errors:
    """Set what is given; returns what is wrong with it, by field. Raises `SecretRefused`."""
    errors: Errors = {name: ["This cannot be set here."] for name in sorted(set(facts) - FACTS)}
    for name in sorted(FACTS & set(facts) - {"scope"}):
        value = facts[name]
        if clean := _CLEAN.get(name):
            try:
                value = clean(value or {})
            except Invalid as error:
                errors |= error.fields
                continue
        setattr(template, name, value.strip() if isinstance(value, str) else value)
    if {"scope", "kinds"} & set(facts) and "kinds" not in errors:
        # Which filters there are depends on what is reviewed, so other kinds ask again.
        try:
            template.scope = clean_scope(facts.get("scope", template.scope) or {}, template.kinds)
        except Invalid as error:
            errors |= error.fields
    refuse_secrets(
        {
            "name": template.name,
            "instructions": template.instructions,
            "risk_analysis": template.risk_analysis,
            "scope.q": str(template.scope.get("q", "")),
        }
    )
    for name, wrong in _template_errors(template, facts):
        errors.setdefault(name, [wrong])
    return errors


def _clean_kinds(kinds: Iterable[str]) -> list[str]:
    if strange := sorted(set(kinds) - set(SubjectKind.values)):
        raise Invalid(fields={"kinds": [f"Not reviewed: {', '.join(strange)}."]})
    return [kind for kind in SubjectKind.values if kind in set(kinds)]


_CLEAN: Mapping[str, Callable[[Any], Any]] = {"kinds": _clean_kinds, "ladder": clean_ladder}


def _template_errors(template: Template, facts: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not template.name:
        yield "name", "Give it the name people will see on campaigns."
    elif Template.objects.filter(name__iexact=template.name).exclude(pk=template.pk).exists():
        yield "name", "There is a template with this name already."
    if not template.kinds:
        yield "kinds", "Choose what is reviewed."
    least, most = CADENCE_DAYS
    if not least <= (template.cadence_days or 0) <= most:
        yield "cadence_days", f"Between {least} and {most} days."
    if unexplained := _unexplained(template):
        yield "risk_analysis", unexplained
    if not 0 <= (template.challenge_days or 0) <= MOST_CHALLENGE_DAYS:
        yield "challenge_days", f"At most {MOST_CHALLENGE_DAYS} days: until then, what should be gone still works."
    if template.grouping not in Template.Grouping.values:
        yield "grouping", "Choose how reviewers find their items grouped."
    if "next_run_on" in facts and template.next_run_on is not None and template.next_run_on < clock.today():
        yield "next_run_on", "Choose today or a later day."
    if template.for_changes and template.next_run_on is not None:
        yield "next_run_on", "Micro-certifications start when something changes, not on a day."
    if template.for_changes and template.enabled:
        others = Template.objects.filter(for_changes=True, enabled=True).exclude(pk=template.pk)
        if other := others.first():
            yield "for_changes", f"{other.name} does this already. Switch it off first."


def _unexplained(template: Template) -> str:
    """Why a planned cadence needs a risk analysis; empty when it has one, or suits every tier in scope."""
    if template.next_run_on is None or not template.enabled:
        return ""  # launched by hand or by a change: its cadence is only the name of its period
    tiers = template.scope.get("tier") or list(Tier)
    missing = without_analysis(template.cadence_days or 0, tiers, template.risk_analysis)
    return (
        f"Write down why every {template.cadence_days} days is often enough for what is {' or '.join(missing)}: "
        f"the usual is every {' or '.join(str(MAXIMUM_DAYS[tier]) for tier in missing)} days."
        if missing
        else ""
    )


# --- Stages ----------------------------------------------------------------------------------------------


def _stages_errors(template: Template, stages: Sequence[Mapping[str, Any]]) -> Errors:
    """What is wrong with stages, under `stages.<position>.<field>`."""
    errors: Errors = {}
    if not stages:
        errors["stages"] = ["At least one stage has to review."]
    elif len(stages) > MOST_STAGES:
        errors["stages"] = [f"At most {MOST_STAGES} stages: each needs deciders of its own."]
    for position, given in enumerate(stages, 1):
        for name, wrong in _stage_errors(given):
            errors.setdefault(f"stages.{position}.{name}", []).append(wrong)
    if not errors and sum(_days(given) for given in stages) > (template.cadence_days or 0):
        errors[f"stages.{len(stages)}.duration_days"] = ["All stages together must end before the next campaign."]
    return errors


def _days(given: Mapping[str, Any]) -> int:
    return int(given.get("duration_days", 14) or 0)


def _stage_errors(given: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    rules = TemplateStage.ReviewerRule
    for name in sorted(set(given) - set(STAGE)):
        yield name, "This cannot be set here."
    rule, fallback = given.get("reviewer_rule", rules.POOL), list(given.get("fallback") or ())
    if rule not in rules.values:
        yield "reviewer_rule", "Choose how reviewers are found."
    if strange := sorted({str(each) for each in fallback} - set(rules.values)):
        yield "fallback", f"Not a way to find reviewers: {', '.join(strange)}."
    elif len({rule, *fallback}) <= len(fallback):
        yield "fallback", "Name each way to find reviewers once."
    if rules.GROUP in (rule, *fallback) and given.get("group") is None:
        yield "group", "Choose the team whose members review."
    if given.get("strategy", TemplateStage.Strategy.BY_TIER) not in TemplateStage.Strategy.values:
        yield "strategy", "Choose how several answers become one."
    least, most = DURATION_DAYS
    if not least <= _days(given) <= most:
        yield "duration_days", f"Between {least} and {most} days."
    least, most = REVIEWERS_PER_ITEM
    each = given.get("reviewers_per_item", 1) or 0
    if not least <= each <= most:
        yield "reviewers_per_item", f"Between {least} and {most}."
    chosen = list(given.get("reviewers") or ())
    fit = set(possible_reviewers().filter(pk__in=[user.pk for user in chosen]).values_list("pk", flat=True))
    if unfit := [str(user) for user in chosen if user.pk not in fit]:
        yield "reviewers", f"Inactive, or neither reviewer nor security: {', '.join(unfit)}."
    elif chosen and rule == rules.POOL and not fallback and len(chosen) < each:
        yield "reviewers", f"{each} are asked about each item, but the pool has {len(chosen)}."


def _write_stages(template: Template, stages: Sequence[Mapping[str, Any]]) -> None:
    template.stages.all().delete()
    for position, given in enumerate(stages, 1):
        values = {name: value for name, value in given.items() if name != "reviewers"}
        stage = TemplateStage.objects.create(template=template, position=position, **values)
        stage.reviewers.set(given.get("reviewers") or ())


# --- Acts ------------------------------------------------------------------------------------------------


@transaction.atomic
def create_template(
    *, actor: Actor, name: str, kinds: Sequence[str], stages: Sequence[Mapping[str, Any]] = ({},), **facts: Any
) -> Template:
    """A new template. `stages`: mappings of what `STAGE` names, one round of reviewers each; `facts`: see `FACTS`.

    Raises `Invalid` with every field that needs attention, `stages.1.reviewer_rule` for those of the first stage.
    """
    require(actor, "reviews.manage_templates")
    template = Template(owner=actor.user)
    errors = _fill(template, {"name": name, "kinds": kinds, **facts})
    _refuse_secret_stages(stages)
    errors |= _stages_errors(template, stages)
    if template.owner_id is None:
        errors["owner"] = ["Somebody has to own the campaigns of this template."]
    if errors:
        raise Invalid(fields=errors)
    template.save(force_insert=True)
    _write_stages(template, stages)
    record(actor=actor, act="template.created", subject=template, data=_told(template))
    return template


def template_problems(
    template: Template | None, *, stages: Sequence[Mapping[str, Any]] = ({},), **facts: Any
) -> Errors:
    """What is wrong with what was filled in so far, by field, without saving: a form that cannot be read as a whole
    still says all that is to be corrected. Raises `SecretRefused`."""
    trial = copy(template) if template is not None else Template()
    if template is not None and facts.get("next_run_on") == template.next_run_on:
        facts.pop("next_run_on", None)
    errors = _fill(trial, facts)
    _refuse_secret_stages(stages)
    return errors | _stages_errors(trial, stages)


@transaction.atomic
def update_template(
    *,
    actor: Actor,
    template: Template,
    stages: Sequence[Mapping[str, Any]] | None = None,
    expected_version: str | None = None,
    **facts: Any,
) -> Template:
    """Change what future campaigns do; running ones keep what they were launched with. Raises as `create_template`."""
    require(actor, "reviews.manage_templates")
    template = Template.objects.select_for_update(of=("self",)).get(pk=template.pk)
    template.check_version(expected_version)
    before = _told(template)
    # A day in the past was valid when it was entered; only a new one is checked.
    if facts.get("next_run_on") == template.next_run_on:
        facts.pop("next_run_on", None)
    errors = _fill(template, facts)
    if stages is not None:
        _refuse_secret_stages(stages)
        errors |= _stages_errors(template, stages)
    elif "cadence_days" not in errors and template.duration_days > template.cadence_days:
        errors["cadence_days"] = ["Its stages take longer than that."]
    if errors:
        raise Invalid(fields=errors)
    template.save()
    if stages is not None:
        _write_stages(template, stages)
    record(actor=actor, act="template.changed", subject=template, data={"before": before, "after": _told(template)})
    return template


def _refuse_secret_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    refuse_secrets({f"stages.{n}.name": str(given.get("name") or "") for n, given in enumerate(stages, 1)})


def refuse_disabled(template: Template) -> None:
    if not template.enabled:
        raise Conflict("This template is switched off. Switch it on to launch a campaign from it.")


def _told(template: Template) -> dict[str, Any]:
    """A template as the audit trail keeps it."""
    stages = template.stages.order_by("position").prefetch_related("reviewers")
    return {
        **{name: getattr(template, name) for name in sorted(FACTS - {"owner"})},
        "owner": str(template.owner_id),
        "stages": [
            {
                **{name: getattr(stage, name) for name in STAGE if name not in ("group", "reviewers")},
                "group": str(stage.group_id) if stage.group_id else None,
                "reviewers": sorted(str(user.pk) for user in stage.reviewers.all()),
            }
            for stage in stages
        ],
    }


def next_run_after(day: date, cadence_days: int, today: date) -> date:
    """The next run on the template's own grid, in the future even when runs were missed."""
    missed = max(0, (today - day).days // cadence_days)
    return day + clock.days((missed + 1) * cadence_days)
