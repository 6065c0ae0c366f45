"""What calls for a review now. One open trigger per subject and cause; an open item of the subject absorbs it.

Gathering the open ones into a micro-certification is `services.micro`.
"""

from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.events import TriggerRaised
from registry.reviews.facts import collect
from registry.reviews.models import Item, Trigger
from registry.reviews.states import OPEN_ITEM

MOST_DETAIL = 300


@transaction.atomic
def raise_trigger(
    *, actor: Actor, cause: Trigger.Cause, kind: str, subject_id: UUID, detail: str = ""
) -> Trigger | None:
    """Note that a subject needs a review now; None when that is known already.

    There is nothing to permit: something happened, and whoever calls has asked for permission to do that. Part of
    the caller's transaction. An open item of the subject, in whatever campaign, absorbs it at once (invariant 15).
    """
    about = {"kind": kind, kind: subject_id}
    item = Item.objects.filter(**about, state__in=OPEN_ITEM).first()
    if item is not None and Trigger.objects.filter(absorbed_by=item, cause=cause).exists():
        return None
    trigger = Trigger(
        kind=kind,
        **{f"{kind}_id": subject_id},
        cause=cause,
        detail=detail[:MOST_DETAIL],
        absorbed_by=item,
        handled_at=clock.now() if item else None,
    )
    try:
        with transaction.atomic():
            trigger.save(force_insert=True)
    except IntegrityError:
        if Trigger.objects.filter(**about, cause=cause, handled_at=None).exists():
            return None
        raise
    record(
        actor=actor,
        act="trigger.raised",
        subject=trigger,
        data={
            "cause": cause,
            "kind": kind,
            "subject": str(subject_id),
            "detail": trigger.detail,
            "absorbed_by": str(item.pk) if item else None,
        },
    )
    if item is None:
        publish(TriggerRaised())
    return trigger


@transaction.atomic
def ask_for_review(*, actor: Actor, kind: str, subject: Any, reason: str) -> Trigger:
    """Security or a campaign manager wants one thing reviewed now. The caller has found it visible to the actor.

    Raises `Conflict` when it is under review or asked for already, or when nothing is left to review.
    """
    require(actor, "reviews.ask_for_review", subject)
    refuse_secrets({"reason": reason})
    if not reason.strip():
        raise Invalid(fields={"reason": [_("Say why; its reviewer reads it first.")]})
    if len(reason.strip()) > MOST_DETAIL:
        raise Invalid(fields={"reason": [_("At most %(most)d characters.") % {"most": MOST_DETAIL}]})
    about = {"kind": kind, kind: subject.pk}
    if item := Item.objects.filter(**about, state__in=OPEN_ITEM).select_related("campaign").first():
        raise Conflict(_("It is under review already, in %(campaign)s.") % {"campaign": item.campaign})
    if not collect(kind, [subject.pk])[subject.pk].in_place:
        raise Conflict(_("It has ended; there is nothing left to review."))
    trigger = raise_trigger(
        actor=actor, cause=Trigger.Cause.BY_HAND, kind=kind, subject_id=subject.pk, detail=reason.strip()
    )
    if trigger is None:
        raise Conflict(_("Somebody asked for this review already; it opens within a minute."))
    return trigger
