"""What this registry finds about its own credentials, by the same measure it takes of others'.

Every finding names one credential, why it stands out, and the act that ends it. Nothing is stored: a finding is gone
when its reason is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from registry.accounts import lifelines
from registry.accounts.models import ApiToken, ServicePrincipal
from registry.accounts.queries import principals_visible_to, tokens_visible_to
from registry.core import clock, scopes
from registry.core.actors import Actor
from registry.core.permissions import allows

UNUSED_AFTER = timedelta(days=30)
ROTATED_WITHIN = timedelta(days=180)
ENDS_WITHIN = timedelta(days=7)
POWERFUL = ("administrator", "security")
Words = str | Promise


@dataclass(frozen=True)
class Kind:
    """`urgency` orders findings: the first are ended first."""

    name: str
    urgency: int
    title: Words
    why: Words
    act: Words


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "directory_lost",
            -2,
            _("The directory is no longer heard"),
            _("This was its last credential, and it has ended. Whoever leaves now keeps their access."),
            _("Give the directory a new one"),
        ),
        Kind(
            "directory_ends",
            -1,
            _("The directory's last credential ends within 14 days"),
            _("From then on the directory is refused, and nobody hears of leavers."),
            _("Rotate it, or use workload identity"),
        ),
        Kind("owner_left", 0, _("Its owner left"), _("Nobody answers for it."), _("Revoke or hand over")),
        Kind(
            "rests",
            0,
            _("It rests, and is refused"),
            _("The identity provider of its owner does not confirm them any more."),
            _("Its owner signs in here; else revoke it"),
        ),
        Kind(
            "writes_everything",
            1,
            _("May change everything"),
            _("It holds the writing scopes of every room. Whoever finds it has all that its owner has."),
            _("Take scopes away"),
        ),
        Kind(
            "powerful_owner",
            2,
            _("Writes for security or an administrator"),
            _("What it may change goes far beyond one task, because its owner's roles do."),
            _("Take scopes away, or let it act for somebody with fewer roles"),
        ),
        Kind(
            "rests_soon",
            3,
            _("Rests within 7 days"),
            _("Its owner has not signed in for long, so that nobody confirms them."),
            _("Its owner signs in here"),
        ),
        Kind("ends_soon", 3, _("Ends within 7 days"), _("Whatever uses it stops then."), _("Rotate or revoke")),
        Kind(
            "unrotated",
            4,
            _("Same secret for 180 days"),
            _("The older a secret, the more places it has been in."),
            _("Rotate, or use workload identity"),
        ),
        Kind(
            "unused", 5, _("Not used for 30 days"), _("What nobody uses, nobody misses when it is stolen."), _("Revoke")
        ),
    )
}


@dataclass(frozen=True)
class Finding:
    kind: Kind
    credential: ApiToken | ServicePrincipal
    since: datetime

    @property
    def is_token(self) -> bool:
        return isinstance(self.credential, ApiToken)

    @property
    def owner(self) -> Any:
        return self.credential.user if isinstance(self.credential, ApiToken) else self.credential.owner

    @property
    def url(self) -> str:
        return reverse("accounts:token" if self.is_token else "accounts:principal", args=[self.credential.pk])


def _everything() -> list[str]:
    return [scope for scope in scopes.shorthands() if scope.endswith(":write")]


def _writes(held: list[str]) -> bool:
    return any(not scope.endswith(":read") for scope in held)


def _of(credential: ApiToken | ServicePrincipal, owner: Any, since: datetime, now: datetime) -> Iterator[Finding]:
    """What holds for either kind of credential. `since`: when it came to be as it is."""
    if not owner.is_active:
        yield Finding(KINDS["owner_left"], credential, owner.updated_at)
        return
    if (rests := owner.rests_at) is not None and rests - timezone.now() <= ENDS_WITHIN:
        yield Finding(KINDS["rests" if rests <= timezone.now() else "rests_soon"], credential, rests)
    if all(scopes.covers(credential.scopes, scope) for scope in _everything()):
        yield Finding(KINDS["writes_everything"], credential, since)
    elif _writes(credential.scopes) and set(owner.roles) & set(POWERFUL):
        yield Finding(KINDS["powerful_owner"], credential, since)
    quiet = max(credential.last_used_at or since, since)
    if now - quiet > UNUSED_AFTER:
        yield Finding(KINDS["unused"], credential, quiet)


def _found(tokens: Any, principals: Any) -> Iterator[Finding]:
    now = clock.now()
    for token in tokens:
        yield from _of(token, token.user, token.created_at, now)
        if not token.user.is_active:
            continue
        if now - token.secret_since > ROTATED_WITHIN:
            yield Finding(KINDS["unrotated"], token, token.secret_since)
        if token.expires_at - now <= ENDS_WITHIN:
            yield Finding(KINDS["ends_soon"], token, token.expires_at)
    for principal in principals:
        yield from _of(principal, principal.owner, principal.created_at, now)


def _lifelines(actor: Actor) -> Iterator[Finding]:
    """The directory's credential, to those who see everybody's."""
    if not allows(actor, "accounts.view_all_tokens"):
        return
    for each in lifelines.broken():
        if isinstance(each.about, ApiToken | ServicePrincipal):
            yield Finding(KINDS[each.kind], each.about, each.since)


def findings(actor: Actor) -> list[Finding]:
    """What is wrong with the credentials this actor sees: one's own, or everybody's. The most urgent first."""
    live = ApiToken.objects.filter(revoked_at=None, expires_at__gt=clock.now())
    tokens = tokens_visible_to(actor).filter(pk__in=live.values("pk"))
    principals = principals_visible_to(actor).filter(
        Q(state=ServicePrincipal.State.ACTIVE) | Q(state=ServicePrincipal.State.SUSPENDED, owner__is_active=False)
    )
    found = [*_found(tokens, principals), *_lifelines(actor)]
    return sorted(found, key=lambda each: (each.kind.urgency, each.since, str(each.credential.pk)))
