"""What people decide about what the clock does: release or decline what the circuit breaker holds back, and give back
what was suspended."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.models import Event
from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotAllowed, NotIndependent
from registry.core.events import publish
from registry.core.independence import bars, require_independent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.cadence import MICRO_DAYS, end_of_day
from registry.reviews.events import ActionsReleased
from registry.reviews.models import AutomaticAction, Decision, Item, Trigger
from registry.reviews.services import remediation
from registry.reviews.services.moves import locked_item, locked_items
from registry.reviews.services.triggers import raise_trigger
from registry.reviews.states import AUTOMATIC_ACTION, OPEN_ITEM, AutomaticActionState

State = AutomaticActionState
LADDER = Actor.system("no-response ladder")


@transaction.atomic
def release_actions(*, actor: Actor, actions: Sequence[AutomaticAction], reason: str) -> int:
    """Let go on what the breaker held back: the ladder carries it out within seconds. Returns how many.

    Raises `NotIndependent` naming those the actor has a part in, `NotAllowed` for the campaign's own owner (the
    second person is somebody else), `Conflict` when one no longer waits. All or none.
    """
    found = _decided(actor, actions, reason)
    for action in found:
        AUTOMATIC_ACTION.move(action, State.PLANNED, field="state")
        _note_decision(actor, action, reason, "released")
    for campaign_id in dict.fromkeys(action.item.campaign_id for action in found):
        publish(ActionsReleased(campaign_id=campaign_id))
    return len(found)


@transaction.atomic
def decline_actions(*, actor: Actor, actions: Sequence[AutomaticAction], reason: str) -> int:
    """Do not let it happen: the items get a new deadline, by their tier, and with it a new ladder. Returns how many.

    Raises as `release_actions` does.
    """
    found = _decided(actor, actions, reason)
    for action in found:
        AUTOMATIC_ACTION.move(action, State.DECLINED, field="state")
        item = action.item
        if item.state in OPEN_ITEM:
            item.due_at = end_of_day(clock.today() + clock.days(MICRO_DAYS[Tier(item.tier)]))
            item.ladder_from = item.ladder_until = None
            item.save(update_fields=["due_at", "ladder_from", "ladder_until"])
        _note_decision(actor, action, reason, "declined", due_at=item.due_at)
    return len(found)


def _note_decision(actor: Actor, action: AutomaticAction, reason: str, verb: str, **data: Any) -> None:
    action.decided_by, action.decided_at, action.reason = actor.user, clock.now(), reason.strip()
    action.save()
    record(
        actor=actor,
        act=f"automatic_action.{verb}",
        subject=action.item,
        data={"action": str(action.pk), "kind": action.kind, "reason": action.reason, **data},
    )


def _decided(actor: Actor, actions: Sequence[AutomaticAction], reason: str) -> list[AutomaticAction]:
    """The chosen actions, locked after their items; raises unless this person may decide on all of them."""
    require(actor, "reviews.release_action")
    _given(reason)
    chosen = dict(AutomaticAction.objects.filter(pk__in=[each.pk for each in actions]).values_list("item", "pk"))
    items = {item.pk: item for item in locked_items(chosen)}
    found = list(AutomaticAction.objects.select_for_update(of=("self",)).filter(pk__in=chosen.values()).order_by("pk"))
    if not found:
        raise Conflict(_("Choose at least one action."))
    barred = []
    for action in found:
        action.item = items[action.item_id]
        if actor.is_person(action.item.campaign.owner_id):
            raise NotAllowed(_("You own this campaign: a second person has to decide this."))
        if action.state != State.HELD:
            raise Conflict(
                _("%(item)s no longer waits: %(state)s.")
                % {"item": action.item, "state": action.get_state_display().lower()}
            )
        if reasons := bars(actor.user_id, action.item):
            barred.append(f"{action.item} ({' and '.join(reasons)})")
    if actor.user is None:
        raise NotIndependent(_("Only a named person can decide this."))
    if barred:
        raise NotIndependent(_("Somebody else must decide these: %(items)s.") % {"items": "; ".join(barred)})
    return found


# --- Giving back -----------------------------------------------------------------------------------------


@transaction.atomic
def restore_action(
    *, actor: Actor, action: AutomaticAction, reason: str, expected_version: str | None = None
) -> AutomaticAction:
    """Resume exactly what this suspension stopped. It is not certified by that: a review of it opens.

    Raises `NotIndependent` for whoever has a part in the subject, `Conflict` when there is nothing to give back.
    """
    require(actor, "reviews.restore_action", action)
    reason = _given(reason)
    item = locked_item(action.item_id)
    action = AutomaticAction.objects.select_for_update(of=("self",)).get(pk=action.pk)
    action.item = item
    action.check_version(expected_version)
    require_independent(actor, item)
    if action.kind != AutomaticAction.Kind.SUSPEND:
        raise Conflict(_("Only a suspension can be undone. What lapsed or was revoked comes back by a review of it."))
    AUTOMATIC_ACTION.check(action.state, State.RESTORED)
    resumed = remediation.resume_subjects(actor, _still_suspended(action.suspended), reason)
    if not resumed:
        raise Conflict(_("Nothing is left to resume: it was resumed, revoked or has ended meanwhile."))
    _note_restored(actor, action, reason, resumed)
    raise_trigger(actor=actor, cause=Trigger.Cause.RESTORED, kind=item.kind, subject_id=item.subject_pk, detail=reason)
    return action


def give_back_certified(certified: Mapping[Item, Decision], remaining: Mapping[UUID, Any]) -> None:
    """What the ladder had suspended meanwhile goes back into service, because these decisions certify it.

    Part of the signature. `remaining` names by item the narrower version that a reduction left. Who signed may have
    become a party since: then it stays suspended, and somebody independent restores it.
    """
    by_id = {item.pk: (item, decision) for item, decision in certified.items()}
    actions = AutomaticAction.objects.select_for_update(of=("self",)).filter(
        item__in=by_id, kind=AutomaticAction.Kind.SUSPEND, state=State.DONE
    )
    for action in actions.order_by("pk"):
        action.item, decision = by_id[action.item_id]
        signer = decision.work_item.reviewer
        if bars(signer.pk, action.item.subject):
            continue
        narrower = remaining.get(action.item_id)
        pairs = _still_suspended(action.suspended) if narrower is None else [[narrower.kind, str(narrower.pk)]]
        reason = _("A review certified it.")
        by = Actor.person(signer)
        _note_restored(by, action, reason, remediation.resume_subjects(by, pairs, reason))


def _still_suspended(pairs: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Those whose last suspension was the ladder's: what somebody stopped again since is not ours to give back."""
    last = (
        Event.objects.filter(
            subject_id__in=[pk for _kind, pk in pairs], act__in=[f"{kind}.suspended" for kind, _ in pairs]
        )
        .order_by("subject_id", "-at", "-id")
        .distinct("subject_id")
    )
    ours = {
        str(event.subject_id) for event in last if (event.actor_kind, event.actor_label) == ("system", LADDER.label)
    }
    return [pair for pair in pairs if pair[1] in ours]


def _note_restored(actor: Actor, action: AutomaticAction, reason: str, resumed: Sequence[Sequence[str]]) -> None:
    AUTOMATIC_ACTION.move(action, State.RESTORED, field="state")
    action.restored_by, action.restored_at, action.reason = actor.user, clock.now(), reason
    action.save()
    record(
        actor=actor,
        act="automatic_action.restored",
        subject=action.item,
        data={"action": str(action.pk), "suspended": action.suspended, "resumed": resumed, "reason": reason},
    )


def _given(reason: str) -> str:
    refuse_secrets({"reason": reason})
    if not reason.strip():
        raise Invalid(fields={"reason": [_("Say why; whoever reads this in a year will ask.")]})
    return reason.strip()
