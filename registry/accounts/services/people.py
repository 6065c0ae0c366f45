"""Acts on people and teams."""

from collections.abc import Iterable

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from registry.accounts.events import PersonLeft
from registry.accounts.models import Membership, Role, Team, User
from registry.audit.services import record
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets


def _check_roles(roles: Iterable[str]) -> list[str]:
    wanted = list(dict.fromkeys(roles))
    unknown = [role for role in wanted if role not in Role.values]
    if unknown:
        raise Invalid(fields={"roles": [f"Not a role: {', '.join(unknown)}. Known: {', '.join(Role.values)}"]})
    return wanted


def check_password(password: str, user: User, field: str) -> None:
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
        check_password(password, user, "password")
    user.set_password(password or None)
    user.save()
    record(actor=actor, act="user.created", subject=user, data={"email": email, "roles": user.roles})
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
