"""Users and groups on the wire, with the attributes that are kept here and no others.

RFC 7643 section 3.3 lets a service leave attributes out. `/Schemas` names what is kept; what a directory sends besides
(phone numbers, departments) is accepted and dropped.
"""

from typing import Annotated, Any, ClassVar

from django.conf import settings
from pydantic import field_validator
from scim2_models import (
    URN,
    AnyExtension,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    ETag,
    Extension,
    External,
    Filter,
    GroupMembership,
    Mutability,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)

PAGE, LONGEST_PAGE = 100, 200
BASE = "/scim/v2"


class Name(ComplexAttribute):
    formatted: str | None = None
    given_name: str | None = None
    family_name: str | None = None


class Email(ComplexAttribute):
    """People have one address here. It is shown as `work` and `primary`."""

    value: str | None = None
    type: str | None = None
    primary: bool | None = None


class Manager(ComplexAttribute):
    value: Annotated[str | None, CaseExact.true] = None
    display_name: Annotated[str | None, Mutability.read_only] = None


class EnterpriseUser(Extension):
    __schema__ = URN("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User")

    manager: Manager | None = None

    @field_validator("manager", mode="before")
    @classmethod
    def _bare_id(cls, value: Any) -> Any:
        """Entra ID sends the manager's id alone where RFC 7643 has an object."""
        return {"value": value} if isinstance(value, str) else value


class ScimUser(Resource[AnyExtension]):
    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:User")

    user_name: Annotated[str | None, Uniqueness.server, Required.true] = None
    name: Name | None = None
    display_name: str | None = None
    active: bool | None = None
    emails: list[Email] | None = None
    groups: Annotated[list[GroupMembership] | None, Mutability.read_only] = None


class Member(ComplexAttribute):
    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    display: Annotated[str | None, Mutability.read_only] = None
    type: Annotated[str | None, Mutability.immutable] = None


class ScimGroup(Resource[Any]):
    __schema__ = URN("urn:ietf:params:scim:schemas:core:2.0:Group")

    display_name: Annotated[str | None, Required.true] = None
    members: list[Member] | None = None

    Members: ClassVar[type[ComplexAttribute]] = Member


Person = ScimUser[EnterpriseUser]

POLICY = ScimPolicy(
    # What is not kept is dropped (RFC 7644 section 3.3 lets a service ignore it): every directory sends more.
    unknown=ScimPolicy.Unknown.ignore,
    # Entra ID: `remove members` with the members in `value`; `emails[type eq "work"].value` before there is one.
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)


def service() -> ScimProvider:
    """What `/ServiceProviderConfig`, `/ResourceTypes` and `/Schemas` say."""
    token = AuthenticationScheme(
        type=AuthenticationScheme.Type.oauthbearertoken,
        name="API token",
        description="A token with the scope accounts:provision, as Authorization: Bearer.",
        primary=True,
    )
    return ScimProvider(
        models=[ScimUser, EnterpriseUser, ScimGroup],
        resource_types=[ResourceType.from_resource(Person), ResourceType.from_resource(ScimGroup)],
        policy=POLICY,
        config=ServiceProviderConfig(
            documentation_uri=Reference[External](f"{settings.BASE_URL}/help"),
            patch=Patch(supported=True),
            bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
            filter=Filter(supported=True, max_results=LONGEST_PAGE),
            change_password=ChangePassword(supported=False),
            sort=Sort(supported=False),
            etag=ETag(supported=True),
            authentication_schemes=[token],
        ),
    )


def location(endpoint: str, id: object) -> str:
    return f"{settings.BASE_URL}{BASE}/{endpoint}/{id}"
