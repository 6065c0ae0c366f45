"""From a template to a running campaign: launch, generation in the background, the gate, the start."""

from datetime import date
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Window
from django.db.models.functions import RowNumber

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, Invalid, RegistryError
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import LADDERS, end_of_day, period_for
from registry.reviews.events import CampaignLaunched
from registry.reviews.models import (
    Campaign,
    PopulationEntry,
    Template,
    TemplateStage,
)
from registry.reviews.population import gate, open_load, population, reviewer_pool
from registry.reviews.services.campaigns import locked_campaign, move_campaign
from registry.reviews.services.templates import next_run_after, refuse_disabled
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState

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
    period = period.strip() or period_for(clock.today(), template.cadence_days)
    refuse_secrets({"period": period})
    if len(period) > 40:
        raise Invalid(fields={"period": ["At most 40 characters."]})
    filters = {"kinds": sorted(template.kinds), "filter": template.scope, "rolling": template.rolling}
    scope_hash = digest(filters)
    running = Campaign.objects.exclude(state=CampaignState.CANCELLED)
    if same := running.filter(template=template, period=period, scope_hash=scope_hash).first():
        raise AlreadyLaunched(same)
    stages = [freeze_stage(stage) for stage in template.stages.order_by("position")]
    now = clock.now()
    campaign = Campaign(
        template=template,
        name=f"{template.name} {period}",
        period=period,
        scope=filters,
        scope_hash=scope_hash,
        stages=stages,
        ladder=template.ladder or LADDERS,
        challenge_days=template.challenge_days,
        grouping=template.grouping,
        instructions=template.instructions,
        owner=owner or (actor.user if actor.kind in ("person", "token") else template.owner),
        due_at=end_of_day(clock.today() + clock.days(stages[0]["duration_days"])),
        launched_at=now,
        progressed_at=now,
    )
    try:
        with transaction.atomic():
            campaign.save(force_insert=True)
    except IntegrityError:
        # Somebody launched the same at the same moment.
        raise AlreadyLaunched(running.get(template=template, period=period, scope_hash=scope_hash)) from None
    campaign.total = _fix_population(campaign)
    move_campaign(
        actor,
        campaign,
        CampaignState.GENERATING,
        template=str(template.pk),
        period=period,
        scope_hash=scope_hash,
        population=campaign.total,
    )
    publish(CampaignLaunched(campaign_id=campaign.pk))
    return campaign


def freeze_stage(stage: TemplateStage | None = None, *, duration_days: int = 14) -> dict[str, Any]:
    """A stage as a campaign keeps it (`Campaign.stages`); without one, a single stage of the common pool."""
    stage = stage or TemplateStage(duration_days=duration_days)
    people = reviewer_pool(stage if not stage._state.adding else None)
    load = open_load(user.pk for user in people)
    return {
        "position": stage.position,
        "name": stage.name,
        "reviewer_rule": stage.reviewer_rule,
        "fallback": list(stage.fallback),
        "group": str(stage.group_id) if stage.group_id else None,
        "pools": {"pool": [[str(user.pk), load.get(user.pk, 0)] for user in people]},
        "reviewers_per_item": stage.reviewers_per_item,
        "strategy": stage.strategy,
        "duration_days": stage.duration_days,
    }


def _fix_population(campaign: Campaign) -> int:
    """Write down what is in scope at this instant, in one statement per kind; returns how many subjects."""
    total = 0
    table = connection.ops.quote_name(PopulationEntry._meta.db_table)
    for kind, queryset in population(campaign.scope["kinds"], campaign.scope["filter"]):
        ranked = queryset.annotate(place=Window(RowNumber(), order_by=F("pk").asc())).order_by()
        sql, params = ranked.values_list("pk", "place").query.sql_with_params()
        column = connection.ops.quote_name(f"{kind}_id")
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} (campaign_id, kind, {column}, position, excluded_because) "  # noqa: S608
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
            period = template.next_run_on.isoformat()
            template.next_run_on = next_run_after(template.next_run_on, template.cadence_days, today)
            template.save(update_fields=["next_run_on"])
            try:
                launched.append(launch_campaign(actor=actor, template=template, period=period))
            except AlreadyLaunched:
                continue
            except RegistryError as error:
                record(actor=actor, act="template.run_missed", subject=template, data={"reason": error.message})
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


@transaction.atomic
def activate_campaign(*, actor: Actor, campaign: Campaign) -> Campaign:
    """Open a staged campaign for its reviewers. Raises `Conflict` with every reason the launch gate has against it."""
    require(actor, "reviews.manage_campaign", campaign)
    campaign = locked_campaign(campaign.pk)
    CAMPAIGN.check(campaign.state, CampaignState.ACTIVE)
    if problems := gate(campaign).problems:
        raise Conflict(" ".join(problems))
    return open_campaign(actor, campaign)


def open_campaign(actor: Actor, campaign: Campaign) -> Campaign:
    """Start the clock: the days a reviewer has count from here. The caller holds the row and has asked the gate."""
    if duration := campaign.stages[campaign.stage - 1]["duration_days"]:
        campaign.due_at = end_of_day(clock.today() + clock.days(duration))
        campaign.items.filter(state__in=OPEN_ITEM).update(due_at=campaign.due_at)
    campaign.state_reason = ""
    move_campaign(actor, campaign, CampaignState.ACTIVE, due_at=campaign.due_at, items=campaign.items.count())
    return campaign


def try_to_open(actor: Actor, campaign: Campaign) -> bool:
    """Open a staged campaign if its gate lets it; otherwise keep it staged and say why."""
    problems = gate(campaign).problems
    if not problems:
        open_campaign(actor, campaign)
        return True
    campaign.state_reason = " ".join(problems)[:2000]
    campaign.save(update_fields=["state_reason"])
    return False
