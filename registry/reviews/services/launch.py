"""From a template to a running campaign: launch, generation in the background, the gate, the start."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max, Window
from django.db.models.functions import RowNumber

from registry.accounts.models import User
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import Sql, table_of
from registry.core.canonical import digest
from registry.core.errors import Conflict, Invalid, RegistryError
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import MAXIMUM_DAYS, MICRO_DAYS, end_of_day, frozen_ladder, period_for
from registry.reviews.events import CampaignLaunched, ReviewsOpened
from registry.reviews.gate import Gate, gate
from registry.reviews.models import (
    Campaign,
    Item,
    PopulationEntry,
    SubjectKind,
    Template,
    TemplateStage,
)
from registry.reviews.pools import pools, rules_of
from registry.reviews.population import KIND_ORDER, REVIEWED, due_before, population
from registry.reviews.services.moves import locked_campaign, move_campaign
from registry.reviews.services.templates import next_run_after, refuse_disabled
from registry.reviews.states import OPEN_ITEM, CampaignState

SCHEDULER = Actor.system("due campaigns")


class AlreadyLaunched(Conflict):
    """The same template, period and scope run already; `campaign` is that run."""

    code = "already-launched"

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        super().__init__(
            f"{campaign.name} covers this period and scope already (campaign {campaign.pk}).",
            fields={"period": ["A campaign with this template, period and scope exists."]},
        )


@transaction.atomic
def launch_campaign(*, actor: Actor, template: Template, period: str = "", owner: User | None = None) -> Campaign:
    """Fix who and what is in scope at this instant and start generating items in the background.

    Raises `AlreadyLaunched` when this template ran for the same period and scope and was not cancelled.
    """
    require(actor, "reviews.launch_campaign")
    refuse_disabled(template)
    period = _checked_period(period.strip() or period_for(clock.today(), template.cadence_days))
    campaign = _prepare(
        kind=Campaign.Kind.PERIODIC,
        template=template,
        name=f"{template.name} {period}",
        period=period,
        scope={"kinds": sorted(template.kinds), "filter": template.scope, "rolling": template.rolling},
        owner=owner or (actor.user if actor.kind in ("person", "token") else template.owner),
    )
    _save_once(campaign)
    before = due_before(template)
    campaign.total = _fix_population(campaign, before)
    return _start(actor, campaign, due_before=before)


@transaction.atomic
def launch_subjects(
    *,
    actor: Actor,
    kind: Campaign.Kind,
    name: str,
    period: str,
    subjects: Sequence[tuple[str, UUID]],
    template: Template | None,
    cause: str = "",
) -> Campaign:
    """A campaign over exactly these `(kind, id)`: how micro-certifications start. Items follow in the background.

    `template` says who reviews and by which ladder; without one it is the common pool and the ladder of each tier.
    A subject that another campaign reviews becomes an exclusion there, so nobody is asked twice (invariant 15).
    """
    require(actor, "reviews.launch_campaign")
    ordered = sorted(set(subjects), key=lambda each: (KIND_ORDER.index(SubjectKind(each[0])), each[1]))
    if not ordered:
        raise Invalid(fields={"subjects": ["Name what is to be reviewed."]})
    scope = {"kinds": sorted({kind for kind, _pk in ordered}), "subjects": [[k, str(pk)] for k, pk in ordered]}
    campaign = _prepare(
        kind=kind,
        template=template,
        name=name,
        period=_checked_period(period),
        # The same thing may well be asked twice in a period, for two causes: each time is a campaign of its own.
        scope={**scope, "cause": cause, "at": clock.now().isoformat()},
        owner=template.owner if template else None,
    )
    _save_once(campaign)
    campaign.total = len(ordered)
    PopulationEntry.objects.bulk_create(
        (
            PopulationEntry(campaign=campaign, position=position, kind=kind, **{f"{kind}_id": pk})
            for position, (kind, pk) in enumerate(ordered, 1)
        ),
        batch_size=2000,
    )
    return _start(actor, campaign, cause=cause)


def _checked_period(period: str) -> str:
    refuse_secrets({"period": period})
    if len(period) > 40:
        raise Invalid(fields={"period": ["At most 40 characters."]})
    return period


def _prepare(
    *, kind: str, template: Template | None, name: str, period: str, scope: dict[str, Any], owner: User | None
) -> Campaign:
    """The unsaved campaign with everything that a later edit of its template must not change."""
    frozen = [freeze_stage(stage) for stage in template.stages.order_by("position")] if template else [_for_changes()]
    now = clock.now()
    return Campaign(
        kind=kind,
        template=template,
        name=name[:160],
        period=period,
        scope=scope,
        scope_hash=digest(scope),
        stages=frozen,
        ladder=frozen_ladder(template.ladder if template else {}),
        challenge_days=template.challenge_days if template else 0,
        grouping=template.grouping if template else Template.Grouping.SERVER,
        instructions=template.instructions if template else "",
        cadence_days=template.cadence_days if template else None,
        risk_analysis=template.risk_analysis if template else "",
        owner=owner,
        due_at=end_of_day(clock.today() + clock.days(frozen[0]["duration_days"])),
        launched_at=now,
        progressed_at=now,
    )


def _for_changes() -> dict[str, Any]:
    """How a micro-certification is reviewed when no template says it: by the common pool, or else security."""
    longest = max(MICRO_DAYS.values())
    return freeze_stage(TemplateStage(fallback=[TemplateStage.ReviewerRule.SECURITY], duration_days=longest))


def _save_once(campaign: Campaign) -> None:
    """Insert, or raise `AlreadyLaunched` with the run that has the same template, period and scope."""
    same = Campaign.objects.exclude(state=CampaignState.CANCELLED).filter(
        template=campaign.template, period=campaign.period, scope_hash=campaign.scope_hash
    )
    if campaign.template is not None and (running := same.first()):
        raise AlreadyLaunched(running)
    try:
        with transaction.atomic():
            campaign.save(force_insert=True)
    except IntegrityError:
        # Somebody launched the same at the same moment.
        raise AlreadyLaunched(same.get()) from None


def _start(actor: Actor, campaign: Campaign, **data: Any) -> Campaign:
    move_campaign(
        actor,
        campaign,
        CampaignState.GENERATING,
        template=str(campaign.template_id) if campaign.template_id else None,
        period=campaign.period,
        scope_hash=campaign.scope_hash,
        population=campaign.total,
        **data,
    )
    publish(CampaignLaunched(campaign_id=campaign.pk))
    return campaign


def freeze_stage(stage: TemplateStage | None = None, *, duration_days: int = 14) -> dict[str, Any]:
    """A stage as a campaign keeps it (`Campaign.stages`); without one, a single stage of the common pool."""
    stage = stage or TemplateStage(duration_days=duration_days)
    given = None if stage._state.adding else stage
    rules = rules_of(stage)
    return {
        "position": stage.position,
        "name": stage.name,
        "reviewer_rule": rules[0],
        "fallback": rules[1:],
        "group": str(stage.group_id) if stage.group_id else None,
        "pools": pools(rules, given, stage.group_id),
        "reviewers_per_item": stage.reviewers_per_item,
        "strategy": stage.strategy,
        "duration_days": stage.duration_days,
    }


def _fix_population(campaign: Campaign, before: datetime | None) -> int:
    """Write down what is in scope at this instant, in one statement per kind; returns how many subjects."""
    total = 0
    for kind, queryset in population(campaign.scope["kinds"], campaign.scope["filter"], due_before=before):
        order = [F(name).asc() for name in REVIEWED[kind].order]
        ranked = queryset.annotate(place=Window(RowNumber(), order_by=order)).order_by("place")
        sql, params = ranked.values_list("pk", "place").query.sql_with_params()
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table_of(PopulationEntry)} "  # noqa: S608 - our own names
                f"(campaign_id, kind, {kind}_id, position, excluded_because) "
                f"SELECT %s, %s, ranked.subject, ranked.place + %s, '' FROM ({sql}) AS ranked(subject, place)",
                [campaign.pk, kind, total, *params],
            )
            total += cursor.rowcount
    return total


def launch_due_campaigns(*, today: date, actor: Actor = SCHEDULER) -> list[Campaign]:
    """Launch every template whose day has come. Each in its own transaction: one failure holds up no other."""
    due = Template.objects.filter(enabled=True, next_run_on__lte=today).order_by("next_run_on", "pk")
    launched = []
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            template = (
                Template.objects.select_for_update(of=("self",), skip_locked=True)
                .filter(pk=pk, enabled=True, next_run_on__lte=today)
                .first()
            )
            if template is None or template.next_run_on is None:
                continue
            # The day of the run names its period, so that a run can neither be lost nor happen twice.
            planned = template.next_run_on
            try:
                with transaction.atomic():
                    launched.append(launch_campaign(actor=actor, template=template, period=planned.isoformat()))
            except AlreadyLaunched:
                pass
            except RegistryError as error:
                # It stays due and is tried again; after a day its owner is told (`reminders.tell_missed_runs`).
                Template.objects.filter(pk=pk).update(run_failed_because=error.message[:300])
                continue
            template.next_run_on = next_run_after(planned, template.cadence_days, today)
            template.run_failed_because = ""
            template.save(update_fields=["next_run_on", "run_failed_because"])
    return launched


@transaction.atomic
def retry_generation(*, actor: Actor, campaign: Campaign) -> Campaign:
    """Go on generating after a failure, from where it stopped."""
    require(actor, "reviews.manage_campaign", campaign)
    campaign = locked_campaign(campaign.pk)
    if campaign.state != CampaignState.GENERATION_FAILED:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; there is nothing to retry.")
    campaign.state_reason, campaign.progressed_at = "", clock.now()
    move_campaign(actor, campaign, CampaignState.GENERATING, resumed_at=campaign.processed)
    publish(CampaignLaunched(campaign_id=campaign.pk))
    return campaign


def open_campaign(actor: Actor, campaign: Campaign) -> Campaign:
    """Start the clock: the days a reviewer has count from here. The caller holds the row and has asked the gate."""
    if duration := campaign.stages[campaign.stage - 1]["duration_days"]:
        planned, campaign.due_at = campaign.due_at, end_of_day(clock.today() + clock.days(duration))
        # A campaign that starts on the day it was launched has its deadlines already.
        if planned != campaign.due_at:
            _set_deadlines(campaign)
        if campaign.kind == Campaign.Kind.MICRO:
            _hasten_by_tier(campaign, MICRO_DAYS)
            campaign.due_at = (
                campaign.items.filter(state__in=OPEN_ITEM).aggregate(last=Max("due_at"))["last"] or campaign.due_at
            )
        elif campaign.scope.get("rolling"):
            _hasten_by_tier(campaign, MAXIMUM_DAYS)
    campaign.state_reason = ""
    move_campaign(actor, campaign, CampaignState.ACTIVE, due_at=campaign.due_at, items=campaign.items.count())
    publish(ReviewsOpened())
    return campaign


def due_at(campaign: Campaign) -> Sql:
    """Until when an item takes answers, over its `subject`: the stage's deadline.

    A rolling campaign takes each thing when its own certificate lapses, yet never leaves less than a day; once it
    opens, nothing waits longer than its tier may (`open_campaign`).
    """
    if not campaign.scope.get("rolling"):
        return Sql("%s", (campaign.due_at,))
    soonest = end_of_day(clock.today() + clock.days(1))
    return Sql(
        "CASE WHEN subject.certified_until IS NULL THEN %s ELSE LEAST(%s, GREATEST(subject.certified_until, %s)) END",
        (campaign.due_at, campaign.due_at, soonest),
    )


def _set_deadlines(campaign: Campaign) -> None:
    """Give open items the deadline of today's start; a campaign that starts on the day it was launched has it."""
    until = due_at(campaign)
    for kind in campaign.scope["kinds"]:
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table_of(Item)} item SET due_at = {until.text} "  # noqa: S608 - our own names
                f"FROM {table_of(REVIEWED[kind].model)} subject "
                f"WHERE item.campaign_id = %s AND item.state = ANY(%s) AND subject.id = item.{kind}_id "
                f"AND item.due_at IS DISTINCT FROM {until.text}",
                [*until.params, campaign.pk, list(OPEN_ITEM), *until.params],
            )


def _hasten_by_tier(campaign: Campaign, days_of: Mapping[Tier, int]) -> None:
    """No item waits longer than its tier may."""
    items = campaign.items.filter(state__in=OPEN_ITEM)
    for tier, days in days_of.items():
        soonest = end_of_day(clock.today() + clock.days(days))
        items.filter(tier=tier, due_at__gt=soonest).update(due_at=soonest)


def try_to_open(actor: Actor, campaign: Campaign, found: Gate | None = None) -> bool:
    """Open a staged campaign if its gate lets it; otherwise keep it staged and say why.

    The caller holds the row, and may have asked the gate just now.
    """
    problems = (found or gate(campaign)).problems
    if not problems:
        open_campaign(actor, campaign)
        return True
    campaign.state_reason = " ".join(problems)[:2000]
    campaign.save(update_fields=["state_reason"])
    return False
