"""The life of a campaign: launch, gate, activation, signature, completion, cancellation."""

from datetime import date, timedelta
from typing import Any
from uuid import UUID

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
    Decision,
    Item,
    PopulationEntry,
    SignOff,
    Template,
    TemplateStage,
    WorkItem,
)
from registry.reviews.queries import gate, open_load, open_remediations, population, reviewer_pool
from registry.reviews.services.templates import next_run_after, refuse_disabled
from registry.reviews.states import CAMPAIGN, OPEN_ITEM, CampaignState, ItemState, WorkItemState

SCHEDULER = Actor.system("due campaigns")
LONGEST_EXTENSION = timedelta(days=90)


class AlreadyLaunched(Conflict):
    """The same template, period and scope run already; `campaign` is that run."""

    code = "already-launched"

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        super().__init__(
            f"{campaign.name} covers this period and scope already (campaign {campaign.pk}).",
            fields={"period": ["A campaign with this template, period and scope exists."]},
        )


def locked_campaign(campaign_id: UUID) -> Campaign:
    fresh: Campaign = Campaign.objects.select_for_update(of=("self",)).get(pk=campaign_id)
    return fresh


def move_campaign(actor: Actor, campaign: Campaign, after: CampaignState, **data: Any) -> None:
    """Check, set and save the state with its evidence; the caller holds the row."""
    before = campaign.state
    CAMPAIGN.move(campaign, after, field="state")
    campaign.save()
    record(actor=actor, act=f"campaign.{after}", subject=campaign, data={"before": before, **data})


# --- Launch ----------------------------------------------------------------------------------------------


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


# --- Gate and activation ---------------------------------------------------------------------------------


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


@transaction.atomic
def extend_campaign(*, actor: Actor, campaign: Campaign, until: date, reason: str) -> Campaign:
    """Give reviewers more time. Late decisions are refused, so this is the honest way to accept them."""
    require(actor, "reviews.manage_campaign", campaign)
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(campaign.pk)
    if campaign.state != CampaignState.ACTIVE:
        raise Conflict(f"This campaign is {campaign.get_state_display().lower()}; its deadline no longer matters.")
    errors = {}
    due_at = end_of_day(until)
    if due_at <= max(campaign.due_at, clock.now()):
        errors["until"] = ["Choose a day after the present deadline."]
    elif due_at > clock.now() + LONGEST_EXTENSION:
        errors["until"] = [f"At most {LONGEST_EXTENSION.days} days from today: a review without a deadline is none."]
    if not reason.strip():
        errors["reason"] = ["Say why reviewers need more time."]
    if errors:
        raise Invalid(fields=errors)
    before, campaign.due_at = campaign.due_at, due_at
    campaign.save()
    campaign.items.filter(state__in=OPEN_ITEM).update(due_at=due_at)
    # A later deadline starts the reminders anew.
    WorkItem.objects.filter(item__campaign=campaign, state=WorkItemState.OPEN).update(reminded_on=None)
    record(
        actor=actor,
        act="campaign.extended",
        subject=campaign,
        data={"before": before, "after": due_at, "reason": reason.strip()},
    )
    return campaign


# --- Signature, completion, cancellation -----------------------------------------------------------------


def advance_campaign(actor: Actor, campaign: Campaign) -> None:
    """ACTIVE → SIGN_OFF once nothing is open. The caller holds the row."""
    if campaign.state == CampaignState.ACTIVE and not campaign.items.filter(state__in=OPEN_ITEM).exists():
        move_campaign(actor, campaign, CampaignState.SIGN_OFF)


@transaction.atomic
def close_campaign(*, actor: Actor, campaign: Campaign, statement: str, auth_method: str) -> Campaign:
    """Sign the campaign as a whole: every item has its outcome, what was taken away now has to be verified."""
    require(actor, "reviews.close_campaign", campaign)
    refuse_secrets({"statement": statement})
    campaign = locked_campaign(campaign.pk)
    CAMPAIGN.check(campaign.state, CampaignState.REMEDIATING)
    if not statement.strip():
        raise Invalid(fields={"statement": ["Say what you sign."]})
    if actor.user is None:
        raise Conflict("Only a named person signs a campaign.")
    roots = list(
        campaign.sign_offs.filter(kind=SignOff.Kind.REVIEWER).order_by("id").values_list("decisions_root", flat=True)
    )
    signature = SignOff.objects.create(
        kind=SignOff.Kind.CAMPAIGN,
        campaign=campaign,
        reviewer=actor.user,
        decisions_root=digest({"population": campaign.population_hash, "sign_offs": roots}),
        decision_count=Decision.objects.filter(sign_off__campaign=campaign).count(),
        statement=statement.strip(),
        auth_method=auth_method,
        at=clock.now(),
    )
    move_campaign(actor, campaign, CampaignState.REMEDIATING, sign_off=str(signature.pk), root=signature.decisions_root)
    complete_if_remediated(actor, campaign)
    return campaign


def complete_if_remediated(actor: Actor, campaign: Campaign) -> None:
    """REMEDIATING → COMPLETED once every remediation is verified (invariant 11). The caller holds the row."""
    if campaign.state == CampaignState.REMEDIATING and not open_remediations(campaign).exists():
        campaign.completed_at = clock.now()
        move_campaign(actor, campaign, CampaignState.COMPLETED)


@transaction.atomic
def cancel_campaign(*, actor: Actor, campaign: Campaign, reason: str) -> Campaign:
    """Stop a campaign. Everything is kept; what was signed stays signed; open items are freed for another campaign."""
    require(actor, "reviews.manage_campaign", campaign)
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(campaign.pk)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why the campaign is cancelled."]})
    campaign.state_reason = reason.strip()
    move_campaign(actor, campaign, CampaignState.CANCELLED, reason=campaign.state_reason)
    close_items(campaign, ItemState.CANCELLED)
    return campaign


def close_items(campaign: Campaign, state: ItemState) -> int:
    """End every open item of a campaign without an outcome; unsigned drafts go with them."""
    open_items = list(
        Item.objects.select_for_update(of=("self",))
        .filter(campaign=campaign, state__in=OPEN_ITEM)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    Decision.objects.filter(work_item__item__in=open_items, signed_at=None).delete()
    WorkItem.objects.filter(item__in=open_items).exclude(state=WorkItemState.CLOSED).update(
        state=WorkItemState.CLOSED, version=F("version") + 1, updated_at=clock.now()
    )
    return Item.objects.filter(pk__in=open_items).update(state=state, version=F("version") + 1, updated_at=clock.now())
