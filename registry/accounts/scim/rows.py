"""Between resources on the wire and rows of `accounts`."""

from collections.abc import Mapping
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from scim2_models import GroupMembership, InvalidValueException, Meta, Reference

from registry.accounts.models import Team, User
from registry.accounts.scim.resources import (
    Email,
    EnterpriseUser,
    Manager,
    Member,
    Name,
    Person,
    ScimGroup,
    ScimUser,
    location,
)
from registry.accounts.services import GroupFacts, PersonFacts
from registry.core.models import Record

LONGEST_NAME = 255


def entity_tag(record: Record) -> str:
    """Weak: memberships shown in a user, and names shown in a group, do not raise the version."""
    return f"W/{record.etag}"


def _meta(record: Record, kind: str, endpoint: str) -> Meta:
    return Meta(
        resource_type=kind,
        created=record.created_at,
        last_modified=record.updated_at,
        location=location(endpoint, record.pk),
        version=entity_tag(record),
    )


# --- People ----------------------------------------------------------------------------------------------


def resource_of(user: User, *, with_groups: bool = True) -> ScimUser:
    """`groups` costs a query for each that was not prefetched, `manager` none."""
    person: ScimUser = Person(
        id=str(user.pk),
        external_id=user.external_id or None,
        user_name=user.user_name or user.email,
        name=Name(formatted=user.name, given_name=user.given_name or None, family_name=user.family_name or None),
        display_name=user.name,
        active=user.is_active,
        emails=[Email(value=user.email, type="work", primary=True)],
        meta=_meta(user, "User", "Users"),
    )
    if with_groups:
        person.groups = [
            GroupMembership(
                value=str(team.pk), ref=Reference(location("Groups", team.pk)), display=team.name, type="direct"
            )
            for team in user.teams.all()
            if team.removed_at is None
        ]
    if user.manager_id is not None:
        person[EnterpriseUser] = EnterpriseUser(manager=Manager(value=str(user.manager_id)))
    return person


def person_facts(person: ScimUser, before: User | None = None) -> PersonFacts:
    """What the directory says, from a whole resource. Raises `InvalidValueException` without a usable address.

    Names come in three attributes and are one here: whichever of them says something new counts.
    """
    user_name = (person.user_name or "").strip()
    if not user_name:
        raise InvalidValueException(detail="userName must not be empty", attribute="userName")
    if "\0" in user_name:
        raise InvalidValueException(detail="userName: a null character cannot be stored", attribute="userName")
    if len(user_name) > LONGEST_NAME:
        said = f"userName: at most {LONGEST_NAME} characters, and this has {len(user_name)}"
        raise InvalidValueException(detail=said, attribute="userName")
    name = person.name or Name()
    extension = person[EnterpriseUser]
    manager = extension.manager.value if extension is not None and extension.manager is not None else None
    return PersonFacts(
        user_name=user_name,
        email=_address(person, user_name),
        name=_read_name(person, name, before) or user_name,
        given_name=(name.given_name or "").strip(),
        family_name=(name.family_name or "").strip(),
        external_id=(person.external_id or "").strip(),
        manager_id=_id(manager, "manager") if manager else None,
        # Left out, it is what it was; somebody new is active (RFC 7643 section 4.1.1 leaves it to the service).
        active=person.active if person.active is not None else (before is None or before.is_active),
    )


def _read_name(person: ScimUser, name: Name, before: User | None) -> str:
    joined = " ".join(filter(None, [(name.given_name or "").strip(), (name.family_name or "").strip()]))
    said = [(person.display_name or "").strip(), (name.formatted or "").strip()]
    if before is None:
        return next((each for each in [*said, joined] if each), "")
    if news := [each for each in said if each and each != before.name]:
        return news[0]
    was_joined = f"{before.given_name} {before.family_name}".strip() == before.name
    return joined if joined and was_joined else next((each for each in [*said, joined] if each), before.name)


def _address(person: ScimUser, user_name: str) -> str:
    """The primary address, else the one for work, else any; a userName that is an address serves as well."""
    given = [each for each in person.emails or [] if each.value and each.value.strip()]
    given.sort(key=lambda each: (not each.primary, (each.type or "").lower() != "work"))
    address = (given[0].value or "").strip().lower() if given else user_name.lower()
    try:
        validate_email(address)
    except ValidationError as error:
        said = (
            "emails: the value is no e-mail address, of at most 254 characters"
            if given
            else "emails: an e-mail address is needed, as an entry of emails or as userName"
        )
        raise InvalidValueException(detail=said, attribute="emails") from error
    return address


def _id(text: str, attribute: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidValueException(detail=f"{attribute}: not the id of somebody here", attribute=attribute) from error


# --- Groups ----------------------------------------------------------------------------------------------


def resource_of_team(team: Team, members: Mapping[UUID, str] | None) -> ScimGroup:
    """`members` are names by id, or None to leave them out."""
    return ScimGroup(
        id=str(team.pk),
        external_id=team.external_id or None,
        display_name=team.name,
        members=None
        if members is None
        else [Member(value=str(pk), display=name, type="User") for pk, name in members.items()],
        meta=_meta(team, "Group", "Groups"),
    )


def members_of(teams: list[Team]) -> dict[UUID, dict[UUID, str]]:
    """The members of many teams, in one query; the directory does not see whom it deleted."""
    found: dict[UUID, dict[UUID, str]] = {team.pk: {} for team in teams}
    rows = User.objects.filter(removed_at=None, memberships__team__in=list(found)).order_by("name", "pk")
    for team_id, user_id, name in rows.values_list("memberships__team_id", "pk", "name"):
        found[team_id][user_id] = name
    return found


def group_facts(group: ScimGroup) -> GroupFacts:
    """Raises `InvalidValueException` for groups within groups, and for members that are no ids."""
    name = (group.display_name or "").strip()
    if not name:
        raise InvalidValueException(detail="displayName must not be empty", attribute="displayName")
    if any((member.type or "User").lower() != "user" for member in group.members or []):
        raise InvalidValueException(detail="A group has people as members, no other groups", attribute="members")
    return GroupFacts(
        name=name,
        external_id=(group.external_id or "").strip(),
        members=frozenset(_id(member.value or "", "members") for member in group.members or []),
    )
