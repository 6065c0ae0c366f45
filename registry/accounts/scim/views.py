"""The endpoints below /scim/v2/. Each parses, calls one service, and answers in application/scim+json."""

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from django.db.models import QuerySet, prefetch_related_objects
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from scim2_models import (
    Context,
    Error,
    InvalidFilterException,
    InvalidSyntaxException,
    ListResponse,
    NotFoundException,
    NotImplementedException,
    PatchOp,
    PayloadTooLargeException,
    Resource,
    ResponseParameters,
    SCIMException,
    SearchRequest,
)

from registry.accounts import services
from registry.accounts.authentication import TokenAuthentication
from registry.accounts.models import Team, User
from registry.accounts.scim import rows
from registry.accounts.scim.errors import answer_error
from registry.accounts.scim.filters import LONGEST, people_matching, teams_matching
from registry.accounts.scim.resources import LONGEST_PAGE, PAGE, POLICY, Person, ScimGroup, location, service
from registry.core.errors import Changed
from registry.core.models import Record
from registry.core.permissions import require
from registry.core.rest import JSONRenderer, actor_of

R = TypeVar("R", User, Team)
MEDIA_TYPES = ("application/scim+json", "application/json", "")
LONGEST_BODY = 2 * 1024 * 1024
"""A group of twenty thousand members."""
MOST_OPERATIONS = 1000
TRIES = 5
"""How often a change is worked out anew when somebody else changed the row meanwhile."""


class ScimRenderer(JSONRenderer):
    media_type = "application/scim+json"
    format = "scim"


def _of(message: Any, model: Any) -> Any:
    """`SearchRequest[User]` for a model that is only known when it runs, which a type checker takes for a type."""
    return message[model]


# --- What all endpoints share ----------------------------------------------------------------------------


class ScimView(APIView):
    authentication_classes = (TokenAuthentication,)
    permission_classes = ()
    renderer_classes = (ScimRenderer,)
    schema = None  # described by /Schemas, in the way of RFC 7643, and not in the OpenAPI document

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return answer_error

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Whatever a directory says it accepts, it gets the one format there is."""
        return ScimRenderer(), ScimRenderer.media_type

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        require(actor_of(request), "accounts.provision_directory")

    def body(self) -> bytes:
        media_type = self.request.content_type.partition(";")[0].strip().lower()
        if media_type not in MEDIA_TYPES:
            raise InvalidSyntaxException(detail="Send application/scim+json")
        if int(self.request.headers.get("Content-Length") or 0) > LONGEST_BODY:
            raise PayloadTooLargeException(detail=f"At most {LONGEST_BODY // 1024} KiB are read")
        return self.request.body

    def search(self, model: Any) -> SearchRequest[Any]:
        """What is asked for in the query string, or in the body of a `.search`."""
        if self.request.method == "POST":
            asked: SearchRequest[Any] = _of(SearchRequest, model).model_validate_json(
                self.body(), scim_ctx=Context.SEARCH_REQUEST, scim_policy=POLICY
            )
            return asked
        given = {name: value for name, value in self.request.query_params.items() if value}
        if len(given.get("filter", "")) > LONGEST:
            raise InvalidFilterException(detail=f"A filter has at most {LONGEST} characters")
        wanted: SearchRequest[Any] = _of(SearchRequest, model).model_validate(given, scim_policy=POLICY)
        return wanted


class ResourceView(ScimView, ABC, Generic[R]):
    """Users or groups. Subclasses say which rows they are, and how rows and resources become each other."""

    endpoint: ClassVar[str]
    model: ClassVar[Any]

    @abstractmethod
    def rows(self) -> QuerySet[R]:
        """What the directory may know of: everybody and everything it did not delete."""

    @abstractmethod
    def resources(self, found: list[R], parameters: ResponseParameters[Any]) -> list[Any]: ...

    def parameters(self) -> ResponseParameters[Any]:
        given = {name: value for name, value in self.request.query_params.items() if value}
        chosen: ResponseParameters[Any] = _of(ResponseParameters, self.model).model_validate(
            {name: given[name] for name in ("attributes", "excludedAttributes") if name in given}, scim_policy=POLICY
        )
        return chosen

    def one(self, pk: UUID) -> R:
        found = self.rows().filter(pk=pk).first()
        if found is None:
            raise NotFoundException(detail="There is nobody and nothing here with this id")
        return found

    def answer(self, row: R, context: Context, status: int = 200) -> Response:
        parameters = self.parameters()
        resource = self.resources([self.one(row.pk)], parameters)[0]
        response = Response(resource.model_dump(scim_ctx=context, response_parameters=parameters), status=status)
        response["ETag"] = resource.meta.version
        response["Location" if status == 201 else "Content-Location"] = location(self.endpoint, row.pk)
        return response


def wants(parameters: ResponseParameters[Any], name: str) -> bool:
    """Whether an attribute that costs a query is part of the answer."""
    if parameters.attributes:
        return any(str(path).lower().split(":")[-1].split(".")[0] == name for path in parameters.attributes)
    return all(str(path).lower().split(":")[-1] != name for path in parameters.excluded_attributes or [])


def _given_version(request: Request) -> str | None:
    """If-Match as `Record.check_version` reads it; our tags are weak on this interface."""
    given = request.headers.get("If-Match")
    return given.strip().removeprefix("W/") if given else None


def _not_modified(request: Request, row: Record) -> bool:
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    return any(hmac.compare_digest(each.encode(), row.etag.encode()) for each in known)


class ListView(ResourceView[R]):
    """GET and `.search`: a page of what a filter finds. POST: somebody or something new."""

    @abstractmethod
    def matching(self, asked: SearchRequest[Any]) -> QuerySet[R]: ...

    @abstractmethod
    def create(self, resource: Any) -> R: ...

    def found(self, asked: SearchRequest[Any]) -> Response:
        matching = self.matching(asked)
        first = asked.start_index or 1
        size = min(PAGE if asked.count is None else asked.count, LONGEST_PAGE)
        total = matching.count()
        part = list(matching.order_by("pk")[first - 1 : first - 1 + size]) if first <= total else []
        listed = _of(ListResponse, self.model)(
            total_results=total, start_index=first, items_per_page=len(part), resources=self.resources(part, asked)
        )
        return Response(listed.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE, response_parameters=asked))

    def get(self, request: Request) -> Response:
        return self.found(self.search(self.model))

    def post(self, request: Request) -> Response:
        resource = self.model.model_validate_json(
            self.body(), scim_ctx=Context.RESOURCE_CREATION_REQUEST, scim_policy=POLICY
        )
        return self.answer(self.create(resource), Context.RESOURCE_CREATION_RESPONSE, status=201)


class DetailView(ResourceView[R]):
    """One user or group: read, replaced, patched, deleted."""

    @abstractmethod
    def change(self, row: R, resource: Any, expected_version: str) -> R: ...

    @abstractmethod
    def remove(self, row: R, expected_version: str | None) -> R: ...

    def get(self, request: Request, pk: UUID) -> Response:
        row = self.one(pk)
        if _not_modified(request, row):
            return Response(status=304, headers={"ETag": rows.entity_tag(row)})
        return self.answer(row, Context.RESOURCE_QUERY_RESPONSE)

    def put(self, request: Request, pk: UUID) -> Response:
        sent = self.body()

        def replaced(original: Resource[Any]) -> Resource[Any]:
            wanted: Resource[Any] = self.model.model_validate_json(
                sent, scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST, scim_policy=POLICY
            )
            wanted.replace(original)
            return wanted

        return self.answer(self._changed(pk, replaced), Context.RESOURCE_REPLACEMENT_RESPONSE)

    def patch(self, request: Request, pk: UUID) -> Response:
        operations = _of(PatchOp, self.model).model_validate_json(
            self.body(), scim_ctx=Context.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
        )
        if len(operations.operations or []) > MOST_OPERATIONS:
            raise PayloadTooLargeException(detail=f"At most {MOST_OPERATIONS} operations in one request")

        def patched(original: Resource[Any]) -> Resource[Any]:
            operations.patch(original, scim_policy=POLICY)
            return original

        return self.answer(self._changed(pk, patched), Context.RESOURCE_PATCH_RESPONSE)

    def delete(self, request: Request, pk: UUID) -> Response:
        self.remove(self.one(pk), _given_version(request))
        return Response(status=204)

    def _changed(self, pk: UUID, become: Callable[[Resource[Any]], Resource[Any]]) -> R:
        """Work out what a row becomes, and write it if it is still the row that was read.

        Without If-Match the directory has no opinion on the version, so the change is worked out anew.
        """
        given = _given_version(self.request)
        tries = 0
        while True:
            tries += 1
            row = self.one(pk)
            row.check_version(given)
            resource = become(self.resources([row], ResponseParameters())[0])
            try:
                return self.change(row, resource, row.etag)
            except Changed:
                if given is not None or tries == TRIES:
                    raise


# --- Users and groups ------------------------------------------------------------------------------------


class _Users(ResourceView[User]):
    endpoint = "Users"
    model = Person

    def rows(self) -> QuerySet[User]:
        return User.objects.filter(removed_at=None)

    def resources(self, found: list[User], parameters: ResponseParameters[Any]) -> list[Any]:
        with_groups = wants(parameters, "groups")
        if with_groups:
            prefetch_related_objects(found, "teams")
        return [rows.resource_of(user, with_groups=with_groups) for user in found]


class UsersView(_Users, ListView[User]):
    def matching(self, asked: SearchRequest[Any]) -> QuerySet[User]:
        return people_matching(self.rows(), asked.filter)

    def create(self, resource: Any) -> User:
        return services.provision_person(actor=actor_of(self.request), facts=rows.person_facts(resource))


class UserView(_Users, DetailView[User]):
    def change(self, row: User, resource: Any, expected_version: str) -> User:
        return services.change_person(
            actor=actor_of(self.request),
            user=row,
            facts=rows.person_facts(resource, row),
            expected_version=expected_version,
        )

    def remove(self, row: User, expected_version: str | None) -> User:
        return services.remove_person(actor=actor_of(self.request), user=row, expected_version=expected_version)


class _Groups(ResourceView[Team]):
    endpoint = "Groups"
    model = ScimGroup

    def rows(self) -> QuerySet[Team]:
        return Team.objects.filter(removed_at=None)

    def resources(self, found: list[Team], parameters: ResponseParameters[Any]) -> list[Any]:
        members = rows.members_of(found) if wants(parameters, "members") else {}
        return [rows.resource_of_team(team, members.get(team.pk)) for team in found]


class GroupsView(_Groups, ListView[Team]):
    def matching(self, asked: SearchRequest[Any]) -> QuerySet[Team]:
        return teams_matching(self.rows(), asked.filter)

    def create(self, resource: Any) -> Team:
        return services.provision_group(actor=actor_of(self.request), facts=rows.group_facts(resource))


class GroupView(_Groups, DetailView[Team]):
    def change(self, row: Team, resource: Any, expected_version: str) -> Team:
        return services.change_group(
            actor=actor_of(self.request), team=row, facts=rows.group_facts(resource), expected_version=expected_version
        )

    def remove(self, row: Team, expected_version: str | None) -> Team:
        return services.remove_group(actor=actor_of(self.request), team=row, expected_version=expected_version)


class _Search:
    """POST to `.search` (RFC 7644 section 3.4.3): a filter that is too long, or too private, for an address."""

    http_method_names = ["post"]

    def post(self: Any, request: Request) -> Response:
        answer: Response = self.found(self.search(self.model))
        return answer


class SearchUsersView(_Search, UsersView):  # type: ignore[misc]  # posting to a list makes, posting here asks
    pass


class SearchGroupsView(_Search, GroupsView):  # type: ignore[misc]
    pass


# --- About the service -----------------------------------------------------------------------------------


def _described(resource: Any, endpoint: str, key: str) -> dict[str, Any]:
    said: dict[str, Any] = resource.model_dump(scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
    kind = type(resource).__name__
    return said | {"meta": {"resourceType": kind, "location": location(endpoint, key).rstrip("/")}}


class ConfigView(ScimView):
    def get(self, request: Request) -> Response:
        return Response(_described(service().config, "ServiceProviderConfig", ""))


class DescriptionView(ScimView):
    """/ResourceTypes and /Schemas, all or one."""

    endpoint = ""

    def get(self, request: Request, key: str = "") -> Response:
        if "filter" in request.query_params:
            raise SCIMException.from_error(Error(status=403, detail="There are few of these; they are not filtered."))
        known = service().resource_types if self.endpoint == "ResourceTypes" else service().schemas
        described = {str(each.id): _described(each, self.endpoint, str(each.id)) for each in known}
        if key:
            if key not in described:
                raise NotFoundException(detail="There is no such description")
            return Response(described[key])
        count = len(described)
        return Response(
            {
                "schemas": [str(ListResponse.__schema__)],
                "totalResults": count,
                "startIndex": 1,
                "itemsPerPage": count,
                "Resources": list(described.values()),
            }
        )


class ElsewhereView(ScimView):
    """Addresses that mean nothing here, and the parts of the protocol that are not offered."""

    def _refuse(self, request: Request, rest: str = "") -> Response:
        if rest.partition("/")[0] in ("Me", "Bulk", ".search"):
            raise NotImplementedException(detail=f"/{rest[:40]} is not offered here")
        raise NotFoundException

    get = post = put = patch = delete = _refuse
