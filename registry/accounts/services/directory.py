"""What the directory says about people and groups (SCIM): who there is, who belongs together, who left.

Facts come whole: whoever calls says how somebody is now, and what differs is written. Nothing is ever deleted; what
the directory deletes is deactivated and no longer known to it, until it says the same name or id again.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.db.models import Q, QuerySet
from django.utils.text import slugify

from registry.accounts.models import Membership, Team, User
from registry.accounts.services.federation import grant_group_roles
from registry.accounts.services.people import note_members, note_standing
from registry.audit.services import record
from registry.core import clock
from registry.core.actors import Actor
from registry.core.errors import Conflict, Invalid, NotFound
from registry.core.permissions import require
from registry.core.secrets import refuse_secrets

PROVISION = "accounts.provision_directory"
PROVIDER = "scim"
"""As which provider the directory stands in the mapping of groups to roles."""
NOWHERE = "removed.invalid"
"""Where no mail goes (RFC 2606): the addresses of people whose own belongs to somebody else now."""
M = TypeVar("M", bound=models.Model)


@dataclass(frozen=True)
class PersonFacts:
    """A person as the directory describes them. `name` is what people read."""

    user_name: str
    email: str
    name: str
    given_name: str = ""
    family_name: str = ""
    external_id: str = ""
    manager_id: UUID | None = None
    active: bool = True


@dataclass(frozen=True)
class GroupFacts:
    """A group as the directory describes it, which is a team here."""

    name: str
    external_id: str = ""
    members: frozenset[UUID] = frozenset()


# --- People ----------------------------------------------------------------------------------------------


@transaction.atomic
def provision_person(*, actor: Actor, facts: PersonFacts) -> User:
    """Add somebody, or bring back whom the directory had deleted. Raises `Conflict` when they are here already.

    A name or an address that somebody had who was deleted, and whom the directory knew by another id, makes nobody
    that person: they keep what they did, without the address.
    """
    require(actor, PROVISION)
    _refuse_null(facts)
    alike = list(_alike(facts).select_for_update(of=("self",)).order_by("pk"))
    _refuse_taken([user for user in alike if not _is_gone(user)], facts)
    known = next((user for user in alike if _is_same(user, facts)), None)
    _free_names(actor, [user for user in alike if user != known])
    if known is not None:
        return _write_person(actor, known, facts)
    user = User(roles=list(settings.SCIM_DEFAULT_ROLES), **_columns(facts))
    user.set_unusable_password()
    _check_manager(user)
    _save(user, new=True)
    record(actor=actor, act="user.provisioned", subject=user, data=_plain(facts) | {"roles": user.roles})
    if not facts.active:
        note_standing(actor, user, active=False)
    return user


@transaction.atomic
def change_person(*, actor: Actor, user: User, facts: PersonFacts, expected_version: str | None = None) -> User:
    """Make somebody what the directory says they are now; deactivated, they have left. Raises `Changed`, `Invalid`."""
    require(actor, PROVISION)
    _refuse_null(facts)
    return _write_person(actor, _locked_person(user, expected_version), facts)


@transaction.atomic
def remove_person(*, actor: Actor, user: User, expected_version: str | None = None) -> User:
    """The directory deleted somebody: they leave it and its groups, and it no longer finds them here."""
    require(actor, PROVISION)
    user = _locked_person(user, expected_version)
    note_standing(actor, user, active=False)
    for team in Team.objects.select_for_update().filter(memberships__user=user, provisioned=True).order_by("pk"):
        _set_members(actor, team, frozenset(team.memberships.exclude(user=user).values_list("user_id", flat=True)))
    user = User.objects.get(pk=user.pk)
    user.removed_at = clock.now()
    user.save(update_fields=["removed_at"])
    record(actor=actor, act="user.removed_by_directory", subject=user, data={"external_id": user.external_id})
    return user


def _alike(facts: PersonFacts) -> QuerySet[User]:
    """Everybody who has the name, the address or the id of somebody, whoever they are."""
    same = Q(email__iexact=facts.email)
    if facts.external_id:
        same |= Q(external_id=facts.external_id)
    return User.objects.filter(same | Q(pk__in=User.objects.called(facts.user_name).values("pk")))


def _is_gone(user: User) -> bool:
    """Deleted by the directory, and not brought back by hand since."""
    return user.removed_at is not None and not user.is_active


def _is_same(user: User, facts: PersonFacts) -> bool:
    """By the directory's id where both are known: a name and an address are given to somebody else one day."""
    if user.external_id and facts.external_id:
        return user.external_id == facts.external_id
    return (user.user_name or user.email).lower() == facts.user_name.lower()


def _free_names(actor: Actor, gone: Iterable[User]) -> None:
    """Somebody else has the name or the address now. What these did stays theirs, and nobody writes to them here."""
    for user in gone:
        before = {"email": user.email, "user_name": user.user_name}
        user.email, user.user_name = f"{user.pk.hex}@{NOWHERE}", ""
        user.save(update_fields=["email", "user_name"])
        after = {"email": user.email, "user_name": ""}
        record(actor=actor, act="user.address_freed", subject=user, data={"before": before, "after": after})


def _refuse_taken(others: Iterable[User], facts: PersonFacts) -> None:
    fields: dict[str, list[str]] = {}
    for other in others:
        for name, taken in (
            ("user_name", (other.user_name or other.email).lower() == facts.user_name.lower()),
            ("email", other.email.lower() == facts.email.lower()),
            ("external_id", bool(facts.external_id) and other.external_id == facts.external_id),
        ):
            if taken:
                fields[name] = ["Already in use."]
    if fields:
        raise Conflict(f"There is somebody called {facts.user_name} already.", fields=fields)


def _locked_person(user: User, expected_version: str | None) -> User:
    fresh = User.objects.select_for_update(of=("self",)).get(pk=user.pk)
    if fresh.removed_at is not None:
        raise NotFound
    fresh.check_version(expected_version)
    return fresh


def _write_person(actor: Actor, user: User, facts: PersonFacts) -> User:
    before = {name: getattr(user, name) for name in _columns(facts)}
    after = _columns(facts)
    back = user.removed_at is not None
    if before != after or back:
        others = list(_alike(facts).select_for_update(of=("self",)).exclude(pk=user.pk).order_by("pk"))
        _refuse_taken([other for other in others if not _is_gone(other)], facts)
        _free_names(actor, others)
        for name, value in after.items():
            setattr(user, name, value)
        user.removed_at = None
        if before["manager_id"] != facts.manager_id:
            _check_manager(user)
        _save(user)
        changed = {name for name in after if before[name] != after[name]}
        record(
            actor=actor,
            act="user.provisioned_again" if back else "user.changed_by_directory",
            subject=user,
            data={
                "before": {name: _text(before[name]) for name in changed},
                "after": {name: _text(after[name]) for name in changed},
            },
        )
    return note_standing(actor, user, facts.active)


def _columns(facts: PersonFacts) -> dict[str, object]:
    """The facts that are columns of `User`; whether somebody is active is an act of its own."""
    columns = asdict(facts)
    del columns["active"]
    return columns


def _check_manager(user: User) -> None:
    """Of somebody who is given one now; a manager who left stays named, and is nobody's obstacle."""
    if user.manager_id is None:
        return
    if user.manager_id == user.pk:
        raise Invalid(fields={"manager": ["Nobody is their own manager."]})
    if not User.objects.filter(pk=user.manager_id, removed_at=None).exists():
        raise Invalid(fields={"manager": ["There is nobody with this id."]})


def _checked(thing: M) -> M:
    """Lengths, addresses and uniqueness, as `Invalid` or `Conflict` with our field names."""
    said = ("name", "user_name", "given_name", "family_name")
    refuse_secrets({name: getattr(thing, name) for name in said if hasattr(thing, name)})
    try:
        thing.clean_fields(exclude={"password", "slug"})
    except ValidationError as error:
        raise Invalid(
            fields={name: [str(each) for each in said] for name, said in error.message_dict.items()}
        ) from error
    try:
        thing.validate_unique()
        thing.validate_constraints()
    except ValidationError as error:
        raise Conflict("Somebody or something else here has this name, address or id already.") from error
    return thing


def _save(thing: M, *, new: bool = False) -> None:
    try:
        _checked(thing).save(force_insert=new)
    except IntegrityError as error:  # somebody else was a moment faster
        raise Conflict("Somebody or something else here has this name, address or id already.") from error


def _refuse_null(facts: PersonFacts | GroupFacts) -> None:
    """Before the first query: PostgreSQL takes no null character, in a search neither."""
    if names := [name for name, value in asdict(facts).items() if isinstance(value, str) and "\0" in value]:
        raise Invalid(fields={name: ["A null character cannot be stored."] for name in names})


def _text(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def _plain(facts: PersonFacts) -> dict[str, object]:
    return {name: _text(value) for name, value in asdict(facts).items()}


# --- Groups ----------------------------------------------------------------------------------------------


@transaction.atomic
def provision_group(*, actor: Actor, facts: GroupFacts) -> Team:
    """Make a team of a group, or bring back the one the directory had deleted. Raises `Conflict` if it is here."""
    require(actor, PROVISION)
    _refuse_null(facts)
    same = Q(name__iexact=facts.name)
    if facts.external_id:
        same |= Q(external_id=facts.external_id)
    known = Team.objects.select_for_update().filter(same).order_by("pk")
    if any(team.removed_at is None for team in known):
        already = f"There is a team {facts.name} already."
        raise Conflict(already, fields={"name": [already]})
    if known:
        return _write_group(actor, known[0], facts)
    team = Team(name=facts.name.strip(), external_id=facts.external_id, slug=_free_slug(facts.name), provisioned=True)
    _save(team, new=True)
    record(actor=actor, act="team.provisioned", subject=team, data={"name": team.name, "external_id": team.external_id})
    _set_members(actor, team, _existing(facts.members))
    return team


@transaction.atomic
def change_group(*, actor: Actor, team: Team, facts: GroupFacts, expected_version: str | None = None) -> Team:
    """Make a team what the directory says its group is now."""
    require(actor, PROVISION)
    _refuse_null(facts)
    return _write_group(actor, _locked_group(team, expected_version), facts)


@transaction.atomic
def remove_group(*, actor: Actor, team: Team, expected_version: str | None = None) -> Team:
    """The directory deleted a group. Its team stays, because history and things name it, without members."""
    require(actor, PROVISION)
    team = _locked_group(team, expected_version)
    _set_members(actor, team, frozenset())
    team.removed_at = clock.now()
    team.save(update_fields=["removed_at"])
    record(actor=actor, act="team.removed_by_directory", subject=team, data={"external_id": team.external_id})
    return team


def _locked_group(team: Team, expected_version: str | None) -> Team:
    fresh = Team.objects.select_for_update().get(pk=team.pk)
    if fresh.removed_at is not None:
        raise NotFound
    fresh.check_version(expected_version)
    return fresh


def _write_group(actor: Actor, team: Team, facts: GroupFacts) -> Team:
    before = {"name": team.name, "external_id": team.external_id}
    after = {"name": facts.name.strip(), "external_id": facts.external_id}
    if before != after or team.removed_at is not None or not team.provisioned:
        team.name, team.external_id, team.removed_at, team.provisioned = *after.values(), None, True
        _save(team)
        record(actor=actor, act="team.changed_by_directory", subject=team, data={"before": before, "after": after})
        _give_roles(actor, set(team.memberships.values_list("user_id", flat=True)))
    _set_members(actor, team, _existing(facts.members))
    return team


def _set_members(actor: Actor, team: Team, wanted: frozenset[UUID]) -> None:
    before = set(team.memberships.values_list("user_id", flat=True))
    if note_members(actor, team, wanted):
        _give_roles(actor, before ^ wanted)


def _give_roles(actor: Actor, user_ids: Collection[UUID]) -> None:
    """The roles that the mapping gives for the groups these people are in now (`models.GroupRole`)."""
    groups: dict[UUID, list[str]] = {pk: [] for pk in user_ids}
    held = Membership.objects.filter(user__in=list(groups), team__provisioned=True, team__removed_at=None)
    for user_id, name in held.values_list("user_id", "team__name"):
        groups[user_id].append(name)
    for user in User.objects.filter(pk__in=list(groups)).order_by("pk"):
        grant_group_roles(user=user, provider=PROVIDER, groups=groups[user.pk], actor=actor)


def _existing(members: Collection[UUID]) -> frozenset[UUID]:
    known = frozenset(User.objects.filter(pk__in=members, removed_at=None).values_list("pk", flat=True))
    if strangers := sorted(set(members) - known):
        raise Invalid(fields={"members": [f"There is nobody with the id {strangers[0]}."]})
    return known


def _free_slug(name: str) -> str:
    """A short name for URLs. What has no letters of the Latin alphabet is still called something."""
    base = slugify(name)[:50] or "team"
    taken = set(Team.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 2))]
    return next(slug for slug in candidates if slug not in taken)
