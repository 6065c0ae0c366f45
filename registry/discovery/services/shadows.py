"""Acts on shadow servers: say which server it is, leave it alone for a while, take that back."""

from datetime import date, timedelta
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from registry.audit.services import record
from registry.catalog.models import Server
from registry.catalog.states import Lifecycle
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotFound
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.discovery.matching import shadows_of
from registry.discovery.models import Shadow
from registry.discovery.services.sightings import settle
from registry.discovery.states import SHADOW, ShadowState

LONGEST_IGNORED = timedelta(days=366)


def _locked(shadow: Shadow, expected_version: str | None) -> Shadow:
    fresh: Shadow = Shadow.objects.select_for_update(of=("self",)).select_related("server").get(pk=shadow.pk)
    fresh.check_version(expected_version)
    return fresh


@transaction.atomic
def register_shadow(*, actor: Actor, shadow: Shadow, server: Server, expected_version: str | None = None) -> Shadow:
    """Settle a shadow by the server that was registered at its very address.

    Raises `Invalid` when none of the server's endpoints is there: then it is linked, not registered.
    """
    require(actor, "discovery.settle_shadow", shadow)
    shadow = _locked(shadow, expected_version)
    _seen_by(actor, server)
    if not shadows_of(server).filter(pk=shadow.pk).exists():
        said = _("%(name)s has no endpoint %(uri)s.") % {"name": server.name, "uri": shadow.canonical_uri}
        raise Invalid(fields={"server": [said]})
    settle(actor, shadow, ShadowState.REGISTERED, server)
    return shadow


@transaction.atomic
def link_shadow(*, actor: Actor, shadow: Shadow, server: Server, expected_version: str | None = None) -> Shadow:
    """Say that it is a server the catalog knows under another address. The server itself is not changed."""
    require(actor, "discovery.settle_shadow", shadow)
    shadow = _locked(shadow, expected_version)
    _seen_by(actor, server)
    settle(actor, shadow, ShadowState.LINKED, server)
    return shadow


def _seen_by(actor: Actor, server: Server) -> None:
    if not Server.objects.visible_to(actor).filter(pk=server.pk).exists():
        raise NotFound
    if server.lifecycle == Lifecycle.RETIRED:
        raise Invalid(fields={"server": [_("This server has retired; nobody answers for it any more.")]})


@transaction.atomic
def ignore_shadow(
    *, actor: Actor, shadow: Shadow, reason: str, until: date, expected_version: str | None = None
) -> Shadow:
    """Leave it alone until the end of a day, with the reason why. What is seen meanwhile is still counted."""
    require(actor, "discovery.settle_shadow", shadow)
    shadow = _locked(shadow, expected_version)
    reason = reason.strip()
    if not reason:
        raise Invalid(fields={"reason": [_("Say why; whoever reads this in a year will ask.")]})
    refuse_secrets({"reason": reason})
    if until <= clock.today():
        raise Invalid(fields={"until": [_("Give a day that is still to come.")]})
    if until > clock.today() + LONGEST_IGNORED:
        raise Invalid(fields={"until": [_("At most a year; then it is looked at again.")]})
    SHADOW.move(shadow, ShadowState.IGNORED, field="state")
    shadow.reason, shadow.ignored_until = reason[:2000], until
    shadow.settled_by, shadow.settled_at = actor.user, clock.now()
    shadow.save()
    record(actor=actor, act="shadow.ignored", subject=shadow, data={"reason": shadow.reason, "until": until})
    return shadow


@transaction.atomic
def reopen_shadow(*, actor: Actor, shadow: Shadow, reason: str = "", expected_version: str | None = None) -> Shadow:
    """Take back what was said about it. What is registered stays so as long as its server does."""
    require(actor, "discovery.settle_shadow", shadow)
    shadow = _locked(shadow, expected_version)
    refuse_secrets({"reason": reason})
    still = shadow.server is not None and shadow.server.lifecycle != Lifecycle.RETIRED
    if shadow.state == ShadowState.REGISTERED and still:
        raise Invalid(_("Its server is in the catalog with this address; change the server's endpoints instead."))
    settle(actor, shadow, ShadowState.OPEN, None, reason=reason.strip()[:2000])
    return shadow


@transaction.atomic
def settle_registered(*, server_id: UUID | str) -> int:
    """After a server was registered or changed: its addresses are no shadows any more."""
    server = Server.objects.exclude(lifecycle=Lifecycle.RETIRED).filter(pk=server_id).first()
    if server is None:
        return 0
    open_ones = shadows_of(server).filter(state__in=(ShadowState.OPEN, ShadowState.IGNORED))
    shadows = list(open_ones.select_for_update(of=("self",)))
    for shadow in shadows:
        settle(Actor.system("registered servers"), shadow, ShadowState.REGISTERED, server)
    return len(shadows)


@transaction.atomic
def reopen_expired() -> int:
    """Shadows whose time of being left alone has ended are open again."""
    ended = Shadow.objects.filter(state=ShadowState.IGNORED, ignored_until__lt=clock.today())
    shadows = list(ended.select_for_update(of=("self",), skip_locked=True))
    for shadow in shadows:
        was = _("Was left alone until %(until)s: %(reason)s") % {
            "until": shadow.ignored_until, "reason": shadow.reason,
        }  # fmt: skip
        settle(Actor.system("expired shadows"), shadow, ShadowState.OPEN, None, reason=was[:2000])
    return len(shadows)
