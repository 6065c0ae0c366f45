"""The alarm when the registry loses somebody to administer it, or the directory's word on who left."""

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from registry.accounts import lifelines
from registry.accounts.models import User
from registry.audit.models import Event
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.inert import visible

log = structlog.get_logger(__name__)
WATCH = Actor.system("watch over lifelines")
ACTS = {
    "no_administrator": "administrators.none_left",
    "directory_lost": "directory.unheard",
    "directory_ends": "directory.ends_soon",
}


def watch_lifelines() -> int:
    """Write to administrators and security about each lifeline that broke, once. Returns how many were told of.

    That it was told is an event in the audit log, which is kept only when the mail is on its way: a mail server that is
    down leaves it for the next round.
    """
    return sum(_tell(each) for each in lifelines.broken())


@transaction.atomic
def _tell(found: "lifelines.Broken") -> bool:
    # Two workers do not both write: the row it is about is held until the event is there.
    type(found.about).objects.select_for_update().get(pk=found.about.pk)
    told = Event.objects.filter(act=ACTS[found.kind], subject_id=found.about.pk, data__since=found.since.isoformat())
    if told.exists():
        return False
    data = {"since": found.since.isoformat(), "words": found.words}
    record(actor=WATCH, act=ACTS[found.kind], subject=found.about, data=data)
    log.error("lifeline_broken", kind=found.kind, since=found.since.isoformat())
    watching = User.objects.filter(is_active=True, roles__overlap=["security", "administrator"]).order_by("pk")
    addresses = list(watching.values_list("email", flat=True))
    context = {"found": found, "base_url": settings.BASE_URL}
    try:
        if addresses:
            send_mail(
                visible(_SUBJECTS[found.kind]()),
                visible(render_to_string("accounts/mail/lifeline.txt", context)),
                None,
                addresses,
            )
    except (OSError, SMTPException) as error:
        log.warning("lifeline_alarm_not_sent", kind=found.kind, error=type(error).__name__)
        transaction.set_rollback(True)
        return False
    return True


_SUBJECTS = {
    "no_administrator": lambda: _("Nobody administers the registry any more"),
    "directory_lost": lambda: _("The directory is no longer heard"),
    "directory_ends": lambda: _("The directory's last credential ends soon"),
}
