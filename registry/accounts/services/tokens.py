"""Acts on API tokens."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from registry.accounts.models import ApiToken, User
from registry.accounts.permissions import SCOPES
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

TOKEN_PREFIX = "stw_"  # noqa: S105 - the public marker of a token, not one
MAX_TOKEN_DAYS = 365


def token_hash(token: str) -> str:
    """SHA-256 suffices: a token is 256 random bits, so there is nothing to guess slowly."""
    return hashlib.sha256(token.encode()).hexdigest()


def expand_scopes(scopes: Iterable[str]) -> list[str]:
    """`read` and `write` stand for that scope in every room. Raises `Invalid` for a scope that does not exist."""
    expanded: set[str] = set()
    for scope in scopes:
        if scope in ("read", "write"):
            expanded.update(name for name in SCOPES if name.endswith(f":{scope}"))
        elif scope in SCOPES:
            expanded.add(scope)
        else:
            known = ", ".join(["read", "write", *SCOPES])
            raise Invalid(fields={"scopes": [f"{scope!r} is not a scope. Known: {known}"]})
    if not expanded:
        raise Invalid(fields={"scopes": ["Choose at least one scope."]})
    return sorted(expanded)


@transaction.atomic
def create_token(*, actor: Actor, user: User, name: str, scopes: Iterable[str], days: int) -> tuple[ApiToken, str]:
    """Create a token and return it with its secret, which cannot be read again.

    Raises `Invalid` for unknown scopes, for scopes that the acting token itself lacks, or for a life outside 1 to
    365 days.
    """
    require(actor, "accounts.create_token")
    if not actor.is_person(user.pk):
        require(actor, "accounts.create_token_for_another")
    errors: dict[str, list[str]] = {}
    if not 1 <= days <= MAX_TOKEN_DAYS:
        errors["days"] = [f"A token lives 1 to {MAX_TOKEN_DAYS} days."]
    if not name.strip():
        errors["name"] = ["Give the token a name that says where it is used."]
    if not user.is_active:
        errors["user"] = [f"{user.email} is not active."]
    if errors:
        raise Invalid(fields=errors)
    refuse_secrets({"name": name})
    wanted = expand_scopes(scopes)
    if actor.scopes is not None and (beyond := sorted(set(wanted) - actor.scopes)):
        raise Invalid(fields={"scopes": [f"This token lacks {', '.join(beyond)} and cannot hand it on."]})
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name.strip(),
        prefix=secret[:12],
        sha256=token_hash(secret),
        scopes=wanted,
        expires_at=clock.now() + timedelta(days=days),
    )
    record(
        actor=actor,
        act="token.created",
        subject=token,
        data={"user": str(user.pk), "scopes": token.scopes, "expires_at": token.expires_at},
    )
    return token, secret


@transaction.atomic
def revoke_token(*, actor: Actor, token: ApiToken) -> ApiToken:
    require(actor, "accounts.revoke_token", token)
    token = ApiToken.objects.select_for_update().get(pk=token.pk)
    if token.revoked_at:
        raise Conflict("This token is revoked already.")
    token.revoked_at = clock.now()
    token.save(update_fields=["revoked_at"])
    record(actor=actor, act="token.revoked", subject=token)
    return token


def note_token_use(*, token: ApiToken, now: datetime, address: str | None) -> None:
    """Keep `last_used_at` to the minute: a write per call would cost more than the call."""
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, last_address=address)
