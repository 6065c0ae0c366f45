"""Out of office: for some days somebody stands in, and undecided reviews go to them where they are independent."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from registry.accounts.models import User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.absence import in_force, stand_in
from registry.reviews.events import DelegationStarted
from registry.reviews.models import Delegation, Item, WorkItem, WorkItemMove
from registry.reviews.pools import REVIEWING_ROLES
from registry.reviews.seats import asked_before
from registry.reviews.services.items import hand_over, unfit
from registry.reviews.services.moves import locked_items
from registry.reviews.services.notices import tell_of_hand_over
from registry.reviews.states import OPEN_ITEM, CampaignState, WorkItemState

__all__ = ["create_delegation", "end_delegation", "stand_in", "start_delegations", "staying"]

SECRETARY = Actor.system("delegations")
CHUNK = 200
LONGEST = timedelta(days=365)


@transaction.atomic
def create_delegation(
    *, actor: Actor, delegator: User, delegate: User, starts_on: date, ends_on: date, note: str = ""
) -> Delegation:
    """Say who stands in between two days: oneself, or an administrator for somebody else.

    When it starts today, undecided reviews move at once, a great many of them in the background. Raises `Invalid` by
    field: `delegate` must be active, review, and be there themselves; two delegations of one person never overlap,
    and nobody's stand-in has a stand-in.
    """
    require(actor, "reviews.delegate", delegator)
    refuse_secrets({"note": note})
    # Both people's rows: two delegations made at the same moment cannot make a chain or an overlap together.
    people = {user.pk: user for user in _locked({delegator.pk, delegate.pk})}
    delegator, delegate = people[delegator.pk], people[delegate.pk]
    if errors := _errors(delegator, delegate, starts_on, ends_on):
        raise Invalid(fields=errors)
    made = Delegation.objects.create(
        delegator=delegator, delegate=delegate, starts_on=starts_on, ends_on=ends_on, note=note.strip()
    )
    record(
        actor=actor,
        act="delegation.created",
        subject=made,
        data={
            "delegator": str(delegator.pk),
            "delegate": str(delegate.pk),
            "starts_on": starts_on,
            "ends_on": ends_on,
            "note": made.note,
        },
    )
    if starts_on <= clock.today():
        waiting = _open_work(made)
        _move(actor, made, waiting[:CHUNK])
        if len(waiting) > CHUNK:
            publish(DelegationStarted())
    return made


def _locked(ids: set[UUID]) -> Sequence[User]:
    return list(User.objects.select_for_update(of=("self",), no_key=True).filter(pk__in=ids).order_by("pk"))


def _errors(delegator: User, delegate: User, starts_on: date, ends_on: date) -> dict[str, list[str]]:
    errors: dict[str, list[str]] = {}
    today = clock.today()
    if ends_on < starts_on:
        errors["ends_on"] = ["It ends before it starts."]
    elif ends_on < today:
        errors["ends_on"] = ["Choose a last day that is not over."]
    elif ends_on - max(starts_on, today) > LONGEST:
        errors["ends_on"] = [f"At most {LONGEST.days} days; whoever is away longer should not be asked at all."]
    if delegate.pk == delegator.pk:
        errors["delegate"] = ["Choose somebody else."]
    elif not delegate.is_active or REVIEWING_ROLES.isdisjoint(delegate.roles):
        errors["delegate"] = [f"{delegate} is not active, or does not review."]
    if errors:
        return errors
    others = Delegation.objects.filter(ended_at=None, starts_on__lte=ends_on, ends_on__gte=starts_on)
    if same := others.filter(delegator=delegator).select_related("delegate").first():
        errors["starts_on"] = [
            f"{same.delegate} stands in from {same.starts_on:%d %B} to {same.ends_on:%d %B %Y} already; end that first."
        ]
    if away := others.filter(delegator=delegate).first():
        errors["delegate"] = [f"{delegate} is away themselves from {away.starts_on:%d %B} to {away.ends_on:%d %B %Y}."]
    elif stands := others.filter(delegate=delegator).select_related("delegator").first():
        errors["delegator"] = [
            f"{delegator} stands in for {stands.delegator} until {stands.ends_on:%d %B %Y}; "
            f"{stands.delegator} needs somebody else first."
        ]
    return errors


@transaction.atomic
def end_delegation(*, actor: Actor, delegation: Delegation, expected_version: str | None = None) -> Delegation:
    """Nobody stands in from now on. What moved stays where it is; the stand-in may hand it back."""
    require(actor, "reviews.delegate", delegation)
    row: Delegation = Delegation.objects.select_for_update(of=("self",)).get(pk=delegation.pk)
    row.check_version(expected_version)
    if row.ended_at is not None or row.ends_on < clock.today():
        raise Conflict("It has ended already.")
    row.ended_at = clock.now()
    row.save(update_fields=["ended_at"])
    record(actor=actor, act="delegation.ended", subject=row, data={"delegator": str(row.delegator_id)})
    return row


def start_delegations(*, today: date, actor: Actor = SECRETARY) -> int:
    """Move what people who are away still have to decide, also what reached them since. Returns how many moved.

    Running it again moves nothing twice: what moved is in other hands.
    """
    require(actor, "reviews.manage_campaign")
    moved = 0
    for pk in list(in_force(today).order_by("starts_on", "pk").values_list("pk", flat=True)):
        last = None
        while True:
            with transaction.atomic():
                delegation = in_force(today).select_related("delegator", "delegate").filter(pk=pk).first()
                chunk = _open_work(delegation, after=last)[:CHUNK] if delegation else []
                if delegation is None or not chunk:
                    break
                last = chunk[-1].item_id
                moved += _move(actor, delegation, chunk)
    return moved


def _open_work(delegation: Delegation, after: UUID | None = None) -> list[WorkItem]:
    """What the person who is away has not answered; a draft shows that they are on it, so it stays."""
    rows: QuerySet[WorkItem] = WorkItem.objects.filter(
        reviewer=delegation.delegator_id,
        state=WorkItemState.OPEN,
        item__state__in=OPEN_ITEM,
        item__campaign__state__in=[CampaignState.STAGED, CampaignState.ACTIVE],
    )
    if after is not None:
        rows = rows.filter(item__gt=after)
    return list(rows.order_by("item"))


def _move(actor: Actor, delegation: Delegation, work_items: Sequence[WorkItem]) -> int:
    """Hand these on where the stand-in fits; the caller's transaction. Returns how many moved."""
    items = {item.pk: item for item in locked_items({row.item_id for row in work_items})}
    asked = asked_before(items.values())
    held = WorkItem.objects.select_for_update(of=("self",)).select_related("reviewer").order_by("pk")
    note = f"{delegation.delegator} is away until {delegation.ends_on:%d %B %Y}. {delegation.note}".strip()
    moved = []
    # Asked again under the lock: somebody may have answered or handed it on a moment ago.
    for row in held.filter(
        pk__in=[row.pk for row in work_items], reviewer=delegation.delegator_id, state=WorkItemState.OPEN
    ):
        row.item = items[row.item_id]
        if unfit(delegation.delegate, row.item, asked[row.item_id]) is None:
            hand_over(
                actor,
                row,
                delegation.delegate,
                WorkItemMove.Kind.DELEGATED,
                f"Stands in for {delegation.delegator}.",
                note,
            )
            moved.append(row)
    if moved:
        record(actor=actor, act="delegation.moved", subject=delegation, data={"work_items": len(moved)})
        lead = _("%(name)s is away, and you stand in.") % {"name": delegation.delegator}
        tell_of_hand_over(moved, delegation.delegate, lead, delegation.note)
    return len(moved)


def staying(delegation: Delegation) -> list[tuple[WorkItem, str]]:
    """Undecided reviews that stay with the person who is away, each with the reason why the stand-in may not have it.

    The reason is worked out now, so that it is true now.
    """
    rows = _open_work(delegation)
    items = {
        item.pk: item
        for item in Item.objects.filter(pk__in=[row.item_id for row in rows]).select_related(
            "campaign", "server", "grant__agent__server", "grant__server", "connection__server", "agent__server"
        )
    }
    asked = asked_before(items.values())
    found = []
    for row in rows:
        row.item = items[row.item_id]
        refusal = unfit(delegation.delegate, row.item, asked[row.item_id])
        if refusal is not None:
            found.append((row, refusal.message))
    return found
