"""What a token made: it has no more than its maker, from nowhere else, for no longer, and ends with it.

Else whoever finds a token that lives for a day, or may be used from one address only, makes themselves one without
these limits, and keeps it when the first is revoked.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.utils.translation import gettext as _

from registry.accounts.models import ApiToken
from registry.accounts.networks import common, outside
from registry.audit.services import record
from registry.core import clock
from registry.core import scopes as core_scopes
from registry.core.actors import Actor
from registry.core.errors import Invalid, NotSignedIn


def maker(actor: Actor) -> ApiToken | None:
    """The token that acts, locked so that it is not revoked meanwhile; None for whoever is none."""
    if actor.kind != "token":
        return None
    living = ApiToken.objects.select_for_update(of=("self",)).filter(revoked_at=None)
    token = living.filter(pk=actor.token_id).first() if actor.token_id is not None else None
    if token is None:
        raise NotSignedIn("This token is unknown, expired or revoked.")
    return token


def networks_within(wanted: Sequence[str], *limits: Sequence[str]) -> list[str]:
    """`wanted`, if all of it lies within each of `limits`. Raises `Invalid`."""
    for each in limits:
        if beyond := outside(wanted, each):
            said = (
                _("It is bound to %(networks)s and cannot do without.") % {"networks": ", ".join(each)}
                if beyond == ["*"]
                else _("%(beyond)s is not part of %(networks)s, to which it is bound.")
                % {"beyond": ", ".join(beyond), "networks": ", ".join(each)}
            )
            raise Invalid(fields={"networks": [said]})
    return list(wanted)


def no_later(end: datetime, parent: ApiToken | None) -> datetime:
    return end if parent is None else min(end, parent.expires_at)


def _living_children(token: ApiToken) -> Iterator[ApiToken]:
    rows = ApiToken.objects.select_for_update(of=("self",)).select_related("user")
    yield from rows.filter(parent=token, revoked_at=None).order_by("pk")


def revoke(actor: Actor, token: ApiToken, **because: str) -> int:
    """Revoke a locked token and whatever it made. Returns how many that were."""
    token.revoked_at = clock.now()
    token.save(update_fields=["revoked_at"])
    record(actor=actor, act="token.revoked", subject=token, data=because)
    why = {"because": "the token that made it was revoked", "parent": str(token.pk)}
    return 1 + sum(revoke(actor, child, **why) for child in list(_living_children(token)))


def hold_children(actor: Actor, token: ApiToken) -> None:
    """After a token was changed: what it made keeps only what it still has itself, and ends with the last of that."""
    for child in list(_living_children(token)):
        networks = common(child.networks, token.networks)
        kept = {scope for scope in child.scopes if core_scopes.covers(token.scopes, scope)}
        kept |= {scope for scope in token.scopes if core_scopes.covers(child.scopes, scope)}
        if not kept or networks is None:
            revoke(actor, child, because="the token that made it was narrowed", parent=str(token.pk))
            continue
        wanted = {"scopes": sorted(kept), "networks": networks, "expires_at": no_later(child.expires_at, token)}
        before = {name: getattr(child, name) for name in wanted}
        if changed := [name for name in wanted if before[name] != wanted[name]]:
            for name in changed:
                setattr(child, name, wanted[name])
            child.save(update_fields=changed)
            record(
                actor=actor,
                act="token.edited",
                subject=child,
                data={
                    "before": {name: before[name] for name in changed},
                    "after": {name: wanted[name] for name in changed},
                    "because": "the token that made it was changed",
                },
            )
        hold_children(actor, child)
