"""Acts that ask a person to have proved lately who they are.

A browser left open, a session somebody else got hold of: neither may sign, waive, suspend or revoke. Tokens pass: they
have no session, were given the scope on purpose, and end by themselves (docs/adr/0009). So does what the system carries
out later on a decision that somebody signed.
"""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.core.actors import Actor
from registry.core.errors import StepUpRequired


def is_recent(actor: Actor) -> bool:
    """By the real clock: what a story or a test takes for the present does not make a session older."""
    since = actor.authenticated_at
    return since is None or timezone.now() - since <= timedelta(seconds=settings.STEP_UP_SECONDS)


def require_recent(actor: Actor, doing: str) -> None:
    """Raise `StepUpRequired` when the person in this browser proved who they are longer than STEP_UP_SECONDS ago.

    `doing` is what they are about to do, capitalised, as a heading: "Sign off". Stands after `require`: whoever may
    not do it at all is told that, and is not asked for a password first.
    """
    if not is_recent(actor):
        raise StepUpRequired(
            _("You signed in a while ago. Confirm that it is you, then go on."),
            doing=doing,
            max_age=settings.STEP_UP_SECONDS,
        )
