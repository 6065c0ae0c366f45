"""Exceptions: access that should be gone is kept for a time, by somebody's leave, and never for good."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Tier
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, IllegalTransition, Invalid, NotIndependent
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent
from registry.reviews.cadence import end_of_day
from registry.reviews.executors import contradicting
from registry.reviews.models import ExceptionRecord, Remediation, SubjectKind, Trigger
from registry.reviews.services import certificates
from registry.reviews.services.notices import tell_of_exception
from registry.reviews.services.remediation import State, locked_remediation, move, send, settle
from registry.reviews.services.triggers import raise_trigger
from registry.reviews.services.verification import require_outsider, to_review
from registry.reviews.states import REMEDIATION

LIMIT_DAYS = {Tier.CRITICAL: 30, Tier.HIGH: 90, Tier.MEDIUM: 180, Tier.LOW: 365}
"""The longest an exception may last, by tier."""
CLOCK = Actor.system("expiry of exceptions")


def last_day(row: Remediation) -> date:
    """The last day an exception asked for today may name."""
    return clock.today() + timedelta(days=LIMIT_DAYS[Tier(row.item.tier)])


@transaction.atomic
def request_exception(
    *,
    actor: Actor,
    remediation: Remediation,
    reason: str,
    compensating_control: str,
    expires_at: datetime,
    expected_version: str | None = None,
) -> ExceptionRecord:
    """Ask to keep for a time what could not be taken away. Nothing changes before security approves.

    Raises `Invalid` by field, `Conflict` while another one is open, `IllegalTransition` where none can follow.
    """
    require(actor, "reviews.request_exception", remediation)
    refuse_secrets({"reason": reason, "compensating_control": compensating_control})
    row = locked_remediation(remediation.pk, expected_version)
    REMEDIATION.check(row.state, State.EXCEPTION)
    if actor.user is None:
        raise Conflict("Only a named person asks for an exception.")
    errors = {}
    if not reason.strip():
        errors["reason"] = ["Say why it cannot be taken away now."]
    if not compensating_control.strip():
        errors["compensating_control"] = ["Say what limits the risk meanwhile."]
    if expires_at <= clock.now():
        errors["expires_at"] = ["Choose an end in the future."]
    elif expires_at > end_of_day(last_day(row)):
        most = LIMIT_DAYS[Tier(row.item.tier)]
        errors["expires_at"] = [f"At most {most} days: the tier is {row.item.tier}."]
    if errors:
        raise Invalid(fields=errors)
    if row.exceptions.filter(ended_at=None).exists():
        raise Conflict("An exception is asked for or in force already.")
    exception = ExceptionRecord.objects.create(
        remediation=row,
        reason=reason.strip(),
        compensating_control=compensating_control.strip(),
        requested_by=actor.user,
        expires_at=expires_at,
    )
    record(
        actor=actor,
        act="exception.requested",
        subject=row,
        data={
            "exception": str(exception.pk),
            "reason": exception.reason,
            "compensating_control": exception.compensating_control,
            "expires_at": expires_at,
        },
    )
    tell_of_exception(exception)
    return exception


@transaction.atomic
def approve_exception(
    *, actor: Actor, exception: ExceptionRecord, expected_version: str | None = None
) -> ExceptionRecord:
    """Let it stay until the day asked for. Security's act: not whoever asked, decided the item, or has a stake."""
    exception = _judged(actor, exception, expected_version)
    if exception.expires_at <= clock.now():
        raise Conflict("The time it was asked for is over.")
    row = exception.remediation
    exception.approver, exception.approved_at = actor.user, clock.now()
    exception.save()
    row.next_attempt_at = None
    move(actor, row, State.EXCEPTION, exception=str(exception.pk), expires_at=exception.expires_at)
    row.save()
    tell_of_exception(exception)
    settle(actor, row)
    return exception


@transaction.atomic
def refuse_exception(
    *, actor: Actor, exception: ExceptionRecord, reason: str, expected_version: str | None = None
) -> ExceptionRecord:
    """It has to go after all; the remediation stays where it is. Barred like the approval."""
    refuse_secrets({"reason": reason})
    exception = _judged(actor, exception, expected_version)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why, for whoever asked."]})
    exception.approver, exception.refused_because = actor.user, reason.strip()
    exception.ended_at, exception.ended_because = clock.now(), "Refused."
    exception.save()
    _note(actor, exception, "exception.refused", reason=exception.refused_because)
    tell_of_exception(exception)
    return exception


@transaction.atomic
def end_exception(
    *, actor: Actor, exception: ExceptionRecord, reason: str, expected_version: str | None = None
) -> ExceptionRecord:
    """Give an exception up before its time, or take the request back. What was excepted is carried out now."""
    require(actor, "reviews.end_exception", exception)
    refuse_secrets({"reason": reason})
    exception = _locked(exception.pk, expected_version)
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why it is no longer needed."]})
    if exception.ended_at is not None:
        raise IllegalTransition("This exception has ended already.")
    if exception.approved_at is None and not actor.is_person(exception.requested_by_id):
        raise Conflict("It waits for a decision: refuse it instead.")
    _end(actor, exception, reason.strip())
    return exception


@transaction.atomic
def expire_exception(*, exception_id: UUID, actor: Actor = CLOCK) -> bool:
    """The clock's side: past its day an exception excuses nothing. The subject is no longer certified, the
    remediation goes on, and somebody has to look at the subject. A request nobody answered in time just ends.
    """
    require(actor, "reviews.carry_out")
    exception = _locked(exception_id)
    if exception.ended_at is not None or exception.expires_at > clock.now():
        return False
    row, in_force = exception.remediation, exception.approved_at is not None
    if in_force:
        kind, subject_id = to_review(row)
        raise_trigger(
            actor=actor,
            cause=Trigger.Cause.EXCEPTION_EXPIRED,
            kind=kind,
            subject_id=subject_id,
            detail=exception.reason,
        )
    _end(actor, exception, "Its time was over.")
    return True


def _end(actor: Actor, exception: ExceptionRecord, because: str) -> None:
    row, in_force = exception.remediation, exception.approved_at is not None
    exception.ended_at, exception.ended_because = clock.now(), because[:300]
    exception.save()
    _note(actor, exception, "exception.ended", because=because)
    tell_of_exception(exception)
    if in_force:
        _uncertify(actor, row)
        send(actor, row, because="exception ended")


def _uncertify(actor: Actor, row: Remediation) -> None:
    because, item = "Its exception ended.", row.item
    certificates.clear(actor=actor, kind=item.kind, subject=item.subject, because=because)
    for held in contradicting(row):
        if held != item.subject:
            kind = SubjectKind.GRANT if item.kind == SubjectKind.AGENT else item.kind
            certificates.clear(actor=actor, kind=kind, subject=held, because=because)


def _judged(actor: Actor, exception: ExceptionRecord, expected_version: str | None) -> ExceptionRecord:
    """The exception, locked and still undecided, and an actor who may decide on it."""
    exception = _locked(exception.pk, expected_version)
    if actor.is_person(exception.requested_by_id):
        raise NotIndependent("Whoever asked for an exception does not decide on it.")
    require(actor, "reviews.decide_exception", exception)
    require_recent(actor, _("Decide on an exception"))
    require_outsider(actor, "reviews.view", exception.remediation)
    if exception.ended_at is not None or exception.approved_at is not None:
        raise IllegalTransition("This exception was decided already.")
    REMEDIATION.check(exception.remediation.state, State.EXCEPTION)
    return exception


def _locked(exception_id: UUID, expected_version: str | None = None) -> ExceptionRecord:
    """The exception with its remediation, which is locked before it: always in this order."""
    remediation_id = ExceptionRecord.objects.values_list("remediation", flat=True).get(pk=exception_id)
    row = locked_remediation(remediation_id)
    fresh: ExceptionRecord = (
        ExceptionRecord.objects.select_for_update(of=("self",)).select_related("requested_by").get(pk=exception_id)
    )
    fresh.remediation = row
    fresh.check_version(expected_version)
    return fresh


def _note(actor: Actor, exception: ExceptionRecord, act: str, **data: Any) -> None:
    record(actor=actor, act=act, subject=exception.remediation, data={"exception": str(exception.pk), **data})
