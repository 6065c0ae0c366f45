"""What stands above every page: while somebody has a role they took in an emergency, or a lifeline is broken."""

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from registry.accounts import lifelines
from registry.accounts.models import Elevation
from registry.core import clock, context
from registry.core.actors import Actor
from registry.core.context import Banner


def _until(taken: Elevation) -> str:
    return timezone.localtime(taken.ends_at).strftime("%H:%M %Z")


def emergency_roles(actor: Actor) -> list[Banner]:
    """Their own to whoever has one, everybody's to security. Others cost no query."""
    now = clock.now()
    if not (actor.has_role("security") or actor.user.elevation):
        return []
    shown = Elevation.objects.open(now).select_related("user")
    if not actor.has_role("security"):
        shown = shown.filter(user=actor.user)
    url = reverse("accounts:emergency")
    return [
        Banner(
            (
                _("You have the emergency role %(role)s until %(time)s. What you do with it is reviewed.")
                if actor.is_person(taken.user_id)
                else _("%(name)s has the emergency role %(role)s until %(time)s.")
            )
            % {"name": taken.user.name, "role": taken.get_role_display(), "time": _until(taken)},
            url,
        )
        for taken in shown
    ]


def broken_lifelines(actor: Actor) -> list[Banner]:
    """To those who can mend it, or have somebody mend it."""
    if not actor.has_role("security", "administrator"):
        return []
    return [Banner(words, reverse(page), _("Alarm")) for words, page in lifelines.known_broken(actor)]


def connect() -> None:
    context.banner(emergency_roles)
    context.banner(broken_lifelines)
