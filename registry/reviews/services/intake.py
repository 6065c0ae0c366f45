"""Intake: the review of one registration. The same engine and the same independence as every other review."""

from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog import services as catalog
from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.canonical import digest
from registry.core.errors import Conflict, Invalid
from registry.core.independence import require_decider
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.reviews.assignment import next_reviewers
from registry.reviews.cadence import INTAKE_DAYS, REASON_REQUIRED, end_of_day, latest_until
from registry.reviews.facts import collect, freeze
from registry.reviews.models import Campaign, Decision, Item, PopulationEntry, SubjectKind, WorkItem
from registry.reviews.services import certificates
from registry.reviews.services.campaigns import advance_campaign
from registry.reviews.services.decisions import certified_until, require_decidable
from registry.reviews.services.gate import retry_assignment
from registry.reviews.services.generation import admit, population_hash
from registry.reviews.services.items import check_review_version
from registry.reviews.services.launch import freeze_stage, try_to_open
from registry.reviews.services.moves import locked_campaign, locked_work_item, move_campaign, move_item
from registry.reviews.services.sign_off import put_signature
from registry.reviews.services.watch import check_items
from registry.reviews.states import OPEN_ITEM, CampaignState, ItemState
from registry.trust import services as trust
from registry.trust.models import Connection
from registry.trust.states import Status

DESK = Actor.system("intake desk")
STATEMENT = "I have looked at this registration and decided on it independently."


@transaction.atomic
def open_intake(*, server_id: UUID, actor: Actor = DESK) -> Item | None:
    """A review of one item for a submitted server. None when it waits no more, or is under review already."""
    require(actor, "reviews.launch_campaign")
    # The row lock makes two messages about the same submission one intake.
    server = Server.objects.select_for_update(of=("self",)).get(pk=server_id)
    if server.lifecycle != Lifecycle.SUBMITTED:
        return None
    if Item.objects.filter(server=server, state__in=OPEN_ITEM, campaign__kind=Campaign.Kind.INTAKE).exists():
        return None
    now = clock.now()
    campaign = Campaign.objects.create(
        kind=Campaign.Kind.INTAKE,
        name=f"Intake of {server.name}"[:160],
        period=f"{now:%Y-%m-%d}",
        scope={"kinds": [SubjectKind.SERVER], "filter": {}},
        stages=[freeze_stage(duration_days=INTAKE_DAYS)],
        scope_hash=digest({"server": str(server.pk)}),
        due_at=end_of_day(clock.today() + clock.days(INTAKE_DAYS)),
        launched_at=now,
        progressed_at=now,
        processed=1,
        total=1,
    )
    PopulationEntry.objects.create(campaign=campaign, position=1, kind=SubjectKind.SERVER, server=server)
    move_campaign(actor, campaign, CampaignState.GENERATING, server=str(server.pk))
    evidence = collect("server", [server.pk])[server.pk]
    item = Item(
        campaign=campaign,
        kind=SubjectKind.SERVER,
        server=server,
        label=evidence.label,
        rests_on=server,
        **freeze(evidence),
        tier=evidence.tier,
        due_at=campaign.due_at,
    )
    choices = next_reviewers(item, stage=item.stage)
    item.state = ItemState.IN_REVIEW if choices else ItemState.PENDING
    item.save(force_insert=True)
    for choice in choices:
        WorkItem.objects.create(
            item=item, reviewer=choice.reviewer, original_reviewer=choice.meant, chosen_because=choice.because[:300]
        )
        admit(server, [choice.reviewer])
    campaign.population_hash = population_hash(campaign)
    move_campaign(actor, campaign, CampaignState.STAGED)
    try_to_open(actor, campaign)
    return item


def sweep_intakes() -> int:
    """Find submissions whose message was lost, intakes without a reviewer, and those nobody answered in time.

    Returns how many were opened, filled or given more time.
    """
    acted = 0
    reviewed = Item.objects.filter(state__in=OPEN_ITEM, campaign__kind=Campaign.Kind.INTAKE)
    waiting = Server.objects.filter(lifecycle=Lifecycle.SUBMITTED).exclude(pk__in=reviewed.values("server"))
    for pk in list(waiting.values_list("pk", flat=True)):
        acted += open_intake(server_id=pk) is not None
    intakes = Campaign.objects.filter(kind=Campaign.Kind.INTAKE)
    for campaign in intakes.filter(state=CampaignState.STAGED):
        acted += retry_assignment(actor=DESK, campaign=campaign)
    late = intakes.filter(state=CampaignState.ACTIVE, due_at__lt=clock.now())
    for pk in list(late.values_list("pk", flat=True)):
        acted += _extend_late_intake(pk)
    return acted


@transaction.atomic
def _extend_late_intake(campaign_id: UUID) -> int:
    """A registration must not be stuck with somebody who does not answer: more time, said so in the evidence."""
    campaign = locked_campaign(campaign_id)
    if campaign.state != CampaignState.ACTIVE or campaign.due_at >= clock.now():
        return 0
    campaign.due_at = end_of_day(clock.today() + clock.days(INTAKE_DAYS))
    campaign.save(update_fields=["due_at"])
    campaign.items.filter(state__in=OPEN_ITEM).update(due_at=campaign.due_at, ladder_from=None, ladder_until=None)
    record(
        actor=DESK, act="campaign.extended", subject=campaign, data={"after": campaign.due_at, "reason": "not answered"}
    )
    return 1


def decide_intake(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str,
    evidence_hash: str,
    reason: str = "",
    auth_method: str,
    expected_version: str | None = None,
) -> Decision:
    """Activate (`certify`) or give back (`return`) a registration: deciding and signing are one act here.

    Activation approves the connections the server asks for and writes the first certificates.
    Raises `FactsChanged` when the registration moved since it was shown.
    """
    require_decider(actor, "reviews.decide", work_item)
    check_items(item_ids=[work_item.item_id])
    return _decide(
        actor=actor,
        work_item=work_item,
        value=value,
        evidence_hash=evidence_hash,
        reason=reason,
        auth_method=auth_method,
        expected_version=expected_version,
    )


@transaction.atomic
def _decide(
    *,
    actor: Actor,
    work_item: WorkItem,
    value: str,
    evidence_hash: str,
    reason: str,
    auth_method: str,
    expected_version: str | None,
) -> Decision:
    refuse_secrets({"reason": reason})
    campaign = locked_campaign(work_item.item.campaign_id)
    work_item = locked_work_item(work_item.pk)
    require(actor, "reviews.decide", work_item)
    require_recent(actor, _("Decide on a registration"))
    item = work_item.item
    if item.campaign.kind != Campaign.Kind.INTAKE:
        raise Conflict("This is not a registration; save a decision and sign it with the others.")
    require_decidable(actor, work_item, evidence_hash)
    check_review_version(work_item, expected_version)
    reason = reason.strip()
    if value not in (Decision.Value.CERTIFY, Decision.Value.RETURN):
        raise Invalid(fields={"value": ["Activate it, or return it with reasons."]})
    if not reason and value == Decision.Value.RETURN:
        raise Invalid(fields={"reason": ["Say what has to change."]})
    if not reason and item.tier in REASON_REQUIRED:
        raise Invalid(fields={"reason": [f"Give a reason: the tier is {item.tier}."]})
    decision = Decision.objects.create(
        work_item=work_item,
        value=value,
        reason=reason,
        evidence_hash=evidence_hash,
        decided_at=clock.now(),
    )
    put_signature(actor, campaign, [decision], statement=STATEMENT, auth_method=auth_method)
    move_item(actor, item, ItemState.DECIDED)
    item.outcome = value
    move_item(actor, item, ItemState.SIGNED, decision=str(decision.pk))
    if value == Decision.Value.CERTIFY:
        _activate(actor, item, decision)
        move_item(actor, item, ItemState.CERTIFIED, outcome=value)
    else:
        catalog.return_server(actor=_decider(actor), server=item.subject, reason=reason)
        move_item(actor, item, ItemState.RETURNED, outcome=value)
    advance_campaign(actor, campaign)
    return decision


def _decider(actor: Actor) -> Actor:
    """The same person without the limits of a token: what follows from a review needs no scope of another room."""
    return actor.beyond_scopes()


def _activate(actor: Actor, item: Item, decision: Decision) -> None:
    by = _decider(actor)
    asked = list(Connection.objects.filter(server=item.server_id, status=Status.REQUESTED).order_by("pk"))
    for connection in asked:
        trust.approve_connection(actor=by, connection=connection, during_intake=True)
    catalog.activate_server(actor=by, server=item.subject)
    server = collect("server", [item.subject_pk])[item.subject_pk]
    until = certified_until(item, None)
    certificates.issue(actor=actor, kind=SubjectKind.SERVER, evidence=server, until=until, decision=decision)
    day = latest_until(item.tier, clock.today(), until.date())
    for evidence in collect("connection", [connection.pk for connection in asked]).values():
        bound = min(end_of_day(day), evidence.subject.valid_until)
        certificates.issue(actor=actor, kind=SubjectKind.CONNECTION, evidence=evidence, until=bound, decision=decision)
