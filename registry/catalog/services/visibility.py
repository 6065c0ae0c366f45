"""Rules by which whole teams and environments keep their things confidential, and what a thing is by them.

`Governed.confidential` stays the one answer that lists, indexes, the trust graph and publishing ask for. It is settled
here before a service saves a thing, and by the trigger `catalog.visibility.settled` whoever else writes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.utils.translation import gettext as _

from registry.accounts.models import Team
from registry.audit.services import build_event, record, record_all
from registry.catalog.events import VisibilityChanged
from registry.catalog.models import Agent, Because, Environment, Governed, Server, System, VisibilityRule
from registry.catalog.queries import KINDS
from registry.catalog.services.shared import given_reason
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among, table_of
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.step_up import require_recent

Model = type[Server] | type[System] | type[Agent]

# --- One thing -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """What changed about who sees a thing, for the evidence of the act that changed it. Both are empty for nothing."""

    before: dict[str, Any]
    after: dict[str, Any]


def settle_visibility(thing: Governed, *, marked: bool | None = None) -> Settled:
    """Say whether `thing`, as it is about to be saved, is confidential, and why.

    `marked` is what somebody says by hand; None leaves their word as it was. Raises `Invalid` (confidential) when a
    mark is taken away from what a rule keeps confidential: it would change nothing, and who did it should know.
    """
    before = _visibility(thing)
    rule = VisibilityRule.objects.over(thing)
    if marked is False and before["confidential"] and rule is not None:
        raise Invalid(fields={"confidential": [rule.sentence]})
    if marked or (marked is None and thing.confidential_because == Because.MARKED):
        thing.confidential_because = Because.MARKED
    else:
        thing.confidential_because = rule.kind if rule is not None else ""
    thing.confidential = bool(thing.confidential_because)
    after = _visibility(thing)
    if before == after:
        return Settled({}, {})
    if thing.confidential and not before["confidential"]:
        publish(VisibilityChanged())
    return Settled(before, after)


def _visibility(thing: Governed) -> dict[str, Any]:
    return {"confidential": thing.confidential, "confidential_because": str(thing.confidential_because)}


# --- Rules -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RuleChange:
    """A rule that was set or dropped, and of how many things who sees them changed: `{"server": 3, …}`."""

    rule: VisibilityRule
    changed: Mapping[str, int]


@transaction.atomic
def set_visibility_rule(*, actor: Actor, reason: str, team: Team | None = None, environment: str = "") -> RuleChange:
    """From now on everything of `team`, or everything in `environment`, is confidential.

    Raises `Invalid` (team, environment, reason), `Conflict` when there is such a rule.
    """
    require(actor, "catalog.set_visibility_rule")
    require_recent(actor, _("Set a visibility rule"))
    if (team is None) == (not environment):
        raise Invalid(fields={"team": [_("Choose either a team or an environment.")]})
    if environment and environment not in Environment.values:
        raise Invalid(fields={"environment": [_("There is no such environment.")]})
    rule = VisibilityRule(team=team, environment=environment, reason=given_reason(reason), created_by=actor.user)
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(_("There is such a rule already: %(rule)s") % {"rule": rule.sentence}) from error
    return _carry_out(actor, rule, "visibility_rule.set", rule.reason)


@transaction.atomic
def drop_visibility_rule(
    *, actor: Actor, rule: VisibilityRule, reason: str, expected_version: str | None = None
) -> RuleChange:
    """What only this rule kept confidential is seen by every member again; marks by hand and other rules stay."""
    rule = VisibilityRule.objects.select_for_update(of=("self",)).select_related("team").get(pk=rule.pk)
    require(actor, "catalog.drop_visibility_rule", rule)
    require_recent(actor, _("Drop a visibility rule"))
    rule.check_version(expected_version)
    if rule.dropped_at is not None:
        raise Conflict(_("This rule was dropped already."))
    rule.dropped_at, rule.dropped_by, rule.drop_reason = clock.now(), actor.user, given_reason(reason)
    rule.save()
    return _carry_out(actor, rule, "visibility_rule.dropped", rule.drop_reason)


def _carry_out(actor: Actor, rule: VisibilityRule, act: str, reason: str) -> RuleChange:
    """Settle everything the rule is about, and write down of each thing that it is seen by others now."""
    _hold_writers(rule)
    changed = {kind: _settle_all(actor, rule, model) for kind, model in KINDS.items()}
    record(
        actor=actor,
        act=act,
        subject=rule,
        data={
            "team": str(rule.team_id) if rule.team_id else None,
            "environment": rule.environment,
            "reason": reason,
            "changed": changed,
        },
    )
    if any(changed.values()):
        publish(VisibilityChanged())
    return RuleChange(rule, changed)


def _moved_by(rule: VisibilityRule, model: Model) -> QuerySet[Any]:
    """Things of a kind that say something else about why they are confidential, now that the rule is set or dropped.

    A mark by hand is moved by no rule, and what the rule of a team keeps by none of an environment.
    """
    stale = [str(rule.kind)]
    if rule.dropped_at is None:
        stale = ["", Because.ENVIRONMENT] if rule.kind == Because.TEAM else [""]
    covered: QuerySet[Any] = model.objects.filter(rule.covers, confidential_because__in=stale)
    return covered


def _hold_writers(rule: VisibilityRule) -> None:
    """Wait for whoever writes things now, and let everybody else wait until this transaction ends.

    Otherwise a thing registered at this moment, by somebody who could not see the rule yet, would stay open for good.
    The rows come before the tables: whoever holds one of them writes it next, and must not wait for us meanwhile.
    """
    for model in KINDS.values():
        list(_moved_by(rule, model).select_for_update(no_key=True).order_by("pk").values_list("pk"))
    with connection.cursor() as cursor:
        tables = ", ".join(table_of(model) for model in (Agent, Server, System))
        cursor.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")


def _settle_all(actor: Actor, rule: VisibilityRule, model: Model) -> int:
    """One statement for everything of a kind; the trigger says what each is now. Returns of how many that differs."""
    moving = _moved_by(rule, model).only("pk", "name", "confidential", "confidential_because")
    before = {thing.pk: thing for thing in moving}
    model.objects.filter(pk__in=among(before)).update(
        confidential=False, confidential_because="", version=F("version") + 1, updated_at=clock.now()
    )
    events = []
    for thing in model.objects.filter(pk__in=among(before)).only("pk", "name", "confidential", "confidential_because"):
        was = before[thing.pk]
        if was.confidential != thing.confidential:
            data = {"before": _visibility(was), "after": _visibility(thing), "rule": str(rule.pk)}
            act = f"{thing.subject_type}.visibility_changed"
            events.append(build_event(actor=actor, act=act, subject=thing, data=data))
    record_all(events)
    return len(events)
