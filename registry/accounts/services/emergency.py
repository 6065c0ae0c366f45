"""Break-glass: a role taken for a few hours, seen by everybody of security, reviewed by somebody else afterwards."""

from datetime import timedelta
from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from registry.accounts.events import EmergencyRoleTaken
from registry.accounts.models import Elevation, Role, User
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.independence import require_decider
from registry.core.inert import visible
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent

log = structlog.get_logger(__name__)
MAX_HOURS = 4
CLOCKWORK = Actor.system("end of emergency roles")


def _said(field: str, text: str) -> str:
    if not text.strip():
        raise Invalid(fields={field: [_("Say it in a sentence; somebody else reviews this.")]})
    refuse_secrets({field: text})
    return text.strip()


@transaction.atomic
def take_role(*, actor: Actor, role: str, reason: str, hours: int = 1) -> Elevation:
    """Have one further role until `hours` from now, in this person's browsers only: no token ever has it.

    Raises `Invalid` (role, reason, hours), `Conflict` while an earlier one runs.
    """
    require(actor, "accounts.take_role")
    require_recent(actor, _("Take a role in an emergency"))
    reason = _said("reason", reason)
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    errors: dict[str, list[str]] = {}
    if role not in Role.values:
        errors["role"] = [_("Not a role.")]
    elif role in user.roles:
        errors["role"] = [_("You have this role.")]
    if not 1 <= hours <= MAX_HOURS:
        errors["hours"] = [_("From 1 to %(n)d hours.") % {"n": MAX_HOURS}]
    if errors:
        raise Invalid(fields=errors)
    now = clock.now()
    for earlier in Elevation.objects.select_for_update().filter(user=user, ended_at=None):
        if earlier.ends_at > now:
            raise Conflict(_("You have a role of this kind already. Give it back first."))
        _ended(CLOCKWORK, earlier)
    taken = Elevation.objects.create(
        user=user, role=role, reason=reason, started_at=now, ends_at=now + timedelta(hours=hours)
    )
    user.elevated_role, user.elevated_until = role, taken.ends_at
    user.save(update_fields=["elevated_role", "elevated_until"])
    data = {"elevation": str(taken.pk), "role": role, "reason": reason, "ends_at": taken.ends_at.isoformat()}
    record(actor=actor, act="user.emergency_role_taken", subject=user, data=data)
    publish(EmergencyRoleTaken(elevation_id=taken.pk))
    return taken


def _ended(actor: Actor, taken: Elevation) -> None:
    taken.ended_at, taken.ended_by = min(clock.now(), taken.ends_at), actor.user
    taken.save()
    User.objects.filter(pk=taken.user_id).update(elevated_role="", elevated_until=None)
    data = {"elevation": str(taken.pk), "role": taken.role}
    record(actor=actor, act="user.emergency_role_ended", subject=taken.user, data=data)


def end_roles_of(actor: Actor, user: User) -> None:
    """Part of leaving: coming back within the hour must not bring it back."""
    running = Elevation.objects.select_for_update(of=("self",)).select_related("user")
    for taken in running.filter(user=user, ended_at=None):
        _ended(actor, taken)


@transaction.atomic
def end_role(*, actor: Actor, elevation: Elevation) -> Elevation:
    """Give it back, or take it away, before its time."""
    require(actor, "accounts.end_role", elevation)
    taken = Elevation.objects.select_for_update(of=("self",)).select_related("user").get(pk=elevation.pk)
    if taken.ended_at is not None:
        raise Conflict(_("It has ended already."))
    _ended(actor, taken)
    return taken


@transaction.atomic
def review_role(*, actor: Actor, elevation: Elevation, finding: str, expected_version: str | None = None) -> Elevation:
    """Somebody else has looked at what was done with it, and says what they found."""
    require_decider(actor, "accounts.review_role", elevation)
    finding = _said("finding", finding)
    taken = Elevation.objects.select_for_update(of=("self",)).select_related("user").get(pk=elevation.pk)
    taken.check_version(expected_version)
    if taken.is_open:
        raise Conflict(_("It still runs. Review it when it has ended."))
    if taken.reviewed_at is not None:
        raise Conflict(_("It has been reviewed already."))
    taken.reviewed_at, taken.reviewed_by, taken.finding = clock.now(), actor.user, finding
    taken.save()
    data = {"elevation": str(taken.pk), "role": taken.role, "finding": finding}
    record(actor=actor, act="user.emergency_role_reviewed", subject=taken.user, data=data)
    return taken


def end_due_roles() -> int:
    """Say of those that ran out that they did; they stopped working at their instant. Returns how many."""
    due = Elevation.objects.filter(ended_at=None, ends_at__lte=clock.now())
    ended = 0
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            taken = due.select_for_update(of=("self",), skip_locked=True).select_related("user").filter(pk=pk).first()
            if taken is not None:
                _ended(CLOCKWORK, taken)
                ended += 1
    return ended


def alarm() -> int:
    """Write to security and administrators about what was taken and not yet told. Returns how many were told of.

    The row is locked until its mail is on its way; a mail server that is down leaves it for the next minute.
    """
    due = Elevation.objects.filter(told_at=None)
    told = 0
    for pk in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            taken = due.select_for_update(of=("self",), skip_locked=True).select_related("user").filter(pk=pk).first()
            if taken is None:
                continue
            Elevation.objects.filter(pk=pk).update(told_at=clock.now())
            watching = User.objects.filter(Q(roles__overlap=["security", "administrator"]) | Q(pk=taken.user_id))
            addresses = list(watching.filter(is_active=True).values_list("email", flat=True))
            subject = _("Emergency role: %(name)s is %(role)s now")
            try:
                send_mail(
                    visible(subject % {"name": taken.user.name, "role": taken.get_role_display()}),
                    visible(
                        render_to_string(
                            "accounts/mail/emergency_role.txt", {"taken": taken, "base_url": settings.BASE_URL}
                        )
                    ),
                    None,
                    addresses,
                )
            except (OSError, SMTPException) as error:
                log.warning("alarm_not_sent", elevation=str(pk), error=type(error).__name__)
                transaction.set_rollback(True)
                continue
            told += 1
    return told
