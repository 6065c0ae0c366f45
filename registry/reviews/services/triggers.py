"""What calls for a review now. One open trigger per subject and cause; an open item of the subject absorbs it.

Gathering the open ones into a micro-certification is `services.micro`.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import prefetch_related_objects
from django.utils.translation import gettext as _

from registry.audit.models import Event
from registry.audit.services import build_event, record_all
from registry.core import clock
from registry.core.actors import Actor
from registry.core.bulk import among
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.events import TriggerRaised
from registry.reviews.facts import collect
from registry.reviews.models import Item, SubjectKind, Trigger
from registry.reviews.models.subjects import NAMES
from registry.reviews.states import OPEN_ITEM

MOST_DETAIL = 300
AT_ONCE = 1000


def raise_trigger(
    *, actor: Actor, cause: Trigger.Cause, kind: str, subject_id: UUID, detail: str = ""
) -> Trigger | None:
    """Note that a subject needs a review now, as `raise_triggers` does for many; None when that is known already."""
    return next(iter(raise_triggers(actor=actor, cause=cause, subjects={(kind, subject_id): detail})), None)


@transaction.atomic
def raise_triggers(*, actor: Actor, cause: Trigger.Cause, subjects: Mapping[tuple[str, UUID], str]) -> list[Trigger]:
    """Note that these subjects, `{(kind, id): detail}`, need a review now; returns those that were not known yet.

    There is nothing to permit: something happened, and whoever calls has asked for permission to do that. Part of
    the caller's transaction. An open item of a subject, in whatever campaign, absorbs its trigger at once (invariant
    15). One change may touch thousands: the number of statements does not grow with them.
    """
    raised: list[Trigger] = []
    for kind in SubjectKind.values:
        # In one order everywhere: two that note the same subjects wait for each other, never in a circle.
        details = {pk: detail for (each, pk), detail in sorted(subjects.items()) if each == kind}
        if details:
            raised += _raise(cause, kind, details)
    record_all([_raised(actor, trigger) for trigger in raised])
    if any(trigger.handled_at is None for trigger in raised):
        publish(TriggerRaised())
    return raised


def _raise(cause: Trigger.Cause, kind: str, details: Mapping[UUID, str]) -> list[Trigger]:
    """Insert what is new; the database knows which subject waits for a review of this cause already."""
    absorbing = open_items(kind, details)
    told = Trigger.objects.filter(absorbed_by__in=among(absorbing.values()), cause=cause)
    known = set(told.values_list(f"{kind}_id", flat=True)) if absorbing else set()
    now = clock.now()
    wanted = [
        Trigger(
            kind=kind,
            **{f"{kind}_id": pk},
            cause=cause,
            detail=detail[:MOST_DETAIL],
            absorbed_by_id=absorbing.get(pk),
            handled_at=now if pk in absorbing else None,
        )
        for pk, detail in details.items()
        if pk not in known
    ]
    Trigger.objects.bulk_create(wanted, ignore_conflicts=True, batch_size=AT_ONCE)
    written = Trigger.objects.filter(pk__in=among([trigger.pk for trigger in wanted])).values_list("pk", flat=True)
    new = set(written)
    raised = [trigger for trigger in wanted if trigger.pk in new]
    prefetch_related_objects(raised, NAMES[kind])
    return raised


def open_items(kind: str, ids: Iterable[UUID]) -> dict[UUID, UUID]:
    """Which of these subjects are under review, and in which item."""
    items = Item.objects.filter(**{"kind": kind, f"{kind}__in": among(ids)}, state__in=OPEN_ITEM)
    return dict(items.values_list(f"{kind}_id", "pk"))


def _raised(actor: Actor, trigger: Trigger) -> Event:
    return build_event(
        actor=actor,
        act="trigger.raised",
        subject=trigger,
        data={
            "cause": trigger.cause,
            "kind": trigger.kind,
            "subject": str(trigger.subject_pk),
            "detail": trigger.detail,
            "absorbed_by": str(trigger.absorbed_by_id) if trigger.absorbed_by_id else None,
        },
    )


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
