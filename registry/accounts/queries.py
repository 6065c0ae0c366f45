"""Reads about who acts."""

from datetime import datetime

from django.db.models import Count, QuerySet

from registry.accounts.models import ApiToken, Team, User
from registry.accounts.services import token_hash
from registry.core.actors import Actor
from registry.core.permissions import allows


def usable_token(secret: str, now: datetime) -> ApiToken | None:
    """The token with this secret, if it and its owner may still act."""
    return ApiToken.objects.usable(now).select_related("user").filter(sha256=token_hash(secret)).first()


def people_visible_to(actor: Actor) -> QuerySet[User]:
    """Every member sees who else there is: accountability needs names. Without a role one sees oneself."""
    if allows(actor, "accounts.view"):
        return User.objects.all()
    return User.objects.filter(pk=actor.user_id) if actor.user_id else User.objects.none()


def teams_visible_to(actor: Actor) -> QuerySet[Team]:
    if not allows(actor, "accounts.view"):
        return Team.objects.none()
    return Team.objects.select_related("lead").annotate(size=Count("memberships"))


def tokens_visible_to(actor: Actor) -> QuerySet[ApiToken]:
    """One's own tokens; security and administrators see everybody's, because they may revoke them."""
    tokens = ApiToken.objects.select_related("user")
    if allows(actor, "accounts.view_all_tokens"):
        return tokens
    return tokens.filter(user=actor.user) if allows(actor, "accounts.view") else tokens.none()
