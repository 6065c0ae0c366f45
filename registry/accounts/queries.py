"""Reads about who acts."""

from datetime import datetime

from registry.accounts.models import ApiToken
from registry.accounts.services import token_hash


def usable_token(secret: str, now: datetime) -> ApiToken | None:
    """The token with this secret, if it and its owner may still act."""
    return (
        ApiToken.objects.select_related("user")
        .filter(sha256=token_hash(secret), revoked_at=None, expires_at__gt=now, user__is_active=True)
        .first()
    )
