"""An outbox for mail: written with the act, sent after it.

Why rows and not a task per mail: a task that dies after the act's commit loses the mail, one that runs twice doubles
it. A `Letter` is committed with what it tells of (both or neither), and its key names the occasion, so it is written
once. Sending locks the row and marks it in the same transaction: two workers never send the same one. Only a crash
between the mail server's "250 OK" and our commit sends again, with the same Message-ID, which says that it is a copy.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string

from registry.accounts.models import User
from registry.core import clock
from registry.core.events import publish
from registry.core.inert import visible
from registry.reviews.events import LettersWritten
from registry.reviews.models import Campaign, Letter

log = structlog.get_logger(__name__)
GIVE_UP_AFTER = 12
"""Tries, with doubling pauses from one minute to six hours: about two days."""


def write_letter(
    *, key: str, template: str, to: User, subject: str, context: Mapping[str, Any], campaign: Campaign | None = None
) -> bool:
    """Write one mail as part of the caller's transaction; False when this occasion was told already."""
    letter = compose(key=key, template=template, to=to, subject=subject, context=context, campaign=campaign)
    return bool(write_letters([letter]))


def compose(
    *, key: str, template: str, to: User, subject: str, context: Mapping[str, Any], campaign: Campaign | None = None
) -> Letter:
    """An unsaved letter. `template` names `reviews/mail/<template>.txt` and `.html`; both get `context`, `person` and
    `base_url`."""
    context = {"campaign": campaign, **context, "person": to, "base_url": settings.BASE_URL}
    return Letter(
        key=key,
        to=to,
        campaign=campaign,
        subject=visible(" ".join(subject.split()))[:250],
        text=visible(render_to_string(f"reviews/mail/{template}.txt", context)),
        html=visible(render_to_string(f"reviews/mail/{template}.html", context)),
    )


def write_letters(letters: Sequence[Letter]) -> int:
    """Write these as part of the caller's transaction, but for occasions that were told already; returns how many."""
    Letter.objects.bulk_create(letters, ignore_conflicts=True, batch_size=500)
    written = Letter.objects.filter(pk__in=[letter.pk for letter in letters]).count()
    if written:
        publish(LettersWritten())
    return written


def send_letters(*, now: datetime) -> int:
    """Send what waits, oldest first, each in its own transaction. Returns how many the mail server took.

    One that it refuses is tried again later and keeps nobody else's waiting.
    """
    sent = 0
    while (outcome := _send_next(now)) is not None:
        sent += outcome
    return sent


@transaction.atomic
def _send_next(now: datetime) -> bool | None:
    """True: sent; False: dropped, or put off; None: nothing is left to do."""
    letter = (
        Letter.objects.select_for_update(of=("self",), skip_locked=True)
        .filter(sent_at=None, dropped_because="", due_at__lte=now)
        .select_related("to")
        .order_by("due_at", "id")
        .first()
    )
    if letter is None:
        return None
    if not letter.to.is_active:
        letter.dropped_because = "Its recipient is no longer active."
        letter.save(update_fields=["dropped_because"])
        return False
    letter.attempts += 1
    try:
        _message(letter).send()
    except Exception as error:
        # Whatever is wrong with one mail must not keep the others waiting.
        log.warning("letter_not_sent", letter_id=str(letter.pk), attempts=letter.attempts, error=type(error).__name__)
        letter.due_at = now + min(timedelta(minutes=2 ** (letter.attempts - 1)), timedelta(hours=6))
        if letter.attempts >= GIVE_UP_AFTER:
            letter.dropped_because = f"The mail server refused it {letter.attempts} times ({type(error).__name__})."
        letter.save(update_fields=["attempts", "due_at", "dropped_because"])
        return False
    letter.sent_at = clock.now()
    letter.save(update_fields=["attempts", "sent_at"])
    return True


def _message(letter: Letter) -> EmailMultiAlternatives:
    host = urlsplit(settings.BASE_URL).hostname or "localhost"
    message = EmailMultiAlternatives(
        subject=letter.subject,
        body=letter.text,
        to=[letter.to.email],
        # Out-of-office replies to a registry help nobody.
        headers={"Auto-Submitted": "auto-generated", "Message-ID": f"<{letter.pk}@{host}>"},
    )
    message.attach_alternative(letter.html, "text/html")
    return message
