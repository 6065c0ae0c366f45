"""Objections of the people concerned, before something is taken away."""

from typing import Any

from django.db import transaction

from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotIndependent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.reviews.models import Challenge, Remediation, Trigger
from registry.reviews.services.notices import tell_of_answer, tell_of_challenge
from registry.reviews.services.remediation import State, locked_remediation, move, send, settle
from registry.reviews.services.triggers import raise_trigger
from registry.reviews.services.verification import deciders, require_outsider, to_review


@transaction.atomic
def challenge_remediation(
    *, actor: Actor, remediation: Remediation, reason: str, expected_version: str | None = None
) -> Challenge:
    """Object before the window closes; nothing is taken away until somebody independent has decided on it.

    Raises `Conflict` when the window is over or somebody's objection is open already.
    """
    require(actor, "reviews.challenge_remediation", remediation)
    refuse_secrets({"reason": reason})
    row = locked_remediation(remediation.pk, expected_version)
    require(actor, "reviews.challenge_remediation", row)
    if actor.user is None:
        raise Conflict("Only a named person objects.")
    if row.state != State.CHALLENGE or row.challenge_until is None or row.challenge_until <= clock.now():
        raise Conflict("The time to object is over.")
    if actor.user_id in deciders(row.item):
        raise NotIndependent("Whoever decided it does not object to it.")
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say what would break, or why the decision was wrong."]})
    if row.challenges.filter(upheld=None).exists():
        raise Conflict("Somebody's objection waits for a decision already.")
    challenge = Challenge.objects.create(remediation=row, by=actor.user, reason=reason.strip())
    record(
        actor=actor,
        act="remediation.challenged",
        subject=row,
        data={"challenge": str(challenge.pk), "reason": challenge.reason},
    )
    tell_of_challenge(challenge)
    return challenge


@transaction.atomic
def decide_challenge(
    *, actor: Actor, challenge: Challenge, upheld: bool, answer: str, expected_version: str | None = None
) -> Challenge:
    """Upheld: the remediation is withdrawn and the subject reviewed once more. Otherwise it is carried out now.

    Raises `NotIndependent` for whoever objected, decided the item, or has a stake in the subject.
    """
    require_outsider_of(actor, challenge)
    refuse_secrets({"answer": answer})
    row = locked_remediation(challenge.remediation_id)
    challenge = Challenge.objects.select_for_update(of=("self",)).select_related("by").get(pk=challenge.pk)
    challenge.remediation = row
    challenge.check_version(expected_version)
    require_outsider_of(actor, challenge)
    if challenge.upheld is not None:
        raise Conflict("This objection was decided already.")
    if not answer.strip():
        raise Invalid(fields={"answer": ["Say why, for whoever objected."]})
    if actor.user is None:
        raise Conflict("Only a named person decides on an objection.")
    challenge.upheld, challenge.answer = upheld, answer.strip()
    challenge.decided_by, challenge.decided_at = actor.user, clock.now()
    challenge.save()
    facts: dict[str, Any] = {"challenge": str(challenge.pk), "upheld": upheld, "answer": challenge.answer}
    record(actor=actor, act="remediation.challenge_decided", subject=row, data=facts)
    if upheld:
        move(actor, row, State.WITHDRAWN, because="objection upheld", challenge=str(challenge.pk))
        row.save()
        kind, subject_id = to_review(row)
        raise_trigger(
            actor=actor,
            cause=Trigger.Cause.CHALLENGE_UPHELD,
            kind=kind,
            subject_id=subject_id,
            detail=challenge.reason,
        )
        settle(actor, row)
    else:
        send(actor, row, because="objection refused")
    tell_of_answer(challenge)
    return challenge


def require_outsider_of(actor: Actor, challenge: Challenge) -> None:
    if actor.is_person(challenge.by_id):
        raise NotIndependent("Whoever objected does not decide on it.")
    require(actor, "reviews.decide_challenge", challenge)
    require_outsider(actor, "reviews.view", challenge.remediation)
