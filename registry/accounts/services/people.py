"""Acts on people and teams."""

from collections.abc import Iterable, Set
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from registry.accounts.events import PersonLeft, PersonReturned
from registry.accounts.models import POWERFUL, Membership, Role, Team, User
from registry.accounts.services.emergency import end_roles_of
from registry.accounts.services.federation import given_by_groups
from registry.accounts.services.powers import apply_roles, note_roles
from registry.accounts.services.sessions import end_sessions_of
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid
from registry.core.events import publish
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets
from registry.core.step_up import require_recent


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
    """Add somebody. Without a password they cannot sign in with one; one that a person gives them they change first."""
    require(actor, "accounts.manage_people")
    require_recent(actor, _("Add somebody"))
    email, name = email.strip().lower(), name.strip()
    refuse_secrets({"name": name})
    if not name or not email:
        raise Invalid(fields={field: ["Required."] for field, value in (("email", email), ("name", name)) if not value})
    if User.objects.with_address(email).exists():
        raise Conflict(f"There is somebody with the address {email} already.", fields={"email": ["Already in use."]})
    wanted = _check_roles(roles)
    user = User(email=email, name=name, roles=[role for role in wanted if role not in POWERFUL])
    if password:
        check_password(password, user, "password")
    user.set_password(password or None)
    user.password_given = bool(password) and not actor.is_system
    user.save()
    record(actor=actor, act="user.created", subject=user, data={"email": email, "roles": user.roles})
    return apply_roles(actor, user, wanted) if wanted != user.roles else user


@transaction.atomic
def set_roles(*, actor: Actor, user: User, roles: Iterable[str]) -> User:
    """Give exactly these roles by hand. Those that groups of a provider give stay beside them.

    Whoever would oversee others, or no longer, needs a second person: then nothing changes yet, and a `RoleProposal`
    waits for them.
    """
    require(actor, "accounts.manage_people")
    require_recent(actor, _("Change roles"))
    return apply_roles(actor, User.objects.select_for_update().get(pk=user.pk), _check_roles(roles))


@transaction.atomic
def set_active(*, actor: Actor, user: User, active: bool, expected_version: str | None = None) -> User:
    """Deactivate a leaver or bring somebody back. Nothing of theirs is deleted."""
    require(actor, "accounts.manage_people")
    if not active:
        require_recent(actor, _("Deactivate somebody"))
    if actor.is_person(user.pk) and not active:
        raise Conflict("You cannot deactivate yourself.")
    user = User.objects.select_for_update().get(pk=user.pk)
    user.check_version(expected_version)
    return note_standing(actor, user, active)


def note_standing(actor: Actor, user: User, active: bool) -> User:
    """The one place where somebody leaves or comes back, for the page and the directory alike; the caller locks.

    Sessions and tokens end with `is_active`: both are asked for at every request. What else hangs on a person is moved
    by the rooms that hear the event. Whoever comes back oversees nobody: roles for that are given by two people, anew.
    """
    if user.is_active == active:
        return user
    user.is_active, user.left_at = active, None if active else clock.now()
    user.save(update_fields=["is_active", "left_at"])
    record(actor=actor, act="user.activated" if active else "user.deactivated", subject=user)
    if active:
        given = given_by_groups(user)
        kept = [role for role in user.roles if role not in POWERFUL or role in given]
        if kept != user.roles:
            note_roles(actor, user, kept, because="returned")
    else:
        end_sessions_of(user=user)
        end_roles_of(actor, user)
    publish(PersonReturned(user_id=user.pk) if active else PersonLeft(user_id=user.pk))
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
def set_team_lead(*, actor: Actor, team: Team, lead: User | None, expected_version: str | None = None) -> Team:
    require(actor, "accounts.manage_people")
    team = Team.objects.select_for_update().get(pk=team.pk)
    team.check_version(expected_version)
    before, team.lead = team.lead_id, lead
    if before != team.lead_id:
        team.save(update_fields=["lead"])
        record(actor=actor, act="team.lead_set", subject=team, data={"before": before, "after": team.lead_id})
    return team


@transaction.atomic
def set_members(*, actor: Actor, team: Team, users: Iterable[User]) -> Team:
    require(actor, "accounts.manage_people")
    team = Team.objects.select_for_update().get(pk=team.pk)
    wanted = {user.pk for user in users}
    if team.provisioned and team.removed_at is None:
        # Whoever is in a group of the directory may have a role because of that (`services.groups`).
        if wanted != set(team.memberships.values_list("user_id", flat=True)):
            raise Conflict(_("The directory says who belongs to this team. Change it there."))
        return team
    note_members(actor, team, wanted)
    return team


def note_members(actor: Actor, team: Team, wanted: Set[UUID]) -> bool:
    """Make these the members, for the page and the directory alike; the caller locks. False when they were."""
    before = set(team.memberships.values_list("user_id", flat=True))
    if before == wanted:
        return False
    Membership.objects.filter(team=team).exclude(user_id__in=wanted).delete()
    Membership.objects.bulk_create(Membership(team=team, user_id=pk) for pk in sorted(wanted - before))
    # Its members are part of what its ETag stands for.
    team.save(update_fields=[])
    record(
        actor=actor,
        act="team.members_set",
        subject=team,
        data={"before": sorted(map(str, before)), "after": sorted(map(str, wanted))},
    )
    return True


@transaction.atomic
def set_team(
    *, actor: Actor, team: Team, lead: User | None, members: Iterable[User], expected_version: str | None = None
) -> Team:
    """Lead and members as one act, as the team's page sends them."""
    team = set_team_lead(actor=actor, team=team, lead=lead, expected_version=expected_version)
    return set_members(actor=actor, team=team, users=members)
