"""Reads about who acts."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models import Count, Func, QuerySet
from django.utils import timezone

from registry.accounts.models import (
    ApiToken,
    BrowserSession,
    Elevation,
    GroupGrant,
    GroupRole,
    RoleProposal,
    ServicePrincipal,
    Team,
    User,
    WorkloadIssuer,
)
from registry.accounts.services import token_hash
from registry.accounts.subjects import fitting
from registry.accounts.workload_tokens import Proven
from registry.core.actors import Actor
from registry.core.permissions import allows

_SOME_INSTANT, _SOME_HASH = datetime.max.replace(tzinfo=UTC), "some hash"


@cache
def _token_lookup() -> tuple[str, tuple[Any, ...]]:
    """The statement of `usable_token` as the ORM writes it, with stand-ins for its two values.

    Every call of the REST API asks it, and composing it anew costs several times what the database needs to answer.
    """
    tokens = (
        ApiToken.objects.usable(_SOME_INSTANT).with_secret(_SOME_HASH, _SOME_INSTANT).select_related("user").order_by()
    )
    sql, params = tokens.query.sql_with_params()
    return sql, tuple(params)


def usable_token(secret: str, now: datetime) -> ApiToken | None:
    """The token with this secret, or with this one before its rotation, if it and its owner may still act."""
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


# --- Workloads ---------------------------------------------------------------------------------------------


def principal_of(proven: Proven) -> ServicePrincipal | None:
    """As what a proven workload acts, if that and its owner may still act.

    The subject itself before what begins like it, the longest first; then audience and claims must be equal.
    """
    ways = fitting(proven.subject)
    candidates = ServicePrincipal.objects.filter(
        issuer=proven.issuer, subject__in=ways, state=ServicePrincipal.State.ACTIVE, owner__is_active=True
    ).select_related("owner")
    found = min(candidates, key=lambda each: ways.index(each.subject), default=None)
    if found is None or proven.audience != (found.audience or proven.issuer.audience):
        return None
    # `1 == True` in Python; in a token they are not the same.
    same = all(
        name in proven.claims and type(proven.claims[name]) is type(value) and proven.claims[name] == value
        for name, value in found.claims.items()
    )
    return found if same else None


def principals_visible_to(actor: Actor) -> QuerySet[ServicePrincipal]:
    """Every member sees what acts here and who answers for it."""
    principals = ServicePrincipal.objects.select_related("owner", "team", "issuer")
    return principals if allows(actor, "accounts.view") else principals.none()


def issuers_visible_to(actor: Actor) -> QuerySet[WorkloadIssuer]:
    return WorkloadIssuer.objects.all() if allows(actor, "accounts.view") else WorkloadIssuer.objects.none()


def group_roles_visible_to(actor: Actor) -> QuerySet[GroupRole]:
    rows = GroupRole.objects.select_related("proposed_by")
    return rows if allows(actor, "accounts.view_group_roles") else rows.none()


def groups_without_role(actor: Actor, most: int = 12) -> list[tuple[str, int]]:
    """Groups that people of ours are in and that give nobody anything, with how many are in them; the largest first."""
    if not allows(actor, "accounts.view_group_roles"):
        return []
    named = GroupGrant.objects.filter(user__is_active=True).annotate(group=Func("groups", function="unnest"))
    sizes = named.values("group").annotate(people=Count("user", distinct=True)).order_by("-people", "group")
    mapped = set(GroupRole.objects.values_list("group", flat=True))
    return [(row["group"], row["people"]) for row in sizes[:200] if row["group"] not in mapped][:most]


def browsers_of(user: User) -> QuerySet[BrowserSession]:
    """Where somebody is signed in now; sessions that ended by themselves are not listed."""
    living = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    return BrowserSession.objects.filter(user=user, session_key__in=living)


def whom_to_ask(actor: Actor, most: int = 3) -> list[User]:
    """Administrators, for somebody who may see nothing yet and has to know whom to ask."""
    if actor.user_id is None:
        return []
    return list(User.objects.filter(is_active=True, roles__contains=["administrator"]).order_by("name")[:most])


def roles_taken_visible_to(actor: Actor) -> QuerySet[Elevation]:
    """Emergency roles: those who oversee see everybody's, others their own."""
    rows = Elevation.objects.select_related("user", "ended_by", "reviewed_by")
    if allows(actor, "accounts.view_roles_taken"):
        return rows
    return rows.filter(user=actor.user_id) if allows(actor, "accounts.view") else rows.none()


def role_proposals_visible_to(actor: Actor) -> QuerySet[RoleProposal]:
    """Proposed roles: those who oversee see everybody's, others what concerns themselves."""
    rows = RoleProposal.objects.select_related("user", "proposed_by", "decided_by")
    if allows(actor, "accounts.view_roles_taken"):
        return rows
    return rows.filter(user=actor.user_id) if allows(actor, "accounts.view") else rows.none()


def waiting_proposal(actor: Actor, user: User) -> RoleProposal | None:
    return role_proposals_visible_to(actor).filter(user=user, state=RoleProposal.State.PROPOSED).first()
