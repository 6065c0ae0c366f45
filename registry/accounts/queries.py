"""Reads about who acts."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Count, QuerySet

from registry.accounts.models import ApiToken, Team, User
from registry.accounts.services import token_hash
from registry.core.actors import Actor
from registry.core.permissions import allows

_SOME_INSTANT, _SOME_HASH = datetime.max.replace(tzinfo=UTC), "some hash"


@cache
def _token_lookup() -> tuple[str, tuple[Any, ...]]:
    """The statement of `usable_token` as the ORM writes it, with stand-ins for its two values.

    Every call of the REST API asks it, and composing it anew costs several times what the database needs to answer.
    """
    tokens = ApiToken.objects.usable(_SOME_INSTANT).filter(sha256=_SOME_HASH).select_related("user").order_by()
    sql, params = tokens.query.sql_with_params()
    return sql, tuple(params)


def usable_token(secret: str, now: datetime) -> ApiToken | None:
    """The token with this secret, if it and its owner may still act."""
    sql, params = _token_lookup()
    values: dict[Any, Any] = {_SOME_INSTANT: now, _SOME_HASH: token_hash(secret)}
    with connection.cursor() as cursor:
        cursor.execute(sql, [values.get(param, param) for param in params])
        row = cursor.fetchone()
    if row is None:
        return None
    of_token = [field.attname for field in ApiToken._meta.concrete_fields]
    of_user = [field.attname for field in User._meta.concrete_fields]
    token = ApiToken.from_db(connection.alias, of_token, row[: len(of_token)])
    token.user = User.from_db(connection.alias, of_user, row[len(of_token) :])
    return token


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
