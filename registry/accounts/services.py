"""Acts on people, teams and tokens."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from registry.accounts.events import PersonLeft
from registry.accounts.models import ApiToken, Membership, Role, Team, User
from registry.accounts.permissions import SCOPES
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
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


def _check_roles(roles: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(roles))
    unknown = [role for role in wanted if role not in Role.values]
    if unknown:
        raise Invalid(fields={"roles": [f"Not a role: {', '.join(unknown)}. Known: {', '.join(Role.values)}"]})
    return wanted


def _check_password(password: str, user: User, field: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid(fields={field: error.messages}) from error


@transaction.atomic
def create_user(*, actor: Actor, email: str, name: str, roles: Iterable[str] = (), password: str | None = None) -> User:
    """Add somebody. Without a password they cannot sign in with one."""
    require(actor, "accounts.manage_people")
    email, name = email.strip().lower(), name.strip()
    refuse_secrets({"name": name})
    if not name or not email:
        raise Invalid(fields={field: ["Required."] for field, value in (("email", email), ("name", name)) if not value})
    if User.objects.filter(email__iexact=email).exists():
        raise Conflict(f"There is somebody with the address {email} already.", fields={"email": ["Already in use."]})
    user = User(email=email, name=name, roles=_check_roles(roles))
    if password:
        _check_password(password, user, "password")
    user.set_password(password or None)
    user.save()
    record(actor=actor, act="user.created", subject=user, data={"email": email, "roles": user.roles})
    return user


@transaction.atomic
def change_password(*, actor: Actor, current_password: str, new_password: str) -> User:
    """Change one's own password. Raises `Invalid` when the current one is wrong or the new one too weak."""
    require(actor, "accounts.edit_self")
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    if not user.check_password(current_password):
        raise Invalid(fields={"current_password": ["This is not your current password."]})
    _check_password(new_password, user, "new_password")
    user.set_password(new_password)
    user.save(update_fields=["password"])
    record(actor=actor, act="user.password_changed", subject=user)
    return user


@transaction.atomic
def set_preferences(*, actor: Actor, single_keys: bool) -> User:
    """How the pages behave for oneself."""
    require(actor, "accounts.edit_self")
    user = User.objects.select_for_update().get(pk=actor.user.pk)
    if user.single_keys != single_keys:
        user.single_keys = single_keys
        user.save(update_fields=["single_keys"])
        record(actor=actor, act="user.preferences_set", subject=user, data={"single_keys": single_keys})
    return user


@transaction.atomic
def set_roles(*, actor: Actor, user: User, roles: Iterable[str]) -> User:
    require(actor, "accounts.manage_people")
    user = User.objects.select_for_update().get(pk=user.pk)
    before, user.roles = user.roles, _check_roles(roles)
    if actor.is_person(user.pk) and "administrator" in before and "administrator" not in user.roles:
        raise Conflict("You cannot take the administrator role from yourself.")
    user.save(update_fields=["roles"])
    record(actor=actor, act="user.roles_set", subject=user, data={"before": before, "after": user.roles})
    return user


@transaction.atomic
def set_active(*, actor: Actor, user: User, active: bool) -> User:
    """Deactivate a leaver or bring somebody back. Nothing of theirs is deleted."""
    require(actor, "accounts.manage_people")
    if actor.is_person(user.pk) and not active:
        raise Conflict("You cannot deactivate yourself.")
    user = User.objects.select_for_update().get(pk=user.pk)
    user.is_active = active
    user.save(update_fields=["is_active"])
    record(actor=actor, act="user.activated" if active else "user.deactivated", subject=user)
    if not active:
        publish(PersonLeft(user_id=user.pk))
    return user


@transaction.atomic
def create_team(*, actor: Actor, name: str, slug: str, lead: User | None = None) -> Team:
    require(actor, "accounts.manage_people")
    name, slug = name.strip(), slug.strip()
    refuse_secrets({"name": name, "slug": slug})
    errors = {
        field: ["Already in use."]
        for field, taken in (("name", Q(name__iexact=name)), ("slug", Q(slug=slug)))
        if Team.objects.filter(taken).exists()
    }
    if errors:
        raise Conflict(f"There is a team {name} already.", fields=errors)
    team = Team.objects.create(name=name, slug=slug, lead=lead)
    record(actor=actor, act="team.created", subject=team, data={"lead": str(lead.pk) if lead else None})
    return team


@transaction.atomic
def set_team_lead(*, actor: Actor, team: Team, lead: User | None) -> Team:
    require(actor, "accounts.manage_people")
    team = Team.objects.select_for_update().get(pk=team.pk)
    before, team.lead = team.lead_id, lead
    if before != team.lead_id:
        team.save(update_fields=["lead"])
        record(actor=actor, act="team.lead_set", subject=team, data={"before": before, "after": team.lead_id})
    return team


@transaction.atomic
def set_members(*, actor: Actor, team: Team, users: Iterable[User]) -> Team:
    require(actor, "accounts.manage_people")
    team = Team.objects.select_for_update().get(pk=team.pk)
    wanted = {user.pk: user for user in users}
    before = set(team.memberships.values_list("user_id", flat=True))
    if before != set(wanted):
        Membership.objects.filter(team=team).exclude(user_id__in=wanted).delete()
        Membership.objects.bulk_create(
            Membership(team=team, user=user) for pk, user in wanted.items() if pk not in before
        )
        record(
            actor=actor,
            act="team.members_set",
            subject=team,
            data={"before": sorted(map(str, before)), "after": sorted(map(str, wanted))},
        )
    return team


@transaction.atomic
def set_team(*, actor: Actor, team: Team, lead: User | None, members: Iterable[User]) -> Team:
    """Lead and members as one act, as the team's page sends them."""
    team = set_team_lead(actor=actor, team=team, lead=lead)
    return set_members(actor=actor, team=team, users=members)


@transaction.atomic
def record_presence(*, user: User, act: str, request_id: str, address: str) -> None:
    """Evidence of a sign-in, a sign-out or a failed sign-in. There is nothing to permit: it happened."""
    record(
        actor=Actor.person(user, request_id) if act != "user.sign_in_failed" else Actor.anonymous(),
        act=act,
        subject=user,
        data={"address": address},
    )
